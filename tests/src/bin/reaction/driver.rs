//! What the drivers of a row's GPUs were asked for, read from the state files that the NVML look-alike writes: to the
//! fraction of a millisecond, where the plant looks at them fifty times a second.

#[path = "../../../../firmware-sim/nvml/src/layout.rs"]
#[allow(dead_code, reason = "the layout of both sides; this one looks at a word of it")]
mod layout;

use headroom_tests::plant::Rack;
use layout::{Gpu, Region, Requests};
use std::collections::BTreeMap;
use std::fs::File;
use std::mem::{offset_of, size_of};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

/// A limit that moved by less has not moved, W.
const MOVED: f64 = 5.0;
/// Between two looks.
const EVERY: Duration = Duration::from_micros(300);

/// A GPU by its rack and index.
pub type Place = (String, u64);

/// The state files of some racks.
pub struct Drivers(Vec<(String, u64, File)>);

impl Drivers {
    /// Of these racks.
    pub fn of(racks: &[Rack]) -> Self {
        let open = |rack: &Rack| (rack.id.clone(), rack.gpus, File::open(&rack.nvml_state).expect("a state file"));
        Self(racks.iter().map(open).collect())
    }

    /// The limit that each GPU was last asked to keep, W.
    pub fn asked(&self) -> BTreeMap<Place, f64> {
        let gpus = self.0.iter().flat_map(|(rack, count, file)| (0..*count).map(move |gpu| (rack, gpu, file)));
        gpus.map(|(rack, gpu, file)| ((rack.clone(), gpu), limit(file, gpu))).collect()
    }
}

fn limit(file: &File, gpu: u64) -> f64 {
    let at = offset_of!(Region, gpus) + gpu as usize * size_of::<Gpu>();
    let at = at + offset_of!(Gpu, requests) + offset_of!(Requests, power_limit_mw);
    let mut word = [0; 8];
    file.read_exact_at(&mut word, at as u64).expect("a whole state file");
    u64::from_ne_bytes(word) as f64 / 1000.0
}

/// When each GPU was first asked for less than before.
#[derive(Debug)]
pub struct Lowered {
    before: BTreeMap<Place, f64>,
    at: BTreeMap<Place, Instant>,
}

impl Lowered {
    /// Nothing yet: all are as they are now.
    pub fn from(drivers: &Drivers) -> Self {
        Self { before: drivers.asked(), at: BTreeMap::new() }
    }

    /// Looks once; whether all are lowered.
    pub fn look(&mut self, drivers: &Drivers) -> bool {
        let (asked, now) = (drivers.asked(), Instant::now());
        for (place, before) in &self.before {
            if asked[place] < before - MOVED {
                self.at.entry(place.clone()).or_insert(now);
            }
        }
        self.at.len() == self.before.len()
    }

    /// Looks until all are lowered, for so long at most; whether all are.
    pub fn wait(&mut self, drivers: &Drivers, most: Duration) -> bool {
        let begun = Instant::now();
        while !self.look(drivers) {
            if begun.elapsed() >= most {
                return false;
            }
            std::thread::sleep(EVERY);
        }
        true
    }

    /// When the first and the last GPU of a rack were; `None` if one of them was not.
    pub fn of(&self, rack: &str) -> Option<(Instant, Instant)> {
        let places = || self.before.keys().filter(|(r, _)| r == rack);
        let times = places().map(|place| self.at.get(place).copied()).collect::<Option<Vec<_>>>()?;
        Some((times.iter().copied().min()?, times.iter().copied().max()?))
    }

    /// When the last of those GPUs, by rack and index, that were, was.
    pub fn last(&self, which: impl Fn(&str, u64) -> bool) -> Option<Instant> {
        self.at.iter().filter(|((rack, gpu), _)| which(rack, *gpu)).map(|(_, at)| *at).max()
    }
}
