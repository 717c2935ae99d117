//! A breaker between a feed's own and some of its racks: a row's on a switchboard, a rack's on a busway.

use super::breaker::Breaker;
use super::rack::Rack;
use super::spec::BranchSpec;
use headroom_rack::units::Amperes;

/// One branch breaker.
#[derive(Debug, Clone)]
pub struct Branch {
    spec: BranchSpec,
    /// The breaker itself.
    pub breaker: Breaker,
    amperes: [f64; 3],
}

impl Branch {
    /// A cold, closed one.
    pub fn new(spec: &BranchSpec) -> Self {
        Self { breaker: Breaker::new(&spec.breaker), amperes: [0.0; 3], spec: spec.clone() }
    }

    /// What it was built from.
    pub fn spec(&self) -> &BranchSpec {
        &self.spec
    }

    /// Current by phase.
    pub fn amperes(&self) -> [f64; 3] {
        self.amperes
    }

    /// Whether the cord of rack number `rack` on feed number `feed` hangs on it.
    pub fn carries(&self, feed: usize, rack: usize) -> bool {
        self.spec.feed == feed && self.spec.racks.contains(&rack)
    }

    /// Advances by `dt` seconds with what its racks draw now.
    pub fn step(&mut self, dt: f64, racks: &[Rack], volts: f64) {
        let mut va = [0.0; 3];
        for rack in self.spec.racks.iter().filter_map(|r| racks.get(*r)) {
            let Some(cord) = rack.cord_on(self.spec.feed) else { continue };
            va.iter_mut().zip(rack.pdus[cord].phase_va()).for_each(|(sum, more)| *sum += more);
        }
        self.amperes = va.map(|va| va / volts);
        self.breaker.step(dt, self.amperes.map(Amperes::new));
    }
}
