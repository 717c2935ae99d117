//! The Readings of one Snapshot in the order of their paths. Which paths there are seldom changes from one Snapshot of
//! a rack to the next, so they are held once for all that have the same: a large site's controller is handed hundreds
//! of thousands of Readings a second. In bytes and in text it is a map.

use crate::id::DeviceId;
use crate::reading::Reading;
use crate::signal::{Signal, SignalPath};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, Serializer};
use std::fmt;
use std::iter::Zip;
use std::ops::Index;
use std::slice;
use std::sync::Arc;

/// A map from paths to Readings, sorted.
#[derive(Clone, Default)]
pub struct Readings {
    /// Rising, each once, as many as there are values.
    paths: Arc<Vec<SignalPath>>,
    values: Vec<Reading>,
}

/// All of them in order.
pub type Iter<'a> = Zip<slice::Iter<'a, SignalPath>, slice::Iter<'a, Reading>>;

impl Readings {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// Readings of the same paths as others, in their order; `None` if there are more or fewer of them.
    pub fn alike(paths: &Paths, values: Vec<Reading>) -> Option<Self> {
        (paths.0.len() == values.len()).then(|| Self { paths: Arc::clone(&paths.0), values })
    }

    /// Its paths, to make Readings of the same ones.
    pub fn paths(&self) -> Paths {
        Paths(Arc::clone(&self.paths))
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// All in order.
    pub fn iter(&self) -> Iter<'_> {
        self.paths.iter().zip(&self.values)
    }

    /// Their paths in order.
    pub fn keys(&self) -> slice::Iter<'_, SignalPath> {
        self.paths.iter()
    }

    /// The Readings alone, in the order of their paths.
    pub fn values(&self) -> slice::Iter<'_, Reading> {
        self.values.iter()
    }

    /// As [`Readings::values`], to change them.
    pub fn values_mut(&mut self) -> slice::IterMut<'_, Reading> {
        self.values.iter_mut()
    }

    /// The Reading of a path.
    pub fn get(&self, path: &SignalPath) -> Option<&Reading> {
        self.of(&path.device, path.signal)
    }

    /// The Reading of one signal of one device.
    pub fn of(&self, device: &DeviceId, signal: Signal) -> Option<&Reading> {
        let at = self.paths.binary_search_by(|p| p.device.cmp(device).then(p.signal.cmp(&signal))).ok()?;
        Some(&self.values[at])
    }

    /// Whether there is one of this path.
    pub fn contains_key(&self, path: &SignalPath) -> bool {
        self.get(path).is_some()
    }

    /// Puts one in its place, and gives back which was there.
    pub fn insert(&mut self, path: SignalPath, reading: Reading) -> Option<Reading> {
        let found = match self.paths.last() {
            Some(last) if *last >= path => self.paths.binary_search(&path),
            _ => Err(self.paths.len()),
        };
        match found {
            Ok(at) => Some(std::mem::replace(&mut self.values[at], reading)),
            Err(at) => {
                Arc::make_mut(&mut self.paths).insert(at, path);
                self.values.insert(at, reading);
                None
            }
        }
    }

    /// Takes one out.
    pub fn remove(&mut self, path: &SignalPath) -> Option<Reading> {
        let at = self.paths.binary_search(path).ok()?;
        Arc::make_mut(&mut self.paths).remove(at);
        Some(self.values.remove(at))
    }
}

/// Paths that Readings of several Snapshots share.
#[derive(Debug, Clone, Default)]
pub struct Paths(Arc<Vec<SignalPath>>);

impl Paths {
    /// They in order.
    pub fn iter(&self) -> slice::Iter<'_, SignalPath> {
        self.0.iter()
    }

    /// Whether these are the paths of those Readings, as far as that can be told without looking at them.
    pub fn are_of(&self, readings: &Readings) -> bool {
        Arc::ptr_eq(&self.0, &readings.paths)
    }
}

impl Extend<(SignalPath, Reading)> for Readings {
    fn extend<T: IntoIterator<Item = (SignalPath, Reading)>>(&mut self, all: T) {
        all.into_iter().for_each(|(path, reading)| {
            self.insert(path, reading);
        });
    }
}

