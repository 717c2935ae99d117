//! How long one decision takes, by the size of the site: a made-up 2N site with a branch breaker per
//! rack and feed, a PDU breaker per twenty racks and a UPS per two hundred, oversubscribed, whose loads move from decision to decision. Times the decision alone, on one core.

mod forecast;

pub use forecast::forecast;

use crate::clock::Clock;
use headroom_controller_core::topology::NodeKind;
use headroom_controller_core::{Decider, FeedShare, Fleet, NodeSpec, Policy, RackSpec, Topology};
use headroom_rack::{
    DeviceId, Generation, Mode, Mono, NodeId, RackId, Reading, Readings, Signal, SignalPath, Snapshot, UnixMs, Watts,
};
use std::collections::BTreeMap;

const GPUS_PER_RACK: usize = 8;
const RACKS_PER_PDU: usize = 20;
const RACKS_PER_UPS: usize = 200;
/// What one rack may take of the nodes it shares, with a nameplate of 7.3 kW on two feeds: so little that the
/// loss of the other feed holds almost half of the racks down.
const SHARED_WATTS: f64 = 2800.0;
const ROUNDS: usize = 101;
const BANDS: [&str; 3] = ["training", "inference", "batch"];
const SIDES: [&str; 2] = ["a", "b"];

/// What was measured at one size.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Measured {
    /// GPUs of the site.
    pub gpus: usize,
    /// Racks of the site.
    pub racks: usize,
    /// Nodes above the racks.
    pub nodes: usize,
    /// Half of the decisions took less, ms.
    pub median_ms: f64,
    /// 99 of a hundred took less, ms.
    pub p99_ms: f64,
    /// Racks that the last Plan held below their demand.
    pub held: usize,
    /// Resident memory that tree, belief and decider took per rack, where the system tells it.
    pub bytes_per_rack: Option<u64>,
}

/// Decides for a site of `gpus` GPUs a number of times.
pub fn decide(gpus: usize) -> Measured {
    let before = resident_bytes();
    let topology = site(gpus.div_ceil(GPUS_PER_RACK));
    let (racks, nodes) = (topology.racks().len(), topology.nodes().len());
    let mut fleet = Fleet::new(&topology);
    let mut decider = Decider::new(topology, Policy::default());
    let clock = Clock::start();
    let mut times_ms = Vec::with_capacity(ROUNDS);
    let mut held = 0;
    for round in 0..=ROUNDS {
        let now = Mono::from_ms(1000 * (round as u64 + 1));
        for rack in 0..racks {
            fleet.fold(&snapshot(rack, round), now);
        }
        let generation = Generation { epoch: 1, counter: round as u64 };
        let begun = clock.uptime();
        let at = UnixMs::new(now.as_ms());
        let plan = decider.decide(&fleet, &BTreeMap::new(), now, at, generation, Mode::Automatic);
        // The first decision meets cold memory once in the life of a controller.
        if round > 0 {
            times_ms.push((clock.uptime() - begun).as_secs_f64() * 1000.0);
        }
        held = plan.caps.iter().filter(|c| c.binding).count();
    }
    times_ms.sort_by(f64::total_cmp);
    let p99 = (times_ms.len() * 99).div_ceil(100).saturating_sub(1);
    let grown = resident_bytes().zip(before).map(|(after, before)| after.saturating_sub(before) / racks as u64);
    Measured {
        gpus: racks * GPUS_PER_RACK,
        racks,
        nodes,
        median_ms: round(times_ms[times_ms.len() / 2]),
        p99_ms: round(times_ms[p99]),
        held,
        bytes_per_rack: grown,
    }
}

fn round(ms: f64) -> f64 {
    (ms * 1000.0).round() / 1000.0
}

/// `VmRSS`, second field of `/proc/self/statm` in pages of 4 KiB (proc(5)).
fn resident_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    text.split_whitespace().nth(1)?.parse::<u64>().ok().map(|pages| pages * 4096)
}

