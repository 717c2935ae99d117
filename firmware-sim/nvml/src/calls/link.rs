//! PCI Express: generation 5, 16 lanes, what passes and what had to be repeated.

use crate::arg::Out;
use crate::code::{Done, INVALID_ARGUMENT, exports};
use crate::state::{Device, board};

const GENERATION: u32 = 5;
const LANES: u32 = 16;
/// Megatransfers per second of one lane of generation 5.
const SPEED_MT_PER_S: u32 = 32_000;

exports! {
    fn nvmlDeviceGetCurrPcieLinkGeneration(device: Device, out: Out<u32>) { constant(device, out, GENERATION) }
    fn nvmlDeviceGetMaxPcieLinkGeneration(device: Device, out: Out<u32>) { constant(device, out, GENERATION) }
    fn nvmlDeviceGetGpuMaxPcieLinkGeneration(device: Device, out: Out<u32>) { constant(device, out, GENERATION) }
    fn nvmlDeviceGetCurrPcieLinkWidth(device: Device, out: Out<u32>) { constant(device, out, LANES) }
    fn nvmlDeviceGetMaxPcieLinkWidth(device: Device, out: Out<u32>) { constant(device, out, LANES) }
    fn nvmlDeviceGetPcieSpeed(device: Device, out: Out<u32>) { constant(device, out, SPEED_MT_PER_S) }
    fn nvmlDeviceGetPcieReplayCounter(device: Device, out: Out<u32>) {
        out.put(board(device)?.telemetry()?.pcie_replays as u32)
    }
    /// KB/s; counter 0 sent, 1 received.
    fn nvmlDeviceGetPcieThroughput(device: Device, counter: u32, out: Out<u32>) {
        let telemetry = board(device)?.telemetry()?;
        match counter {
            0 => out.put(telemetry.pcie_tx_kb_per_s as u32),
            1 => out.put(telemetry.pcie_rx_kb_per_s as u32),
            _ => Err(INVALID_ARGUMENT),
        }
    }
}

fn constant(device: Device, out: Out<u32>, value: u32) -> Done {
    board(device)?;
    out.put(value)
}