impl FromIterator<(SignalPath, Reading)> for Readings {
    /// The last of a path counts.
    fn from_iter<T: IntoIterator<Item = (SignalPath, Reading)>>(all: T) -> Self {
        let mut all: Vec<_> = all.into_iter().collect();
        // Most come in order already, which takes one look at each.
        all.sort_by(|a, b| a.0.cmp(&b.0));
        let mut paths: Vec<SignalPath> = Vec::with_capacity(all.len());
        let mut values: Vec<Reading> = Vec::with_capacity(all.len());
        for (path, reading) in all {
            match paths.last() {
                Some(last) if *last == path => *values.last_mut().expect("as many as paths") = reading,
                _ => {
                    paths.push(path);
                    values.push(reading);
                }
            }
        }
        Self { paths: Arc::new(paths), values }
    }
}

impl<const N: usize> From<[(SignalPath, Reading); N]> for Readings {
    fn from(all: [(SignalPath, Reading); N]) -> Self {
        all.into_iter().collect()
    }
}

impl<'a> IntoIterator for &'a Readings {
    type Item = (&'a SignalPath, &'a Reading);
    type IntoIter = Iter<'a>;
    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl Index<&SignalPath> for Readings {
    type Output = Reading;
    fn index(&self, path: &SignalPath) -> &Reading {
        self.get(path).expect("a path that is there")
    }
}

impl PartialEq for Readings {
    fn eq(&self, other: &Self) -> bool {
        self.values == other.values && (Arc::ptr_eq(&self.paths, &other.paths) || self.paths == other.paths)
    }
}

impl fmt::Debug for Readings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl Serialize for Readings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Readings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Readings;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map from paths to Readings")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Readings, A::Error> {
                let mut all = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    all.push(entry);
                }
                Ok(all.into_iter().collect())
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::UnixMs;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn path(n: u32) -> SignalPath {
        SignalPath::new(DeviceId::gpu(n / 4), Signal::ALL[(n % 4) as usize])
    }

    fn reading(value: f64) -> Reading {
        Reading::new(value, UnixMs::new(7))
    }

    #[test]
    fn readings_of_the_same_paths_share_them_until_one_of_them_gets_another() {
        let first: Readings = [(path(1), reading(1.0)), (path(0), reading(0.0))].into();
        let mut second = Readings::alike(&first.paths(), vec![reading(5.0), reading(6.0)]).unwrap();
        assert!(first.paths().are_of(&second));
        assert_eq!(second[&path(1)].ok(), Some(6.0));
        assert!(Readings::alike(&first.paths(), vec![reading(5.0)]).is_none());
        second.insert(path(2), reading(2.0));
        assert!(!first.paths().are_of(&second) && first.len() == 2 && second.len() == 3);
    }

    proptest! {
        /// What it was before it was a type of its own.
        #[test]
        fn it_is_a_map_in_every_way_that_shows(entries in proptest::collection::vec((0_u32..40, -1e3_f64..1e3), 0..60)) {
            let each = || entries.iter().map(|(n, value)| (path(*n), reading(*value)));
            let map: BTreeMap<SignalPath, Reading> = each().collect();
            let (at_once, mut singly) = (each().collect::<Readings>(), Readings::new());
            for (path, reading) in each() {
                let before = singly.get(&path).copied();
                prop_assert_eq!(singly.insert(path, reading), before);
            }
            prop_assert_eq!(&at_once, &singly);
            prop_assert!(at_once.iter().eq(map.iter()) && at_once.len() == map.len());
            (0..40).for_each(|n| assert_eq!(at_once.get(&path(n)), map.get(&path(n))));
            if let Some((first, _)) = entries.first() {
                let (mut less, mut map) = (at_once.clone(), map.clone());
                prop_assert_eq!(less.remove(&path(*first)), map.remove(&path(*first)));
                prop_assert!(less.remove(&path(*first)).is_none() && less.iter().eq(map.iter()));
            }
            let bytes = postcard::to_stdvec(&map).unwrap();
            prop_assert_eq!(&postcard::to_stdvec(&at_once).unwrap(), &bytes);
            prop_assert_eq!(postcard::from_bytes::<Readings>(&bytes).unwrap(), at_once);
        }
    }
}
