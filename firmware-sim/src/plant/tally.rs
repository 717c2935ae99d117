//! What is counted over a run: overloads, trips, time from overload to cap, work lost.

use super::event::Event;
use super::feed::Feed;

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
    pub peak_load_ratio: [f64; 2],
    /// Energy delivered by both UPSs.
    pub energy_joules: f64,
    /// Work left undone because of caps, losses and trips.
    pub lost_work_gpu_seconds: f64,
    open: [Option<Overload>; 2],
    was_on_battery: [bool; 2],
}

/// Below the rating for this long ends an overload.
const PAUSE_S: f64 = 1.0;

impl Tally {
    /// Counts one step of one feed. `implied_ratio` is the load the limits in force imply.
    #[allow(clippy::too_many_arguments)]
    pub fn feed(
        &mut self,
        f: usize,
        dt: f64,
        now_s: f64,
        load_ratio: f64,
        implied_ratio: f64,
        feed: &Feed,
        name: &str,
        events: &mut Vec<Event>,
    ) {
        let breaker = format!("breaker-{name}");
        let kilowatts = feed.watts().iter().sum::<f64>() / 1000.0;
        let amperes = feed.amperes().iter().copied().fold(0.0, f64::max);
        self.peak_load_ratio[f] = self.peak_load_ratio[f].max(load_ratio);
        let over = load_ratio > 1.0;
        if over {
            self.overload_seconds += dt;
            if self.open[f].is_none() {
                self.overloads += 1;
                self.open[f] = Some(Overload { began_s: now_s, ..Overload::default() });
                let rated = amperes / load_ratio;
                let text = format!("overload begins on {breaker}: {amperes:.1} A of {rated:.0} A at {kilowatts:.2} kW");
                events.push(Event { at_s: now_s, kind: "overload_begins", text });
            }
        }
        if let Some(open) = &mut self.open[f] {
            open.peak_ratio = open.peak_ratio.max(load_ratio);
            open.over_s += if over { dt } else { 0.0 };
            open.below_s = if over { 0.0 } else { open.below_s + dt };
            match open.exposed_since_s {
                None if !open.answered && implied_ratio > 1.0 => open.exposed_since_s = Some(now_s),
                Some(since) if !open.answered && implied_ratio <= 1.0 => {
                    open.answered = true;
                    self.overload_to_cap_ms.push((now_s - since) * 1000.0);
                }
                _ => {}
            }
        }
        let newly_tripped = feed.breaker.tripped().filter(|_| !self.trips.iter().any(|t| t.breaker == breaker));
        if let Some(release) = newly_tripped {
            let after = self.open[f].as_ref().map_or(0.0, |o| now_s - o.began_s);
            let word = release.word();
            let text = format!(
                "{breaker} trips ({word}) after {after:.1} s of overload at {now_s:.1} s: {amperes:.1} A, {kilowatts:.2} kW"
            );
            events.push(Event { at_s: now_s, kind: "trip", text });
            self.trips.push(Trip { breaker: breaker.clone(), at_s: now_s });
        }
        if self.open[f].as_ref().is_some_and(|o| o.below_s >= PAUSE_S || newly_tripped.is_some()) {
            if let Some(o) = self.open[f].take() {
                let (over_s, peak) = (o.over_s, o.peak_ratio * 100.0);
                let text = format!("overload ends on {breaker}: {over_s:.1} s above the rating, peak {peak:.0} %");
                events.push(Event { at_s: now_s, kind: "overload_ends", text });
            }
        }
        if feed.ups.readout.on_battery != self.was_on_battery[f] {
            self.was_on_battery[f] = feed.ups.readout.on_battery;
            let runtime = feed.ups.readout.runtime_s;
            let text = match (feed.ups.readout.on_battery, feed.ups.readout.output_on) {
                (true, _) => format!("ups-{name} carries the load from its battery: {runtime:.0} s left"),
                (false, true) => format!("ups-{name} is back on utility"),
                (false, false) => format!("ups-{name} is out: battery empty or overloaded"),
            };
            events.push(Event { at_s: now_s, kind: "battery", text });
        }
    }
}
