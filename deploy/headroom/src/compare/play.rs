//! One run: so many racks behind one breaker, each wanting the trace from a place of its own, under one
//! policy; and what came of it.

use super::oracle::Oracle;
use super::rival::{Rival, Rule};
use super::trace::{STEP_S as TRACE_STEP_S, Trace};
use super::{BANDS, Setup};
use crate::harness::{Controller, FLOOR_WATTS, Foresight, Mind, Outcome, STEP_S, Stage};
use headroom_controller_core::trip::Protection;
use headroom_controller_core::{NodeKind, Policy as Site};
use headroom_sim::plant::chance::Chance;
use headroom_sim::plant::spec::{EnvelopeSpec, PlantSpec, RackSpec, ReplaySpec, WorkloadSpec};
use headroom_sim::scenario::Scenario;
use std::sync::Arc;

/// What is compared, in the order of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Policy {
    StaticNameplate,
    StaticShare,
    ThreeBand,
    ThreeBandLowFirst,
    TwoThreshold,
    OursAlike,
    OursReactive,
    OursForecast,
    Oracle,
}

impl Policy {
    pub(super) const ALL: [Self; 9] = [
        Self::StaticNameplate,
        Self::StaticShare,
        Self::ThreeBand,
        Self::ThreeBandLowFirst,
        Self::TwoThreshold,
        Self::OursAlike,
        Self::OursReactive,
        Self::OursForecast,
        Self::Oracle,
    ];

    /// Ours, whatever it knows.
    pub(super) const OURS: [Self; 3] = [Self::OursAlike, Self::OursReactive, Self::OursForecast];

    /// Its name in tables and JSON.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::StaticNameplate => "static_nameplate",
            Self::StaticShare => "static_share",
            Self::ThreeBand => "reactive_three_band",
            Self::ThreeBandLowFirst => "reactive_three_band_low_first",
            Self::TwoThreshold => "two_threshold_low_first",
            Self::OursAlike => "ours_all_alike",
            Self::OursReactive => "ours_without_forecast",
            Self::OursForecast => "ours_with_forecast",
            Self::Oracle => "oracle",
        }
    }

    fn mind(self, plant: &PlantSpec, derate: f64) -> Box<dyn Mind> {
        let present = vec![true; plant.racks.len()];
        let site = Site { derate, ..Site::default() };
        let rival = |rule| Box::new(Rival::new(rule, plant, derate));
        let ours = |site, foresight| Box::new(Controller::under(site, plant, 1, &present, foresight));
        match self {
            Self::StaticNameplate => rival(Rule::StaticNameplate),
            Self::StaticShare => rival(Rule::StaticShare),
            Self::ThreeBand => rival(Rule::ThreeBand),
            Self::ThreeBandLowFirst => rival(Rule::ThreeBandLowFirst),
            Self::TwoThreshold => rival(Rule::TwoThreshold),
            // Of no band that the site knows, all come last together.
            Self::OursAlike => ours(Site { bands: Vec::new(), ..site }, Foresight::Model),
            Self::OursReactive => ours(site, Foresight::None),
            Self::OursForecast => ours(site, Foresight::Model),
            Self::Oracle => {
                let bands: Vec<String> = plant.racks.iter().map(|r| r.workload.word().to_owned()).collect();
                Box::new(Oracle::new(plant, &bands))
            }
        }
    }
}

/// Everybody starts at the safe share; what happens in the first seconds is not counted.
const WARM_UP_S: f64 = 30.0;

/// What came of one run.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    pub trips: u64,
    pub shutdowns: u64,
    pub seconds_over_rating: f64,
    /// Work wanted and left undone by band, GPU-seconds at full activity.
    pub wanted: [f64; 3],
    pub lost: [f64; 3],
    pub cap_changes: u64,
    pub gpu_hours: f64,
    /// From each overload to limits that end it, ms.
    pub to_cap_ms: Vec<f64>,
    /// Runs in which the automation stopped itself.
    pub stopped: u64,
    /// When it first did, s.
    pub stopped_s: Option<f64>,
    /// Load over rating, mean and highest of each second.
    pub load: Vec<[f32; 2]>,
}

