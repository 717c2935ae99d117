//! What is counted over a run: overloads, trips, time from overload to cap, work lost.

use super::event::Event;
use super::feed::Feed;
use super::{FEED_NAMES, MAX_FEEDS};

/// An opened breaker.
#[derive(Debug, Clone, PartialEq)]
pub struct Trip {
    /// Its name.
    pub breaker: String,
    /// Seconds since the start.
    pub at_s: f64,
}

/// An overload that goes on.
#[derive(Debug, Clone, PartialEq, Default)]
struct Overload {
    began_s: f64,
    over_s: f64,
    below_s: f64,
    peak_ratio: f64,
    /// Since when the limits in force imply a load above the rating.
    exposed_since_s: Option<f64>,
    /// The first cap was seen; later ones of the same overload do not count.
    answered: bool,
}

/// Everything counted.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tally {
    /// Length of the run so far.
    pub seconds: f64,
    /// Breakers that opened.
    pub trips: Vec<Trip>,
    /// Overloads: the current of a breaker's fullest pole above its rating. Two with less than a
    /// second between them are one.
    pub overloads: u64,
    /// Time above the rating, summed over the breakers.
    pub overload_seconds: f64,
    /// From the start of each overload (the first step at which the limits in force imply a load
    /// above the rating, using each GPU's recent peak of demand, so that the pause in a training
    /// step is not taken for a cap) to the first step at which they imply one at or below it.
    /// Overloads met by the limits from the start are not counted.
    pub overload_to_cap_ms: Vec<f64>,
    /// Highest load of each breaker as a share of its rating.
    pub peak_load_ratio: [f64; MAX_FEEDS],
    /// Energy delivered by both UPSs.
    pub energy_joules: f64,
    /// Work left undone because of caps, losses and trips.
    pub lost_work_gpu_seconds: f64,
    open: [Option<Overload>; MAX_FEEDS],
    was_on_battery: [bool; MAX_FEEDS],
    tripped: [bool; MAX_FEEDS],
}

/// Below the rating for this long ends an overload.
const PAUSE_S: f64 = 1.0;

/// One step of one feed, to be counted.
#[derive(Debug, Clone, Copy)]
pub struct Step<'p> {
    /// The feed, 0 is a.
    pub feed: usize,
    /// Length of the step.
    pub dt: f64,
    /// Seconds since the start.
    pub now_s: f64,
    /// Load the limits in force imply, as a share of the rating.
    pub implied_ratio: f64,
    /// The feed after the step.
    pub state: &'p Feed,
}

impl Tally {
    /// Counts one step and says what is worth saying.
    pub fn count(&mut self, step: Step<'_>, events: &mut Vec<Event>) {
        self.overload(&step, events);
        self.trip(&step, events);
        self.battery(&step, events);
    }

    fn overload(&mut self, step: &Step<'_>, events: &mut Vec<Event>) {
        let (f, now_s, load_ratio) = (step.feed, step.now_s, step.state.load_ratio());
        self.peak_load_ratio[f] = self.peak_load_ratio[f].max(load_ratio);
        let over = load_ratio > 1.0;
        if over {
            self.overload_seconds += step.dt;
            if self.open[f].is_none() {
                self.overloads += 1;
                self.open[f] = Some(Overload { began_s: now_s, ..Overload::default() });
                let (amperes, rated) = (amperes(step.state), amperes(step.state) / load_ratio);
                let (name, kilowatts) = (FEED_NAMES[f], kilowatts(step.state));
                let text =
                    format!("overload begins on breaker-{name}: {amperes:.1} A of {rated:.0} A at {kilowatts:.2} kW");
                events.push(Event { at_s: now_s, kind: "overload_begins", text });
            }
        }
        let Some(open) = &mut self.open[f] else { return };
        open.peak_ratio = open.peak_ratio.max(load_ratio);
        open.over_s += if over { step.dt } else { 0.0 };
        open.below_s = if over { 0.0 } else { open.below_s + step.dt };
        match open.exposed_since_s {
            None if !open.answered && step.implied_ratio > 1.0 => open.exposed_since_s = Some(now_s),
            Some(since) if !open.answered && step.implied_ratio <= 1.0 => {
                open.answered = true;
                self.overload_to_cap_ms.push((now_s - since) * 1000.0);
            }
            _ => {}
        }
        if open.below_s >= PAUSE_S {
            self.close(f, now_s, events);
        }
    }

    fn close(&mut self, f: usize, now_s: f64, events: &mut Vec<Event>) {
        let Some(open) = self.open[f].take() else { return };
        let (name, over_s, peak) = (FEED_NAMES[f], open.over_s, open.peak_ratio * 100.0);
        let text = format!("overload ends on breaker-{name}: {over_s:.1} s above the rating, peak {peak:.0} %");
        events.push(Event { at_s: now_s, kind: "overload_ends", text });
    }

    fn trip(&mut self, step: &Step<'_>, events: &mut Vec<Event>) {
        let (f, now_s) = (step.feed, step.now_s);
        let Some(release) = step.state.breaker.tripped().filter(|_| !self.tripped[f]) else { return };
        self.tripped[f] = true;
        let breaker = format!("breaker-{}", FEED_NAMES[f]);
        let after_s = self.open[f].as_ref().map_or(0.0, |open| now_s - open.began_s);
        let (word, amperes, kilowatts) = (release.word(), amperes(step.state), kilowatts(step.state));
        let text = format!(
            "{breaker} trips ({word}) after {after_s:.1} s of overload at {now_s:.1} s: {amperes:.1} A, {kilowatts:.2} kW"
        );
        events.push(Event { at_s: now_s, kind: "trip", text });
        self.trips.push(Trip { breaker, at_s: now_s });
        self.close(f, now_s, events);
    }

    fn battery(&mut self, step: &Step<'_>, events: &mut Vec<Event>) {
        let (f, ups) = (step.feed, &step.state.ups.readout);
        if ups.on_battery == self.was_on_battery[f] {
            return;
        }
        self.was_on_battery[f] = ups.on_battery;
        let name = FEED_NAMES[f];
        let text = match (ups.on_battery, ups.output_on) {
            (true, _) => format!("ups-{name} carries the load from its battery: {:.0} s left", ups.runtime_s),
            (false, true) => format!("ups-{name} is back on utility"),
            (false, false) => format!("ups-{name} is out: battery empty or overloaded"),
        };
        events.push(Event { at_s: step.now_s, kind: "battery", text });
    }
}

fn amperes(feed: &Feed) -> f64 {
    feed.amperes().iter().copied().fold(0.0, f64::max)
}

fn kilowatts(feed: &Feed) -> f64 {
    feed.watts().iter().sum::<f64>() / 1000.0
}
