//! One rack: GPUs with their workload, host, two PDUs, cooling unit.

use super::chance::Chance;
use super::cooler::{Cooler, Heat};
use super::event::Event;
use super::gpu::{Demand, Gpu};
use super::host::Host;
use super::pdu::{PduReadout, Supply, phase_weights};
use super::spec::{PlantSpec, RackSpec};
use super::view::RackView;
use super::workload::Workload;

/// One rack.
#[derive(Debug, Clone)]
pub struct Rack {
    spec: RackSpec,
    turn: usize,
    plugged: bool,
    cords: Vec<usize>,
    workload: Workload,
    host: Host,
    host_watts: f64,
    demands: Vec<Demand>,
    speeds: Vec<f64>,
    /// Its GPUs.
    pub gpus: Vec<Gpu>,
    /// PDU a and PDU b.
    pub pdus: [PduReadout; 2],
    /// Its cooling unit.
    pub cooling: Cooler,
}

impl Rack {
    /// The `index`-th rack of a row.
    pub fn new(plant: &PlantSpec, spec: &RackSpec, index: usize) -> Self {
        let seed = plant.seed;
        let cooling = Cooler::new(spec, spec.gpus as f64 * plant.gpu.max_watts);
        let (coolant, _) = cooling.at_gpus();
        let gpu = |g: usize| Gpu::new(&plant.gpu, coolant, Chance::new(seed, &format!("{}/gpu-{g}", spec.id)));
        Self {
            turn: index,
            plugged: true,
            cords: spec.cords.clone(),
            workload: Workload::new(
                &spec.workload,
                spec.gpus,
                &plant.gpu,
                Chance::new(seed, &format!("{}/workload", spec.id)),
            ),
            host: Host::new(spec.overhead_watts),
            host_watts: 0.0,
            demands: vec![Demand::default(); spec.gpus],
            speeds: vec![1.0; spec.gpus],
            gpus: (0..spec.gpus).map(gpu).collect(),
            pdus: Default::default(),
            cooling,
            spec: spec.clone(),
        }
    }

    /// What it was built from.
    pub fn spec(&self) -> &RackSpec {
        &self.spec
    }

    /// The feed of its cooling unit.
    pub fn cooling_feed(&self) -> usize {
        self.spec.cooling_feed
    }

    /// Plugs its cords in or pulls them.
    pub fn set_plugged(&mut self, on: bool) {
        self.plugged = on;
    }

    /// Whether its cords are plugged in.
    pub fn plugged(&self) -> bool {
        self.plugged
    }

    /// Numbers of the feeds that its cords hang on now.
    pub fn cords(&self) -> &[usize] {
        &self.cords
    }

    /// The transfer switch before it, if there is one, goes over to the standby or back.
    pub fn switch(&mut self, to_standby: bool) {
        if let (Some(standby), [cord]) = (self.spec.standby, &mut self.cords[..]) {
            *cord = if to_standby { standby } else { self.spec.cords[0] };
        }
    }

    /// Which of its cords hangs on feed number `feed`.
    pub fn cord_on(&self, feed: usize) -> Option<usize> {
        self.cords.iter().position(|f| *f == feed)
    }

    /// Advances by `dt` seconds to `time_s`; `live` says which cords have voltage, and how much, and whether the
    /// cooling unit has.
    pub fn step(
        &mut self,
        dt: f64,
        time_s: f64,
        live: ([Option<f64>; 2], bool),
        plant: &PlantSpec,
        events: &mut Vec<Event>,
    ) {
        let (volts, cooled) = live;
        let energised = volts.map(|volts| volts.is_some());
        let powered = energised[0] || energised[1];
        if let Some(ramp) = self.spec.envelope.ramp_starting(time_s - dt, time_s) {
            let (id, kind) = (&self.spec.id, self.spec.workload.word());
            let (from, to) = (ramp.from * 100.0, ramp.to * 100.0);
            let text = format!("load ramps on {id}: {kind} from {from:.0} % to {to:.0} % in {:.0} s", ramp.seconds);
            events.push(Event { at_s: time_s, kind: "ramp", text });
        }
        let level = self.spec.envelope.level(time_s);
        self.workload.step(dt, level, &self.speeds, &mut self.demands);
        let (coolant, resistance) = self.cooling.at_gpus();
        let mut gpu_watts = vec![0.0; self.gpus.len()];
        for (g, gpu) in self.gpus.iter_mut().enumerate() {
            gpu_watts[g] = gpu.step(dt, powered, &self.demands[g], coolant, resistance);
            // A dead GPU must not hold back the pace of the others for ever: jobs restart without it.
            self.speeds[g] = if gpu.readout.lost { 1.0 } else { gpu.speed(&self.demands[g]) };
        }
        let heat: f64 = gpu_watts.iter().sum();
        let busy = self.demands.iter().map(|d| d.busy).sum::<f64>() / self.demands.len().max(1) as f64;
        self.host_watts = self.host.step(dt, powered, busy, heat / (self.gpus.len() as f64 * plant.gpu.max_watts));
        let alone = |phase| std::array::from_fn(|p| if p == phase { 1.0 } else { 0.0 });
        let weights = self.spec.phase.map_or_else(|| phase_weights(&gpu_watts, self.turn), alone);
        for f in 0..2 {
            let share = match (energised[f], energised[1 - f]) {
                (false, _) => 0.0,
                (true, true) => 0.5,
                (true, false) => 1.0,
            };
            let output = (heat + self.host_watts) * share;
            let supply = Supply {
                energised: energised[f],
                volts: volts[f].unwrap_or(plant.volts),
                frequency_hz: plant.frequency_hz,
                power_factor: plant.power_factor,
                loss_ratio: plant.pdu_loss_ratio,
            };
            self.pdus[f].step(dt, supply, output, weights);
        }
        let fan_ratio = self.host.fan_ratio();
        self.cooling.step(dt, cooled, Heat { gpus_watts: heat, rack_watts: self.inlet_watts(), fan_ratio });
    }

    /// Power of host and GPUs if every GPU drew the lesser of its demand and its limit.
    pub fn implied_watts(&self) -> f64 {
        let gpus = self.gpus.iter().map(|g| match g.readout.lost {
            true => g.readout.power_instant_watts,
            false => g.readout.demand_peak_watts.min(g.readout.limit_watts),
        });
        self.host_watts + gpus.sum::<f64>()
    }

    /// Power at the inlets, both PDUs.
    pub fn inlet_watts(&self) -> f64 {
        self.pdus.iter().map(|p| p.power_watts).sum()
    }

    /// Power of everything that is not a GPU.
    pub fn host_watts(&self) -> f64 {
        self.host_watts
    }

    /// What can be read from it.
    pub fn view(&self) -> RackView {
        RackView {
            id: self.spec.id.clone(),
            workload: self.spec.workload.word(),
            host_watts: self.host_watts,
            gpus: self.gpus.iter().map(|g| g.readout.clone()).collect(),
            pdus: self.pdus.clone(),
            cooling: self.cooling.liquid().cloned().unwrap_or_default(),
            air: self.cooling.air().cloned(),
        }
    }
}
