//! What an agent reads of the plant: a Snapshot, through meters that may freeze, lie or fall silent.

use super::wiring::reader;
use headroom_rack::{DeviceId, NoData, RackId, Reading, Signal, SignalPath, Snapshot, UnixMs};
use headroom_sim::fault::{Kind, Target};
use headroom_sim::plant::air::AirUnit;
use headroom_sim::plant::cooler::Cooler;
use headroom_sim::plant::cooling::Cooling;
use headroom_sim::plant::gpu::MAX_OPERATING_CELSIUS;
use headroom_sim::plant::pdu::PduReadout;
use headroom_sim::plant::ups::UpsReadout;
use headroom_sim::plant::{FEED_NAMES, Plant};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What a PDU's meter says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    pub watts: f64,
    pub amperes: [f64; 3],
    /// Means, as its power is one.
    told_amperes: [f64; 3],
    pub volts: f64,
}

/// What is wrong with the meters of one rack.
#[derive(Debug, Default)]
pub(super) struct Meters {
    wrong: Vec<(Kind, Target, Option<f64>)>,
    frozen: RefCell<BTreeMap<usize, Seen>>,
    frozen_ups: RefCell<BTreeMap<usize, UpsReadout>>,
    /// Feeds whose UPS tells no runtime.
    untold: BTreeSet<usize>,
    /// What each cord and each of its phases, and each phase of each UPS, carried in the last second.
    lately: BTreeMap<(usize, usize), VecDeque<f64>>,
}

/// Meters of PDUs and UPSs tell means of about a second: an RMS value of 200 ms (IEC 61000-4-30) at the least, as a rule
/// refreshed once a second.
const MEAN_STEPS: usize = 10;
/// UPSs are kept behind the cords.
const UPS: usize = 1000;

impl Meters {
    pub(super) fn note(&mut self, kind: Kind, target: Target, value: Option<f64>) {
        self.wrong.push((kind, target, value));
    }

    pub(super) fn untell_runtime(&mut self, feed: usize, untold: bool) {
        if untold {
            self.untold.insert(feed);
        } else {
            self.untold.remove(&feed);
        }
    }

    pub(super) fn clear(&mut self) {
        self.wrong.clear();
        self.frozen.borrow_mut().clear();
        self.frozen_ups.borrow_mut().clear();
    }

    /// Goes on by a tenth of a second.
    pub(super) fn sample(&mut self, plant: &Plant, rack: usize) {
        let mut keep = |key, watts| {
            let lately = self.lately.entry(key).or_default();
            lately.push_back(watts);
            lately.drain(..lately.len().saturating_sub(MEAN_STEPS));
        };
        for (cord, pdu) in plant.racks()[rack].pdus.iter().enumerate() {
            keep((cord, 0), pdu.power_watts);
            pdu.phase_amperes.into_iter().enumerate().for_each(|(phase, amperes)| keep((cord, 1 + phase), amperes));
        }
        for (f, feed) in plant.feeds().iter().enumerate().filter(|(f, _)| reader(plant.spec(), *f) == rack) {
            for (phase, watts) in feed.ups.readout.output_phase_watts.into_iter().enumerate() {
                keep((UPS + f, phase), watts);
            }
        }
    }

    fn mean(&self, of: usize, phase: usize, now: f64) -> f64 {
        let lately = self.lately.get(&(of, phase)).filter(|lately| !lately.is_empty());
        lately.map_or(now, |lately| lately.iter().sum::<f64>() / lately.len() as f64)
    }

    /// What the meter of one cord's PDU says; `None`: nothing, or nothing that could be read.
    pub(super) fn pdu(&self, real: &PduReadout, rack: usize, cord: usize) -> Option<Seen> {
        let mut seen = Seen {
            watts: self.mean(cord, 0, real.power_watts),
            amperes: real.phase_amperes,
            told_amperes: std::array::from_fn(|phase| self.mean(cord, 1 + phase, real.phase_amperes[phase])),
            volts: real.phase_volts[0],
        };
        for (kind, _, value) in self.wrong.iter().filter(|w| w.1 == Target::Pdu(rack, cord)) {
            match kind {
                Kind::MeterFrozen => seen = *self.frozen.borrow_mut().entry(cord).or_insert(seen),
                Kind::MeterLying => {
                    let times = value.unwrap_or(0.5);
                    let [amperes, told_amperes] = [seen.amperes, seen.told_amperes].map(|a| a.map(|a| a * times));
                    seen = Seen { watts: seen.watts * times, amperes, told_amperes, ..seen };
                }
                _ => return None,
            }
        }
        // The meter is fed by its circuit.
        real.energised.then_some(seen)
    }

