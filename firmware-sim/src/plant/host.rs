//! Everything in a rack that is not a GPU: processors, memory, network and fans.

/// The rest of a rack.
#[derive(Debug, Clone)]
pub struct Host {
    overhead_watts: f64,
    fan_ratio: f64,
}

/// Share of the overhead that never changes.
const STEADY: f64 = 0.70;
/// Share that follows how busy the GPUs are: input pipelines, network.
const BUSY: f64 = 0.15;
/// Share of the fans at full speed (air-cooled parts of a liquid-cooled server).
const FANS: f64 = 0.15;
const FAN_TIME_S: f64 = 8.0;
const FAN_IDLE_RATIO: f64 = 0.5;

impl Host {
    /// A host that draws at most `overhead_watts`.
    pub fn new(overhead_watts: f64) -> Self {
        Self { overhead_watts, fan_ratio: FAN_IDLE_RATIO }
    }

    /// Speed of its fans as a share of full speed.
    pub fn fan_ratio(&self) -> f64 {
        self.fan_ratio
    }

    /// Advances by `dt`; both arguments are 0 to 1. Fan power goes with the cube of speed (fan
    /// laws). Gives the power drawn.
    pub fn step(&mut self, dt: f64, powered: bool, busy: f64, heat: f64) -> f64 {
        if !powered {
            self.fan_ratio = 0.0;
            return 0.0;
        }
        let target = FAN_IDLE_RATIO + (1.0 - FAN_IDLE_RATIO) * heat.clamp(0.0, 1.0);
        self.fan_ratio += (dt / FAN_TIME_S).min(1.0) * (target - self.fan_ratio);
        self.overhead_watts * (STEADY + BUSY * busy.clamp(0.0, 1.0) + FANS * self.fan_ratio.powi(3))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_overhead_is_the_most_it_draws() {
        let mut host = Host::new(1700.0);
        let idle = host.step(0.02, true, 0.0, 0.0);
        let full = (0..5000).map(|_| host.step(0.02, true, 1.0, 1.0)).last().expect("some steps");
        assert!(idle < 1250.0 && full <= 1700.0 && full > 1690.0, "{idle} {full}");
        assert_eq!(host.step(0.02, false, 1.0, 1.0), 0.0);
    }
}
