//! The physics of a row: racks on two feeds. Pure: `step(dt)` knows no clock, disk or network, and
//! the same spec and requests give the same run. Registers, servers and time are elsewhere.
//!
//! Direction of power: UPS -> breaker -> branch breakers, if any -> rack PDU -> host and GPUs; cooling
//! units hang on the breaker of their feed. A rack hangs on one feed or on two of up to four (2N,
//! distributed redundant); with one of its feeds dead the other carries the whole rack. One on a single feed may have a
//! transfer switch before it, which goes over to another feed within a step.

pub mod air;
pub mod branch;
pub mod breaker;
pub mod chance;
pub mod cooler;
pub mod cooling;
mod drive;
pub mod event;
pub mod feed;
pub mod gpu;
pub mod host;
pub mod mean;
pub mod pdu;
pub mod rack;
pub mod spec;
pub mod tally;
pub mod ups;
pub mod view;
pub mod workload;

use branch::Branch;
use event::Event;
use feed::Feed;
use gpu::Requests;
use rack::Rack;
use spec::PlantSpec;
use tally::{Step, Tally};
use view::{FeedView, PlantView};

/// Names of the two feeds of a row, in order.
pub const FEEDS: [&str; 2] = ["a", "b"];
/// Names of all feeds a plant can have, in order.
pub const FEED_NAMES: [&str; MAX_FEEDS] = ["a", "b", "c", "d"];
/// Most feeds of a plant.
pub const MAX_FEEDS: usize = 4;

/// A row of racks on its feeds.
#[derive(Debug, Clone)]
pub struct Plant {
    spec: PlantSpec,
    time_s: f64,
    racks: Vec<Rack>,
    feeds: Vec<Feed>,
    branches: Vec<Branch>,
    tally: Tally,
    events: Vec<Event>,
}

impl Plant {
    /// A cold row at the start of its workloads.
    pub fn new(spec: &PlantSpec) -> Self {
        let racks = spec.racks.iter().enumerate().map(|(i, rack)| Rack::new(spec, rack, i)).collect();
        Self {
            racks,
            feeds: (0..spec.feed_count()).map(|_| Feed::new(spec)).collect(),
            branches: spec.branches.iter().map(Branch::new).collect(),
            tally: Tally::default(),
            time_s: 0.0,
            events: Vec::new(),
            spec: spec.clone(),
        }
    }

    /// What it was built from.
    pub fn spec(&self) -> &PlantSpec {
        &self.spec
    }

    /// Seconds since the start.
    pub fn time_s(&self) -> f64 {
        self.time_s
    }

    /// The racks.
    pub fn racks(&self) -> &[Rack] {
        &self.racks
    }

    /// The racks, to set requests and faults.
    pub fn racks_mut(&mut self) -> &mut [Rack] {
        &mut self.racks
    }

    /// The feeds, in the order of [`FEED_NAMES`].
    pub fn feeds(&self) -> &[Feed] {
        &self.feeds
    }

    /// The feeds, to set faults.
    pub fn feeds_mut(&mut self) -> &mut [Feed] {
        &mut self.feeds
    }

    /// The breakers between the feeds' own and the racks, in the order of the spec.
    pub fn branches(&self) -> &[Branch] {
        &self.branches
    }

    /// Whether a cord of a rack on a feed has voltage.
    fn is_live(&self, rack: usize, feed: usize) -> bool {
        let open = |b: &Branch| b.carries(feed, rack) && b.breaker.tripped().is_some();
        self.feeds[feed].energised() && !self.branches.iter().any(open)
    }

    /// The voltage that each cord of a rack has, if any.
    fn cord_volts(&self, rack: usize) -> [Option<f64>; 2] {
        let cords = self.racks[rack].cords();
        let live = |feed: &&usize| self.racks[rack].plugged() && self.is_live(rack, **feed);
        std::array::from_fn(|c| cords.get(c).filter(live).map(|feed| self.feeds[*feed].volts))
    }

    /// What was counted.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Asks the driver of one GPU for a limit and clocks. Unknown GPUs are ignored.
    pub fn request(&mut self, rack: usize, gpu: usize, requests: Requests) {
        if let Some(gpu) = self.racks.get_mut(rack).and_then(|r| r.gpus.get_mut(gpu)) {
            gpu.request(requests);
        }
    }

    /// What happened since the last call.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// Advances by `dt` seconds (0.02 in a run; stable up to 0.1).
    pub fn step(&mut self, dt: f64) {
        self.time_s += dt;
        for r in 0..self.racks.len() {
            let gone = !self.is_live(r, self.racks[r].spec().cords[0]);
            self.racks[r].switch(gone);
            let cords = self.cord_volts(r);
            let cooled = self.racks[r].plugged() && self.feeds[self.racks[r].cooling_feed()].energised();
            self.racks[r].step(dt, self.time_s, (cords, cooled), &self.spec, &mut self.events);
        }
        for b in 0..self.branches.len() {
            let volts = self.feeds[self.branches[b].spec().feed].volts;
            self.branches[b].step(dt, &self.racks, volts);
        }
        for f in 0..self.feeds.len() {
            let mut watts = [0.0; 3];
            let mut va = [0.0; 3];
            for rack in &self.racks {
                let pdu = rack.cord_on(f).map(|cord| &rack.pdus[cord]);
                let pdu_va = pdu.map_or([0.0; 3], |pdu| pdu.phase_va());
                let cooling = if rack.cooling_feed() == f { rack.cooling.power_watts() / 3.0 } else { 0.0 };
                for p in 0..3 {
                    watts[p] += pdu.map_or(0.0, |pdu| pdu.phase_watts[p]) + cooling;
                    va[p] += pdu_va[p] + cooling / 0.98;
                }
            }
            let implied = self.implied_ratio(f, watts.iter().sum());
            self.feeds[f].step(dt, watts, va);
            let state = &self.feeds[f];
            let step = Step { feed: f, dt, now_s: self.time_s, implied_ratio: state.load_ratio() * implied, state };
            self.tally.count(step, &mut self.events);
        }
        self.tally.seconds = self.time_s;
        self.tally.lost_work_gpu_seconds = self.racks.iter().flat_map(|r| &r.gpus).map(|g| g.lost_work_s).sum();
        self.tally.energy_joules = self.feeds.iter().map(|f| f.ups.readout.output_energy_joules).sum();
    }

    /// Power a feed would carry if every GPU drew the lesser of its demand and its limit, as a
    /// share of what it carries now.
    fn implied_ratio(&self, feed: usize, now_watts: f64) -> f64 {
        if now_watts <= 0.0 {
            return 0.0;
        }
        let implied: f64 = self
            .racks
            .iter()
            .map(|rack| {
                let cords = rack.cords();
                let alive = cords.iter().filter(|f| self.feeds[**f].energised() || **f == feed).count();
                let share = if cords.contains(&feed) { 1.0 / alive as f64 } else { 0.0 };
                let cooling = if rack.cooling_feed() == feed { rack.cooling.power_watts() } else { 0.0 };
                rack.implied_watts() * share / (1.0 - self.spec.pdu_loss_ratio) + cooling
            })
            .sum();
        implied / now_watts
    }

    /// Everything that can be read from the plant now.
    pub fn view(&self) -> PlantView {
        PlantView {
            time_s: self.time_s,
            racks: self.racks.iter().map(Rack::view).collect(),
            feeds: self.feeds.iter().map(FeedView::of).collect(),
            tally: self.tally.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