    /// What the card of a UPS says; `None`: nothing.
    fn ups(&self, feed: usize, real: &UpsReadout) -> Option<UpsReadout> {
        let mut seen = real.clone();
        for (phase, watts) in seen.output_phase_watts.iter_mut().enumerate() {
            *watts = self.mean(UPS + feed, phase, *watts);
        }
        for (kind, _, value) in self.wrong.iter().filter(|w| w.1 == Target::Ups(feed)) {
            match kind {
                Kind::MeterFrozen => seen = self.frozen_ups.borrow_mut().entry(feed).or_insert(seen).clone(),
                Kind::MeterLying => seen.output_phase_watts = seen.output_phase_watts.map(|w| w * value.unwrap_or(0.5)),
                _ => return None,
            }
        }
        Some(seen)
    }

    pub(super) fn snapshot(&self, plant: &Plant, rack: usize, seq: u64, now_ms: u64) -> Snapshot {
        let at = UnixMs::new(now_ms);
        let view = &plant.racks()[rack];
        let mut readings = headroom_rack::Readings::new();
        let mut put = |device: &DeviceId, signal, value: Result<f64, NoData>| {
            let reading = value.map_or_else(|why| Reading::none(why, at), |v| Reading::new(v, at));
            readings.insert(SignalPath::new(device.clone(), signal), reading);
        };
        let id = |text: String| DeviceId::new(text).expect("invariant: letters and a dash");
        for (g, gpu) in view.gpus.iter().enumerate() {
            let (device, r) = (DeviceId::gpu(u32::try_from(g).unwrap_or(u32::MAX)), &gpu.readout);
            let told = |value: f64| if r.lost { Err(NoData::DeviceLost) } else { Ok(value) };
            put(&device, Signal::GpuPower, told(r.power_watts));
            put(&device, Signal::GpuLimitEnforced, told(r.limit_watts));
            put(&device, Signal::GpuUtilization, told(r.utilization_ratio));
            // NVML tells whole kelvins.
            let margin = MAX_OPERATING_CELSIUS - r.temperature_celsius;
            put(&device, Signal::GpuTemperatureMargin, told(margin.floor()));
        }
        for (cord, feed) in view.spec().cords.iter().enumerate() {
            let seen = self.pdu(&view.pdus[cord], rack, cord);
            // A dead circuit carries nothing, and its meter is silent.
            let device = id(format!("pdu-{}", FEED_NAMES[*feed]));
            put(&device, Signal::PduPower, seen.map(|s| s.watts).ok_or(NoData::Timeout));
            for (phase, signal) in
                [Signal::PduCurrentL1, Signal::PduCurrentL2, Signal::PduCurrentL3].into_iter().enumerate()
            {
                put(&device, signal, seen.map(|s| s.told_amperes[phase]).ok_or(NoData::Timeout));
            }
        }
        for (f, feed) in plant.feeds().iter().enumerate() {
            if reader(plant.spec(), f) == rack {
                let (ups, r) = (id(format!("ups-{}", FEED_NAMES[f])), &feed.ups.readout);
                let Some(r) = self.ups(f, r) else { continue };
                let phases = [Signal::UpsOutputPowerL1, Signal::UpsOutputPowerL2, Signal::UpsOutputPowerL3];
                for (signal, watts) in phases.into_iter().zip(r.output_phase_watts) {
                    put(&ups, signal, Ok(watts));
                }
                put(&ups, Signal::UpsOnBattery, Ok(f64::from(u8::from(r.on_battery))));
                if !self.untold.contains(&f) {
                    put(&ups, Signal::UpsBatteryRuntime, Ok(r.runtime_s));
                }
            }
        }
        if !self.wrong.iter().any(|w| w.1 == Target::Cooling(rack)) {
            let unit = id("cooling".to_owned());
            match &view.cooling {
                Cooler::Liquid(Cooling { readout: r, .. }) => {
                    put(&unit, Signal::CoolingFlow, Ok(r.flow_lpm));
                    put(&unit, Signal::CoolingSupplyTemperature, Ok(r.supply_celsius));
                    put(&unit, Signal::CoolingReturnTemperature, Ok(r.return_celsius));
                }
                // Tenths of degrees, of sensors at the inlets, and no flow: as Vertiv's and APC's in-row units do.
                Cooler::Air(AirUnit { readout: r, .. }) if r.powered => {
                    put(&unit, Signal::CoolingSupplyTemperature, Ok((r.inlet_celsius * 10.0).round() / 10.0));
                    put(&unit, Signal::CoolingReturnTemperature, Ok((r.return_celsius * 10.0).round() / 10.0));
                }
                Cooler::Air(_) => put(&unit, Signal::CoolingSupplyTemperature, Err(NoData::Timeout)),
            }
        }
        let rack = RackId::new(view.spec().id.clone()).expect("invariant: the scenario was checked");
        Snapshot { rack, boot: 1, seq, at, historical: false, readings, receipts: Vec::new() }
    }
}
