//! Which Snapshots of one agent run are there: a set of sequence numbers kept as ranges, so that
//! a day of Snapshots without a hole costs two numbers.

use std::collections::BTreeMap;

/// A set of numbers, kept as inclusive ranges that neither touch nor overlap.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ranges {
    by_start: BTreeMap<u64, u64>,
}

impl Ranges {
    /// Whether `n` is in the set.
    pub fn contains(&self, n: u64) -> bool {
        self.by_start.range(..=n).next_back().is_some_and(|(_, end)| *end >= n)
    }

    /// Adds `n`; false if it was there before.
    pub fn insert(&mut self, n: u64) -> bool {
        if self.contains(n) {
            return false;
        }
        let mut start = n;
        let mut end = n;
        if let Some((&s, &e)) = self.by_start.range(..n).next_back()
            && e + 1 == n
        {
            start = s;
        }
        if let Some(e) = n.checked_add(1).and_then(|next| self.by_start.remove(&next)) {
            end = e;
        }
        self.by_start.insert(start, end);
        true
    }

    /// The highest number reached from `from` without a hole; `from` itself may be missing, then
    /// the answer is `from - 1` (or 0).
    pub fn unbroken_from(&self, from: u64) -> u64 {
        match self.by_start.range(..=from).next_back() {
            Some((_, &end)) if end >= from => end,
            _ => from.saturating_sub(1),
        }
    }

    /// The first number of the set above `n`.
    pub fn first_above(&self, n: u64) -> Option<u64> {
        let next = n.checked_add(1)?;
        if self.contains(next) { Some(next) } else { self.by_start.range(next..).next().map(|(s, _)| *s) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_is_new_only_once_in_whatever_order() {
        let mut set = Ranges::default();
        for n in [3, 1, 2, 7, 5, 6] {
            assert!(set.insert(n), "{n}");
        }
        for n in [1, 2, 3, 5, 6, 7] {
            assert!(!set.insert(n), "{n}");
        }
        assert_eq!(set.by_start, BTreeMap::from([(1, 3), (5, 7)]));
    }

    #[test]
    fn the_unbroken_end_stops_before_the_first_hole() {
        let mut set = Ranges::default();
        assert_eq!(set.unbroken_from(1), 0);
        for n in [1, 2, 4] {
            set.insert(n);
        }
        assert_eq!(set.unbroken_from(1), 2);
        assert_eq!(set.first_above(2), Some(4));
        set.insert(3);
        assert_eq!(set.unbroken_from(1), 4);
        assert_eq!(set.first_above(4), None);
    }
}
