//! Two pumps, or two banks of fans, that one drive turns as fast as the flow needs it: worn ones turn faster for the
//! same flow, which is how wear shows, and one alone gives less.

/// Drive that gives the nominal flow with both in good order: one alone gives seven tenths.
pub(super) const NOMINAL_DRIVE: f64 = 0.70;
const DRIVE_TIME_S: f64 = 2.0;

/// Both and their drive.
#[derive(Debug, Clone)]
pub(super) struct Drive {
    ratio: f64,
    /// How long they take to follow the drive.
    time_s: f64,
    speeds: [f64; 2],
    stopped: [bool; 2],
    wear_ratio: f64,
}

/// What they move.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moved {
    /// Share of the nominal flow.
    pub flow_ratio: f64,
    /// Share of what it takes at full speed.
    pub effort_ratio: f64,
}

impl Drive {
    /// At its nominal drive; both follow it within `time_s`.
    pub fn new(time_s: f64) -> Self {
        Self { ratio: NOMINAL_DRIVE, time_s, speeds: [NOMINAL_DRIVE; 2], stopped: [false; 2], wear_ratio: 1.0 }
    }

    /// Fault: stops the first or second, or both.
    pub fn set_stopped(&mut self, which: Option<usize>, on: bool) {
        for n in 0..2 {
            if which.is_none_or(|one| one == n) {
                self.stopped[n] = on;
            }
        }
    }

    /// Fault: both deliver only this share at the same speed.
    pub fn set_wear(&mut self, delivered_ratio: f64) {
        self.wear_ratio = delivered_ratio.clamp(0.1, 1.0);
    }

    /// What it turns them at while it has power, as a share of full speed.
    pub fn ratio(&self) -> f64 {
        self.ratio
    }

    /// Speed of each as a share of full speed.
    pub fn speeds(&self) -> [f64; 2] {
        self.speeds
    }

    /// Advances by `dt` seconds while this share of the nominal flow flows.
    pub fn step(&mut self, dt: f64, powered: bool, flow_ratio: f64) -> Moved {
        if powered {
            self.ratio = (self.ratio + (1.0 - flow_ratio) * dt / DRIVE_TIME_S).clamp(0.2, 1.0);
        }
        let mut moved = Moved { flow_ratio: 0.0, effort_ratio: 0.0 };
        for (speed, stopped) in self.speeds.iter_mut().zip(self.stopped) {
            let target = if powered && !stopped { self.ratio } else { 0.0 };
            *speed += (dt / self.time_s).min(1.0) * (target - *speed);
            // Affinity laws: flow with the speed, power with its cube.
            moved.flow_ratio += *speed / NOMINAL_DRIVE * self.wear_ratio / 2.0;
            moved.effort_ratio += speed.powi(3) / 2.0;
        }
        moved
    }
}
