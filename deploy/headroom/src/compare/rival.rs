//! The policies ours is compared with. They hear the same Snapshots over the same bus and order the
//! same agents, once a second; they differ in what they decide.

use super::BANDS;
use crate::harness::{FLOOR_WATTS, Hour, Message, Mind, orders};
use headroom_rack::{Generation, Signal, Snapshot, Watts};
use headroom_sim::plant::spec::PlantSpec;

const PERIOD_MS: u64 = 1000;
/// Three bands after Wu et al., "Dynamo: Facebook's Data Center-Wide Power Management System" (ISCA
/// 2016): cap above 99 % of the breaker's rating down to 95 %, give free below 90 %. There services are in groups
/// of priority, the least important is cut first, in it the highest loads ("high-bucket-first", evenly within a
/// bucket) and none below what its service level needs; without groups everybody is one. Groups, order and floors
/// were held against summaries of the paper, the three thresholds not.
const CAP_AT: f64 = 0.99;
const AIM_AT: f64 = 0.95;
const FREE_AT: f64 = 0.90;
/// Two thresholds after Patel et al., "POLCA" (arXiv 2308.12908; ASPLOS 2024): above 80 % low priority runs at
/// 1275 of 1410 MHz; above 89 % low priority at 1110 and the rest at 1305 MHz; freed 5 % below; at the
/// rating itself the brake.
const FIRST: f64 = 0.80;
const SECOND: f64 = 0.89;
const FREED_BELOW: f64 = 0.05;
const LOW_FIRST: f64 = 1275.0 / 1410.0;
const LOW_SECOND: f64 = 1110.0 / 1410.0;
const HIGH_SECOND: f64 = 1305.0 / 1410.0;
/// Power follows the clock with this exponent, as in the plant's GPUs.
const POWER_EXPONENT: f64 = 2.4;

/// Which of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// Nobody is held; only so many racks are there that all of them at nameplate fit.
    StaticNameplate,
    /// Everybody is held at an equal share of the breaker, always.
    StaticShare,
    /// Holds when it is nearly too late, frees when it is over.
    ThreeBand,
    /// The same with a group per band of priority.
    ThreeBandLowFirst,
    /// Low priority is slowed first, everybody later.
    TwoThreshold,
}

pub(super) struct Rival {
    rule: Rule,
    rating: f64,
    share: f64,
    max: f64,
    base: f64,
    gpus: Vec<usize>,
    /// The group of each rack, the least important first.
    group: Vec<usize>,
    ids: Vec<String>,
    /// Power of each GPU, by rack, as last heard.
    drawn: Vec<Vec<f64>>,
    metered: Option<f64>,
    /// Limit of each group while it is held.
    held: [Option<f64>; BANDS.len()],
    stage: u8,
    generation: Generation,
    next_ms: u64,
}

impl Rival {
    pub(super) fn new(rule: Rule, plant: &PlantSpec, derate: f64) -> Self {
        let rating = plant.breaker.rating_amperes * plant.volts * 3.0;
        let gpus: usize = plant.racks.iter().map(|r| r.gpus).sum();
        let passed_on = 1.0 - plant.pdu_loss_ratio;
        let fixed: f64 = plant.racks.iter().map(|r| r.overhead_watts / passed_on + r.cooling_watts).sum();
        let share = ((rating * derate - fixed) * passed_on / gpus as f64).clamp(FLOOR_WATTS, plant.gpu.max_watts);
        Self {
            rule,
            rating,
            share,
            max: plant.gpu.max_watts,
            base: plant.gpu.loaded_watts,
            gpus: plant.racks.iter().map(|r| r.gpus).collect(),
            group: plant.racks.iter().map(|r| group(r.workload.word())).collect(),
            ids: plant.racks.iter().map(|r| r.id.clone()).collect(),
            drawn: plant.racks.iter().map(|r| vec![plant.gpu.max_watts; r.gpus]).collect(),
            metered: None,
            held: [None; BANDS.len()],
            stage: 0,
            generation: Generation { epoch: 1, counter: 0 },
            next_ms: 0,
        }
    }

    fn three_band(&mut self, power: f64) {
        if power > self.rating * CAP_AT {
            let mut over = power - self.rating * AIM_AT;
            for group in 0..self.held.len() {
                let of = |(rack, gpus): (usize, &Vec<f64>)| if self.is_in(rack, group) { gpus.clone() } else { vec![] };
                let mut draws: Vec<f64> = self.drawn.iter().enumerate().flat_map(of).collect();
                if draws.is_empty() || over <= 0.0 {
                    continue;
                }
                draws.sort_by(f64::total_cmp);
                let level = level(&draws, draws.iter().sum::<f64>() - over).clamp(FLOOR_WATTS, self.max);
                over -= draws.iter().map(|draw| (draw - level).max(0.0)).sum::<f64>();
                self.held[group] = Some(self.held[group].map_or(level, |held| held.min(level)));
            }
        } else if power < self.rating * FREE_AT {
            self.held = [None; BANDS.len()];
        }
    }

