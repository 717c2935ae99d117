//! How busy a GPU is, and with whose process.

use super::clock::list;
use crate::abi::{NO_INSTANCE, Process, ProcessUtilization, ProcessV1, Utilization};
use crate::arg::Out;
use crate::code::{Code, Done, NOT_FOUND, exports};
use crate::state::{Device, board};

/// The sample period that the real driver reports for its engines, us.
const SAMPLE_PERIOD_US: u32 = 167_000;

exports! {
    fn nvmlDeviceGetUtilizationRates(device: Device, out: Out<Utilization>) {
        let telemetry = board(device)?.telemetry()?;
        let (gpu, memory) = (telemetry.utilization_percent, telemetry.memory_utilization_percent);
        out.put(Utilization { gpu: gpu as u32, memory: memory as u32 })
    }
    fn nvmlDeviceGetEncoderUtilization(device: Device, out: Out<u32>, period: Out<u32>) { unused(device, out, period) }
    fn nvmlDeviceGetDecoderUtilization(device: Device, out: Out<u32>, period: Out<u32>) { unused(device, out, period) }
    fn nvmlDeviceGetJpgUtilization(device: Device, out: Out<u32>, period: Out<u32>) { unused(device, out, period) }
    fn nvmlDeviceGetOfaUtilization(device: Device, out: Out<u32>, period: Out<u32>) { unused(device, out, period) }

    fn nvmlDeviceGetComputeRunningProcesses(device: Device, count: Out<u32>, out: Out<ProcessV1>) {
        let v1 = |p: Process| ProcessV1 { pid: p.pid, used_memory: p.used_memory };
        list(count, out, &process(device)?.map(v1).into_iter().collect::<Vec<_>>())
    }
    fn nvmlDeviceGetComputeRunningProcesses_v2(device: Device, count: Out<u32>, out: Out<Process>) {
        list(count, out, process(device)?.as_slice())
    }
    fn nvmlDeviceGetComputeRunningProcesses_v3(device: Device, count: Out<u32>, out: Out<Process>) {
        list(count, out, process(device)?.as_slice())
    }
    fn nvmlDeviceGetGraphicsRunningProcesses(device: Device, count: Out<u32>, out: Out<ProcessV1>) {
        board(device).and_then(|_| list(count, out, &[]))
    }
    fn nvmlDeviceGetGraphicsRunningProcesses_v2(device: Device, count: Out<u32>, out: Out<Process>) {
        board(device).and_then(|_| list(count, out, &[]))
    }
    fn nvmlDeviceGetGraphicsRunningProcesses_v3(device: Device, count: Out<u32>, out: Out<Process>) {
        board(device).and_then(|_| list(count, out, &[]))
    }
    fn nvmlDeviceGetMPSComputeRunningProcesses(device: Device, count: Out<u32>, out: Out<ProcessV1>) {
        board(device).and_then(|_| list(count, out, &[]))
    }
    fn nvmlDeviceGetMPSComputeRunningProcesses_v2(device: Device, count: Out<u32>, out: Out<Process>) {
        board(device).and_then(|_| list(count, out, &[]))
    }
    fn nvmlDeviceGetMPSComputeRunningProcesses_v3(device: Device, count: Out<u32>, out: Out<Process>) {
        board(device).and_then(|_| list(count, out, &[]))
    }
    /// Samples newer than `last_seen_us`; none: not found.
    fn nvmlDeviceGetProcessUtilization(
        device: Device, out: Out<ProcessUtilization>, count: Out<u32>, last_seen_us: u64,
    ) {
        let (telemetry, time_us) = board(device)?.sample()?;
        if telemetry.process_id == 0 || time_us <= last_seen_us {
            count.put(0)?;
            return Err(NOT_FOUND);
        }
        let sample = ProcessUtilization {
            pid: telemetry.process_id as u32,
            time_us,
            sm: telemetry.utilization_percent as u32,
            memory: telemetry.memory_utilization_percent as u32,
            encoder: 0,
            decoder: 0,
        };
        if out.is_null() {
            count.again().put(0)?;
        }
        list(count, out, &[sample])
    }
}

/// Video and image engines have no work here.
fn unused(device: Device, out: Out<u32>, period: Out<u32>) -> Done {
    board(device)?;
    out.put(0)?;
    period.put(SAMPLE_PERIOD_US)
}

fn process(device: Device) -> Result<Option<Process>, Code> {
    let telemetry = board(device)?.telemetry()?;
    Ok((telemetry.process_id != 0).then_some(Process {
        pid: telemetry.process_id as u32,
        used_memory: telemetry.process_memory_bytes,
        gpu_instance: NO_INSTANCE,
        compute_instance: NO_INSTANCE,
    }))
}
