//! What one Snapshot says about its rack as a whole: inlet power, limits, utilisation, coolant.
//! The same sums as in training (see `headroom-train`'s reading of the record).

use crate::config::Rack;
use headroom_rack::{Celsius, DeviceId, Signal, Snapshot, Watts};

/// A rack as measured. `None`: at least one part of the sum is missing.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Observed {
    /// Sum of the inlet meters.
    pub power: Option<Watts>,
    /// Sum of the GPUs' enforced limits.
    pub limit: Option<Watts>,
    /// Mean utilisation of the GPUs, 0 to 1.
    pub utilization: Option<f64>,
    /// Coolant supplied.
    pub supply: Option<Celsius>,
    /// Coolant flow in litres per minute.
    pub flow_lpm: Option<f64>,
}

/// Power through a rack's inlet meters.
pub fn inlets(rack: &Rack, snapshot: &Snapshot) -> Option<Watts> {
    rack.feeds.iter().map(|f| snapshot.value(&f.meter, Signal::PduPower)).sum::<Option<f64>>().map(Watts::new)
}

/// Sums up a Snapshot.
pub fn observe(rack: &Rack, snapshot: &Snapshot) -> Observed {
    let gpus: Vec<DeviceId> = (0..rack.gpus).map(DeviceId::gpu).collect();
    observe_gpus(rack, snapshot, &gpus)
}

/// As [`observe`], with the names of at least as many GPUs: making them anew for each Snapshot of a large site
/// takes longer than the sums.
pub fn observe_gpus(rack: &Rack, snapshot: &Snapshot, gpus: &[DeviceId]) -> Observed {
    let gpus = &gpus[..gpus.len().min(rack.gpus as usize)];
    let of_gpus = |signal| gpus.iter().map(|g| snapshot.value(g, signal)).sum::<Option<f64>>();
    let cooling = |signal| snapshot.value(rack.cooling.as_ref()?, signal);
    Observed {
        power: inlets(rack, snapshot),
        limit: of_gpus(Signal::GpuLimitEnforced).map(Watts::new),
        utilization: of_gpus(Signal::GpuUtilization).map(|u| u / f64::from(rack.gpus)),
        supply: cooling(Signal::CoolingSupplyTemperature).map(Celsius::new),
        flow_lpm: cooling(Signal::CoolingFlow),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use headroom_rack::{NoData, RackId, Reading, SignalPath, UnixMs};

    #[test]
    fn a_sum_with_a_missing_part_is_unknown_not_smaller() {
        let rack = &config::parse("d", config::DEFAULT).unwrap().racks[0];
        let at = UnixMs::new(1);
        let path = |d: &str| SignalPath::new(DeviceId::new(d).unwrap(), Signal::PduPower);
        let mut snapshot = Snapshot {
            rack: RackId::new("rack-1").unwrap(),
            boot: 1,
            seq: 1,
            at,
            historical: false,
            readings: [(path("pdu-a"), Reading::new(2000.0, at)), (path("pdu-b"), Reading::new(2100.0, at))].into(),
            receipts: vec![],
        };
        assert_eq!(observe(rack, &snapshot).power, Some(Watts::new(4100.0)));
        snapshot.readings.insert(path("pdu-b"), Reading::none(NoData::Timeout, at));
        assert_eq!(observe(rack, &snapshot), Observed::default());
    }
}
