//! Training data for the forecaster: random but realistic workloads under random limits, run
//! through the same physics as `run`, as fast as the machine allows. Breakers and UPSs are made
//! large enough never to act: a dark rack teaches nothing.

pub mod draw;

use crate::plant::Plant;
use crate::plant::chance::Chance;
use crate::plant::gpu::Requests;
use crate::plant::spec::PlantSpec;
use draw::Limits;
use std::io::{self, Write};

/// Length of one piece of the trace: then workloads, envelopes and hidden parameters are drawn anew.
const EPISODE_S: u64 = 1800;
/// The step of the physics, as in `run`.
pub const STEP_S: f64 = 0.02;
const STEPS_PER_SECOND: u32 = 50;
/// The first line.
pub const HEADER: &str = "time_s,rack,power_watts,limit_watts,utilization_ratio";

/// Writes `seconds` of trace: one line per rack and second. `power_watts` is the inlet power of
/// both PDUs at that instant, as the rack's meters show it; `limit_watts` the sum of the limits in
/// force on its GPUs; `utilization_ratio` their mean utilisation.
///
/// # Errors
/// Whatever `out` says.
pub fn write(spec: &PlantSpec, seed: u64, seconds: u64, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{HEADER}")?;
    let mut time_s = 0;
    let mut episode = 0;
    while time_s < seconds {
        let length = EPISODE_S.min(seconds - time_s);
        let mut chance = Chance::new(seed, &format!("trace/{episode}"));
        let mut plant = Plant::new(&draw::spec(spec, &mut chance, EPISODE_S as f64));
        let mut limits: Vec<Limits> = spec.racks.iter().map(|_| Limits::new(&spec.gpu, &mut chance)).collect();
        for second in 0..length {
            for step in 0..STEPS_PER_SECOND {
                if step % 10 == 0 {
                    set_limits(&mut plant, &mut limits, f64::from(10) * STEP_S, &mut chance);
                }
                plant.step(STEP_S);
            }
            for rack in plant.racks() {
                let (id, power) = (&rack.spec().id, rack.inlet_watts());
                let limit: f64 = rack.gpus.iter().map(|g| g.readout.limit_watts).sum();
                let gpus = rack.gpus.len() as f64;
                let utilization = rack.gpus.iter().map(|g| g.readout.utilization_ratio).sum::<f64>() / gpus;
                writeln!(out, "{},{id},{power:.1},{limit:.1},{utilization:.4}", time_s + second)?;
            }
        }
        time_s += length;
        episode += 1;
    }
    out.flush()
}

fn set_limits(plant: &mut Plant, limits: &mut [Limits], dt: f64, chance: &mut Chance) {
    for (r, limits) in limits.iter_mut().enumerate() {
        let gpu_power: f64 = {
            let gpus = &plant.racks()[r].gpus;
            gpus.iter().map(|g| g.readout.power_watts).sum::<f64>() / gpus.len() as f64
        };
        let limit_watts = limits.step(dt, gpu_power, chance);
        for g in 0..plant.racks()[r].gpus.len() {
            plant.request(r, g, Requests { limit_watts, locked_mhz: None });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;

    fn trace(seed: u64, seconds: u64) -> String {
        let mut out = Vec::new();
        write(&Scenario::load(None).expect("valid").plant, seed, seconds, &mut out).expect("memory");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn a_trace_has_one_line_per_rack_and_second_within_physical_bounds() {
        let text = trace(3, 600);
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some(HEADER));
        let rows: Vec<Vec<&str>> = lines.map(|l| l.split(',').collect()).collect();
        assert_eq!(rows.len(), 4 * 600);
        for row in &rows {
            let n = |i: usize| row[i].parse::<f64>().expect("a number");
            assert!((1000.0..7700.0).contains(&n(2)) && (1600.0..=5600.0).contains(&n(3)), "{row:?}");
            assert!((0.0..=1.0).contains(&n(4)), "{row:?}");
        }
    }

    #[test]
    fn limits_and_power_both_move() {
        let rows = trace(5, 3600);
        let column = |i: usize| -> Vec<f64> {
            let rack = rows.lines().skip(1).filter(|l| l.contains("rack-2"));
            rack.map(|l| l.split(',').nth(i).expect("column").parse().expect("number")).collect()
        };
        let spread =
            |v: &[f64]| v.iter().copied().fold(f64::MIN, f64::max) - v.iter().copied().fold(f64::MAX, f64::min);
        assert!(spread(&column(2)) > 2000.0 && spread(&column(3)) > 1000.0);
    }

    #[test]
    fn seeds_repeat_and_differ() {
        assert_eq!(trace(1, 30), trace(1, 30));
        assert_ne!(trace(1, 30), trace(2, 30));
    }
}
