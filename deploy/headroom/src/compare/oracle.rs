//! The oracle: it knows what every GPU will want, and the breaker itself, not only its standard. Each
//! second it allows the highest total at which the breaker stays closed over all that is to come in
//! the next minute, and splits it by priority. Nobody can know that much: it is the mark nobody passes.

use crate::harness::{FLOOR_WATTS, Hour, Message, Mind, orders};
use headroom_controller_core::allocate::{Ask, allocate};
use headroom_rack::{Amperes, Generation, Watts};
use headroom_sim::plant::Plant;
use headroom_sim::plant::spec::{PlantSpec, WorkloadSpec};

const PERIOD_MS: u64 = 1000;
/// How far it looks, s: twice the memory of the breaker.
const AHEAD_S: usize = 60;
/// An Order given now acts within this, s: it makes room for what is wanted until then.
const ACTS_S: usize = 2;
/// It leaves this much of the breaker's heat unused: GPUs need a moment to follow a limit.
const HEAT: f64 = 0.93;
/// Halvings in the search for the highest total.
const HALVINGS: usize = 12;
/// Samples of the recording looked at in each second.
const LOOKS: usize = 4;

pub(super) struct Oracle {
    plant: PlantSpec,
    bands: Vec<String>,
    generation: Generation,
    next_ms: u64,
}

impl Oracle {
    pub(super) fn new(plant: &PlantSpec, bands: &[String]) -> Self {
        let generation = Generation { epoch: 1, counter: 0 };
        Self { plant: plant.clone(), bands: bands.to_vec(), generation, next_ms: 0 }
    }

    /// What the GPUs of a rack will want: mean and highest of each second to come, W.
    fn wanted(&self, rack: usize, now_s: f64) -> Vec<(f64, f64)> {
        let spec = &self.plant.racks[rack];
        let WorkloadSpec::Replay(replay) = &spec.workload else { return vec![(0.0, 0.0); AHEAD_S] };
        let at = |t: f64| -> f64 {
            let row = &replay.watts[((replay.start_s + t) / replay.step_s) as usize % replay.watts.len()];
            (0..spec.gpus).map(|g| f64::from(row[g % row.len()]).min(self.plant.gpu.max_watts)).sum()
        };
        let second = |s: usize| {
            let looks: Vec<f64> = (0..LOOKS).map(|l| at(now_s + s as f64 + l as f64 / LOOKS as f64)).collect();
            (looks.iter().sum::<f64>() / LOOKS as f64, looks.iter().copied().fold(0.0, f64::max))
        };
        (0..AHEAD_S).map(second).collect()
    }

    /// The highest total, W, that the breaker carries through all that comes; without end if it carries all.
    fn total(&self, plant: &Plant, loads: &[f64], floors: f64) -> f64 {
        let most = loads.iter().copied().fold(0.0, f64::max);
        let feed = &plant.feeds()[0];
        let watts: f64 = feed.watts().iter().sum();
        // Amperes of each pole per watt of all, as it is now: phases are uneven.
        let poles = feed.amperes().map(|a| if watts > 0.0 { a / watts } else { 1.0 / (3.0 * self.plant.volts) });
        let holds = |total: f64| {
            let mut breaker = feed.breaker.clone();
            loads.iter().all(|load| {
                let opened = breaker.step(1.0, poles.map(|p| Amperes::new(p * load.min(total))));
                opened.is_none() && breaker.heat_ratio() < HEAT
            })
        };
        if holds(most) {
            return f64::INFINITY;
        }
        let (mut low, mut high) = (floors, most);
        for _ in 0..HALVINGS {
            let middle = (low + high) / 2.0;
            if holds(middle) { low = middle } else { high = middle }
        }
        low
    }
}

impl Mind for Oracle {
    fn hear(&mut self, _: &headroom_rack::Snapshot, _: u64) {}

    fn step(&mut self, hour: Hour<'_>) -> Option<Vec<Message>> {
        if hour.now_ms < self.next_ms {
            return None;
        }
        self.next_ms = hour.now_ms + PERIOD_MS;
        self.generation.counter += 1;
        let passed_on = 1.0 - self.plant.pdu_loss_ratio;
        let wanted: Vec<Vec<(f64, f64)>> =
            (0..self.plant.racks.len()).map(|r| self.wanted(r, hour.now_ms as f64 / 1000.0)).collect();
        let racks = hour.plant.racks();
        let fixed: Vec<f64> = racks.iter().map(|r| r.host_watts() / passed_on + r.cooling.power_watts()).collect();
        let all_fixed: f64 = fixed.iter().sum();
        let load = |s: usize| all_fixed + wanted.iter().map(|w| w[s].0).sum::<f64>() / passed_on;
        let loads: Vec<f64> = (0..AHEAD_S).map(load).collect();
        let gpus: f64 = racks.iter().map(|r| r.gpus.len() as f64).sum();
        let total = self.total(hour.plant, &loads, all_fixed + gpus * FLOOR_WATTS / passed_on);
        let shares = [(0, 1.0)];
        let asks: Vec<Ask<'_>> = racks
            .iter()
            .zip(&wanted)
            .zip(&self.bands)
            .map(|((rack, wanted), band)| {
                let most = wanted.iter().take(ACTS_S).map(|w| w.1).fold(0.0, f64::max);
                let floor = rack.gpus.len() as f64 * FLOOR_WATTS / passed_on;
                let band = super::BANDS.iter().position(|b| b == band).unwrap_or(0);
                Ask { floor, demand: (most / passed_on).max(floor), weight: 1.0, band, shares: &shares }
            })
            .collect();
        let grants = allocate(&[(total - all_fixed).max(0.0)], &asks);
        let to = |(rack, grant): (&headroom_sim::plant::rack::Rack, &headroom_controller_core::allocate::Grant)| {
            // Whoever gets all it wants is not held at all.
            let limit = match grant.bound_by {
                None => self.plant.gpu.max_watts,
                Some(_) => grant.watts * passed_on / rack.gpus.len() as f64,
            };
            orders(rack.gpus.len(), Watts::new(limit.max(FLOOR_WATTS)), self.generation)
        };
        Some(racks.iter().zip(&grants).map(to).collect())
    }
}