impl Figures {
    /// Share of the work wanted that was left undone.
    pub fn lost_share(&self) -> f64 {
        let wanted: f64 = self.wanted.iter().sum();
        if wanted > 0.0 { self.lost.iter().sum::<f64>() / wanted } else { 0.0 }
    }

    /// Takes another run in.
    pub fn add(&mut self, other: &Self) {
        self.trips += other.trips;
        self.shutdowns += other.shutdowns;
        self.seconds_over_rating += other.seconds_over_rating;
        for band in 0..BANDS.len() {
            self.wanted[band] += other.wanted[band];
            self.lost[band] += other.lost[band];
        }
        self.cap_changes += other.cap_changes;
        self.gpu_hours += other.gpu_hours;
        self.stopped += other.stopped;
        self.to_cap_ms.extend(&other.to_cap_ms);
    }
}

/// A rack as it is hosted.
pub fn rack(setup: &Setup) -> RackSpec {
    let base = Scenario::load(None).expect("invariant: the embedded scenario is valid").plant;
    RackSpec { gpus: setup.gpus, cords: vec![0], cooling_feed: 0, ..base.racks[0].clone() }
}

/// What a rack may draw at the breaker by its plates, W.
pub fn nameplate_watts(setup: &Setup) -> f64 {
    let base = Scenario::load(None).expect("invariant: the embedded scenario is valid").plant;
    at_watts(setup, &base, base.gpu.max_watts)
}

/// What a rack draws at the breaker with every GPU at its floor, W.
pub fn floor_watts(setup: &Setup) -> f64 {
    let base = Scenario::load(None).expect("invariant: the embedded scenario is valid").plant;
    at_watts(setup, &base, FLOOR_WATTS)
}

fn at_watts(setup: &Setup, base: &PlantSpec, gpu_watts: f64) -> f64 {
    let rack = rack(setup);
    (rack.gpus as f64 * gpu_watts + rack.overhead_watts) / (1.0 - base.pdu_loss_ratio) + rack.cooling_watts
}

/// Where in its trace each rack begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begin {
    /// Somewhere of its own.
    Apart,
    /// All at its beginning.
    Together,
}

/// The row: one feed, one breaker, `racks` racks.
fn plant(setup: &Setup, trace: &Trace, racks: usize, begin: Begin) -> PlantSpec {
    let mut plant = Scenario::load(None).expect("invariant: the embedded scenario is valid").plant;
    plant.seed = setup.seed;
    let rating_watts = setup.rating_watts();
    plant.breaker.rating_amperes = rating_watts / (3.0 * plant.volts);
    // The UPS is not what is compared.
    plant.ups.rating_watts = rating_watts * 2.0;
    let one = |i: usize| {
        let mut chance = Chance::new(setup.seed, &format!("{}/start-{i}", trace.name));
        let start_s = if begin == Begin::Apart { chance.between(0.0, trace.seconds()) } else { 0.0 };
        let workload = WorkloadSpec::Replay(ReplaySpec {
            word: BANDS[i % BANDS.len()],
            watts: Arc::clone(trace.of_rack(i)),
            step_s: TRACE_STEP_S,
            start_s,
            clock_sensitivity: trace.clock_sensitivity,
        });
        let envelope = EnvelopeSpec { points: vec![(0.0, 1.0)], repeat_from_s: None };
        RackSpec { id: format!("rack-{}", i + 1), workload, envelope, ..rack(setup) }
    };
    plant.racks = (0..racks).map(one).collect();
    plant
}