fn name<T>(text: String, make: impl Fn(String) -> Result<T, headroom_rack::IdError>) -> T {
    make(text).expect("invariant: made of letters, digits and dashes")
}

fn site(racks: usize) -> Topology {
    let mut nodes = Vec::new();
    for side in SIDES {
        let mut node = |id: String, kind, parent: Option<String>, rating: f64| {
            nodes.push(NodeSpec {
                parent: parent.map(|p| name(p, NodeId::new)),
                ..NodeSpec::new(name(id, NodeId::new), kind, side, Watts::new(rating))
            });
        };
        for ups in 0..racks.div_ceil(RACKS_PER_UPS) {
            let rating = SHARED_WATTS * RACKS_PER_UPS.min(racks - ups * RACKS_PER_UPS) as f64;
            node(format!("ups-{side}-{ups}"), NodeKind::Ups, None, rating);
        }
        for pdu in 0..racks.div_ceil(RACKS_PER_PDU) {
            let rating = SHARED_WATTS * RACKS_PER_PDU.min(racks - pdu * RACKS_PER_PDU) as f64;
            let ups = pdu * RACKS_PER_PDU / RACKS_PER_UPS;
            node(format!("pdu-{side}-{pdu}"), NodeKind::Breaker, Some(format!("ups-{side}-{ups}")), rating);
        }
        for rack in 0..racks {
            let pdu = rack / RACKS_PER_PDU;
            node(format!("branch-{side}-{rack}"), NodeKind::Breaker, Some(format!("pdu-{side}-{pdu}")), 11_520.0);
        }
    }
    let rack = |r: usize| RackSpec {
        id: name(format!("rack-{r}"), RackId::new),
        priority: BANDS[r % BANDS.len()].to_owned(),
        weight: 1.0 + (r % 4) as f64,
        gpus: GPUS_PER_RACK as u32,
        overhead: Watts::new(1700.0),
        coolant_liters: None,
        gpu_max: Watts::new(700.0),
        safe_gpu: Watts::new(400.0),
        feeds: SIDES
            .map(|side| {
                let node = name(format!("branch-{side}-{r}"), NodeId::new);
                FeedShare::new(node, 0.5, name(format!("pdu-{side}"), DeviceId::new))
            })
            .to_vec(),
        cooling: None,
    };
    Topology::new(nodes, (0..racks).map(rack).collect()).expect("invariant: a tree with ratings")
}

fn snapshot(rack: usize, round: usize) -> Snapshot {
    let at = UnixMs::new(1000 * (round as u64 + 1));
    // Each rack moves between idle and full at a pace of its own.
    let busy = 0.5 + 0.5 * ((rack * 7919 % 97) as f64 + round as f64 * (0.1 + (rack % 5) as f64 * 0.1)).sin();
    let gpu = 120.0 + 560.0 * busy;
    let mut readings = Readings::new();
    let mut put = |device: DeviceId, signal, value| {
        readings.insert(SignalPath::new(device, signal), Reading::new(value, at));
    };
    for i in 0..GPUS_PER_RACK as u32 {
        put(DeviceId::gpu(i), Signal::GpuPower, gpu);
        put(DeviceId::gpu(i), Signal::GpuLimitEnforced, 700.0);
        put(DeviceId::gpu(i), Signal::GpuUtilization, busy);
    }
    for side in SIDES {
        put(name(format!("pdu-{side}"), DeviceId::new), Signal::PduPower, (gpu * 8.0 + 1500.0) / 2.0);
    }
    let id = name(format!("rack-{rack}"), RackId::new);
    Snapshot { rack: id, boot: 1, seq: round as u64 + 1, at, historical: false, readings, receipts: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_site_is_held_down_so_that_every_step_of_the_decision_has_work() {
        let measured = decide(400);
        assert_eq!((measured.racks, measured.nodes), (50, 2 * (1 + 3 + 50)));
        assert!(measured.held > 0 && measured.median_ms > 0.0 && measured.p99_ms >= measured.median_ms);
    }
}