    /// Without groups all racks are in the first.
    fn is_in(&self, rack: usize, group: usize) -> bool {
        group == if self.rule == Rule::ThreeBandLowFirst { self.group[rack] } else { 0 }
    }

    fn two_threshold(&mut self, power: f64) {
        let ratio = power / self.rating;
        self.stage = match self.stage {
            _ if ratio >= 1.0 => 3,
            s if ratio > SECOND => s.max(2),
            s if ratio > FIRST => match s {
                2 | 3 if ratio > SECOND - FREED_BELOW => 2,
                _ => 1,
            },
            1.. if ratio > FIRST - FREED_BELOW => 1,
            _ => 0,
        };
    }

    fn limit(&self, rack: usize) -> f64 {
        let slowed = |clock: f64| self.base + (self.max - self.base) * clock.powf(POWER_EXPONENT);
        match (self.rule, self.stage, self.group[rack] == 0) {
            (Rule::StaticNameplate, ..) => self.max,
            (Rule::StaticShare, ..) => self.share,
            (Rule::ThreeBand, ..) => self.held[0].unwrap_or(self.max),
            (Rule::ThreeBandLowFirst, ..) => self.held[self.group[rack]].unwrap_or(self.max),
            (Rule::TwoThreshold, 0, _) | (Rule::TwoThreshold, 1, false) => self.max,
            (Rule::TwoThreshold, 1, true) => slowed(LOW_FIRST),
            (Rule::TwoThreshold, 2, low) => slowed(if low { LOW_SECOND } else { HIGH_SECOND }),
            (Rule::TwoThreshold, ..) => FLOOR_WATTS,
        }
    }
}

/// The number of a band, the least important first; what is in none is as unimportant as the last.
fn group(word: &str) -> usize {
    BANDS.iter().rev().position(|band| *band == word).unwrap_or(0)
}

/// The level above which `draws`, ascending, must be cut to sum up to `target`.
fn level(draws: &[f64], target: f64) -> f64 {
    let mut rest = target.max(0.0);
    for (i, draw) in draws.iter().enumerate() {
        let even = rest / (draws.len() - i) as f64;
        if *draw >= even {
            return even;
        }
        rest -= draw;
    }
    draws.last().copied().unwrap_or(0.0)
}

impl Mind for Rival {
    fn hear(&mut self, snapshot: &Snapshot, _: u64) {
        let of = |signal: Signal| snapshot.readings.iter().filter(move |(p, _)| p.signal == signal);
        if let Some(rack) = self.ids.iter().position(|id| *id == snapshot.rack.as_str()) {
            for (path, reading) in of(Signal::GpuPower) {
                let gpu = path.device.gpu_index().and_then(|g| self.drawn[rack].get_mut(g as usize));
                if let (Some(gpu), Some(watts)) = (gpu, reading.ok()) {
                    *gpu = watts;
                }
            }
        }
        let phases = [Signal::UpsOutputPowerL1, Signal::UpsOutputPowerL2, Signal::UpsOutputPowerL3];
        let ups: Vec<f64> = phases.iter().flat_map(|s| of(*s).filter_map(|(_, r)| r.ok())).collect();
        if ups.len() == phases.len() {
            self.metered = Some(ups.iter().sum());
        }
    }

    fn step(&mut self, hour: Hour<'_>) -> Option<Vec<Message>> {
        if hour.now_ms < self.next_ms {
            return None;
        }
        self.next_ms = hour.now_ms + PERIOD_MS;
        if let Some(power) = self.metered {
            match self.rule {
                Rule::ThreeBand | Rule::ThreeBandLowFirst => self.three_band(power),
                Rule::TwoThreshold => self.two_threshold(power),
                Rule::StaticNameplate | Rule::StaticShare => {}
            }
        }
        self.generation.counter += 1;
        let to = |(rack, gpus): (usize, &usize)| orders(*gpus, Watts::new(self.limit(rack)), self.generation);
        Some(self.gpus.iter().enumerate().map(to).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_cuts_the_highest_first_and_meets_the_target() {
        assert_eq!(level(&[100.0, 300.0, 700.0], 900.0), 500.0);
        assert_eq!(level(&[100.0, 300.0, 700.0], 500.0), 200.0);
        assert_eq!(level(&[100.0, 300.0, 700.0], 2000.0), 700.0);
    }
}