/// Plays a trace with `racks` racks under a policy.
pub fn play(setup: &Setup, trace: &Trace, policy: Policy, racks: usize) -> Figures {
    let plant = plant(setup, trace, racks, Begin::Apart);
    let mut mind = policy.mind(&plant, setup.derate);
    let mut stage = Stage::new(&plant);
    let mut outcome = Outcome::default();
    let mut figures = Figures::default();
    let seconds = trace.seconds().min(setup.seconds) + WARM_UP_S;
    let mut before = (figures.clone(), 0);
    let every = (1.0 / STEP_S).round() as usize;
    let mut second: Vec<f64> = Vec::with_capacity(every);
    for step in 0..(seconds / STEP_S) as u64 {
        if step == (WARM_UP_S / STEP_S) as u64 {
            before = (tally(&stage), stage.plant().tally().overload_to_cap_ms.len());
        }
        stage.physics(false, &mut outcome);
        stage.decide(mind.as_mut(), 0.0, false);
        stage.deliver();
        if stage.time_s() > WARM_UP_S {
            second.push(stage.plant().feeds()[0].load_ratio());
        }
        if second.len() == every {
            let highest = second.iter().copied().fold(0.0, f64::max);
            figures.load.push([second.iter().sum::<f64>() / every as f64, highest].map(|load| load as f32));
            second.clear();
        }
        if figures.stopped_s.is_none() && mind.has_stopped() {
            figures.stopped_s = Some((stage.time_s() - WARM_UP_S).max(0.0));
        }
    }
    let after = tally(&stage);
    figures.trips = stage.plant().tally().trips.len() as u64;
    figures.stopped = u64::from(figures.stopped_s.is_some());
    figures.shutdowns = stage.plant().racks().iter().flat_map(|r| &r.gpus).filter(|g| g.overheated()).count() as u64;
    figures.seconds_over_rating = after.seconds_over_rating - before.0.seconds_over_rating;
    for band in 0..BANDS.len() {
        figures.wanted[band] = after.wanted[band] - before.0.wanted[band];
        figures.lost[band] = after.lost[band] - before.0.lost[band];
    }
    figures.cap_changes = after.cap_changes - before.0.cap_changes;
    figures.gpu_hours = (racks * setup.gpus) as f64 * (seconds - WARM_UP_S) / 3600.0;
    figures.to_cap_ms = stage.plant().tally().overload_to_cap_ms[before.1..].to_vec();
    figures
}

/// How long racks idle before they all rise at once, and how long they want everything then, s.
const IDLE_S: f64 = 60.0;
const FULL_S: f64 = 90.0;

/// How much of the earliest trip that the standard allows the breaker's kind is used up (1: all of it) when every rack
/// wants everything from one moment to the next, and when whoever decides dies in that moment as well. The plant's own
/// breaker is one of many: another of the same type trips sooner.
pub fn worst(setup: &Setup, policy: Policy, racks: usize) -> [f64; 2] {
    let gpu = Scenario::load(None).expect("invariant: the embedded scenario is valid").plant.gpu;
    let row = |i: usize| vec![if i as f64 * TRACE_STEP_S < IDLE_S { gpu.idle_watts } else { gpu.max_watts } as f32];
    let trace = Trace {
        name: "all rise at once".to_owned(),
        kind: "made up",
        clock_sensitivity: 0.9,
        watts: Arc::new((0..((IDLE_S + FULL_S) / TRACE_STEP_S) as usize).map(row).collect()),
        parts: Vec::new(),
        notes: Vec::new(),
    };
    [false, true].map(|dies| {
        let plant = plant(setup, &trace, racks, Begin::Together);
        let mut mind = policy.mind(&plant, setup.derate);
        let mut stage = Stage::new(&plant);
        let mut outcome = Outcome::default();
        let mut image = Protection::at(NodeKind::Breaker.curve(), 0.0);
        let mut used = 0.0_f64;
        while stage.time_s() < IDLE_S + FULL_S - 1.0 {
            stage.physics(false, &mut outcome);
            if !dies || stage.time_s() < IDLE_S {
                stage.decide(mind.as_mut(), 0.0, false);
            }
            stage.deliver();
            image.advance(stage.plant().feeds()[0].load_ratio(), STEP_S);
            used = used.max(image.used());
        }
        used
    })
}

/// What was counted so far.
fn tally(stage: &Stage) -> Figures {
    let mut so_far = Figures {
        seconds_over_rating: stage.plant().tally().overload_seconds,
        cap_changes: stage.changes(),
        ..Figures::default()
    };
    for rack in stage.plant().racks() {
        let band = BANDS.iter().position(|b| *b == rack.spec().workload.word()).unwrap_or(0);
        so_far.wanted[band] += rack.gpus.iter().map(|g| g.wanted_work_s).sum::<f64>();
        so_far.lost[band] += rack.gpus.iter().map(|g| g.lost_work_s).sum::<f64>();
    }
    so_far
}
