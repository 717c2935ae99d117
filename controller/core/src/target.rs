//! Load targets from outside (DSX Flex `grid.loadtarget.set.v1`): which limit is in force for a feed
//! at a moment. Knows no message and no key; times are the contract's, on the wall clock.
//!
//! * Of two targets whose time has come the one that was set later holds.
//! * A target without an end lasts until another begins ("in effect until replaced"), one that was scheduled
//!   before among them; one with an end comes back when what was laid over it is over.
//! * A release ends what would be in force at its start; what is scheduled for later stays.

pub mod breach;
pub mod ramp;

use headroom_rack::{UnixMs, Watts};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Targets kept per feed: a day in quarter hours several times over.
pub const KEPT: usize = 512;

/// One limit for one feed over a time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Target {
    /// The feed's tag.
    pub feed: String,
    /// What may be drawn.
    pub limit: Watts,
    /// From when on.
    pub start: UnixMs,
    /// Until when, as far as is known.
    pub end: Option<UnixMs>,
    /// It was set without an end: the next one to begin ends it.
    pub until_replaced: bool,
    /// Without disturbing what is not flexible, even if the limit is then missed.
    pub best_effort: bool,
    /// The correlation id of the message that set it.
    pub correlation: String,
    /// Who set it.
    pub by: String,
}

impl Target {
    /// Whether its time has come and is not over.
    pub fn covers(&self, at: UnixMs) -> bool {
        self.start <= at && self.end.is_none_or(|end| at < end)
    }
}

/// All targets, in the order in which they were set.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    targets: Vec<Target>,
}

impl Schedule {
    /// Adds a target.
    pub fn set(&mut self, mut target: Target) {
        if target.until_replaced {
            let others = self.of(&target.feed).map(|old| old.start).filter(|start| *start > target.start);
            target.end = others.min();
        }
        // Fully laid over: it could never be in force again.
        let hidden = |old: &Target| {
            let ends_within = target.end.is_none_or(|end| old.end.is_some_and(|old| old <= end));
            old.feed == target.feed && old.start >= target.start && ends_within
        };
        self.targets.retain(|old| !hidden(old));
        for old in self.targets.iter_mut().filter(|o| o.feed == target.feed && o.until_replaced) {
            if old.start < target.start {
                old.end = Some(old.end.map_or(target.start, |end| end.min(target.start)));
            }
        }
        self.targets.push(target);
    }

    /// Forgets what is over and what can never be in force again, because all that is left of its time lies under
    /// targets that were set later.
    pub fn tidy(&mut self, at: UnixMs) {
        self.prune(at);
        let mut later: BTreeMap<String, Vec<(UnixMs, UnixMs)>> = BTreeMap::new();
        let mut kept = Vec::with_capacity(self.targets.len());
        for target in self.targets.drain(..).rev() {
            let (from, until) = (target.start.max(at), target.end.unwrap_or(UnixMs::new(u64::MAX)));
            let over = later.entry(target.feed.clone()).or_default();
            over.sort_unstable();
            let reach =
                over.iter().fold(from, |reach, (start, end)| if *start > reach { reach } else { reach.max(*end) });
            if reach >= until {
                continue;
            }
            // One that lasts until replaced may yet end sooner, and what is below it comes back.
            if !target.until_replaced {
                over.push((target.start, until));
            }
            kept.push(target);
        }
        kept.reverse();
        self.targets = kept;
    }

    /// Brings each feed down to [`KEPT`]: what begins last gives way to what was set since `before`.
    /// How many did. `None`: what was set since is too much by itself.
    pub fn make_room(&mut self, before: &Self) -> Option<usize> {
        let mut per_feed: BTreeMap<String, usize> = BTreeMap::new();
        self.targets.iter().for_each(|t| *per_feed.entry(t.feed.clone()).or_default() += 1);
        let mut gone = 0;
        for (feed, count) in per_feed {
            for _ in KEPT..count {
                let of_feed = self.targets.iter().enumerate().filter(|(_, t)| t.feed == feed);
                let (last, target) = of_feed.max_by_key(|(_, t)| t.start)?;
                if !before.targets.contains(target) {
                    return None;
                }
                self.targets.remove(last);
                gone += 1;
            }
        }
        Some(gone)
    }

    /// From `at` on nothing that has begun by then is in force for the feed.
    pub fn release(&mut self, feed: &str, at: UnixMs) {
        for target in self.targets.iter_mut().filter(|t| t.feed == feed && t.covers(at)) {
            target.end = Some(at);
        }
    }

    /// What is in force for the feed.
    pub fn active(&self, feed: &str, at: UnixMs) -> Option<&Target> {
        self.targets.iter().rev().find(|t| t.feed == feed && t.covers(at))
    }

    /// Every target, in the order in which they were set.
    pub fn all(&self) -> impl Iterator<Item = &Target> {
        self.targets.iter()
    }

    /// Every target of a feed, in force or to come.
    pub fn of<'s>(&'s self, feed: &'s str) -> impl Iterator<Item = &'s Target> {
        self.targets.iter().filter(move |t| t.feed == feed)
    }

    /// Forgets what is over; whether anything was.
    pub fn prune(&mut self, at: UnixMs) -> bool {
        let before = self.targets.len();
        self.targets.retain(|t| t.end.is_none_or(|end| at < end));
        self.targets.len() < before
    }

    /// When next something begins or ends.
    pub fn next_change(&self, at: UnixMs) -> Option<UnixMs> {
        let times = self.targets.iter().flat_map(|t| [Some(t.start), t.end]).flatten();
        times.filter(|time| *time > at).min()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.targets.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn target(name: &str, watts: f64, start: u64, end: Option<u64>) -> Target {
        Target {
            feed: "main-a".into(),
            limit: Watts::new(watts),
            start: UnixMs::new(start),
            end: end.map(UnixMs::new),
            until_replaced: end.is_none(),
            best_effort: false,
            correlation: name.into(),
            by: "isv".into(),
        }
    }

    fn active(schedule: &Schedule, at: u64) -> Option<&str> {
        schedule.active("main-a", UnixMs::new(at)).map(|t| t.correlation.as_str())
    }

    #[test]
    fn a_later_target_replaces_an_open_one_and_interrupts_one_with_an_end() {
        let mut s = Schedule::default();
        s.set(target("open", 900.0, 0, None));
        s.set(target("day", 800.0, 100, Some(1000)));
        s.set(target("peak", 700.0, 300, Some(400)));
        let seen: Vec<_> = [50, 100, 300, 399, 400, 1000].map(|at| active(&s, at)).to_vec();
        assert_eq!(seen, [Some("open"), Some("day"), Some("peak"), Some("peak"), Some("day"), None]);
        assert_eq!(s.next_change(UnixMs::new(300)), Some(UnixMs::new(400)));
        assert!(s.active("main-b", UnixMs::new(300)).is_none());
    }

    #[test]
    fn a_release_ends_what_is_in_force_and_leaves_what_is_to_come() {
        let mut s = Schedule::default();
        s.set(target("now", 900.0, 0, Some(500)));
        s.set(target("later", 700.0, 300, Some(400)));
        s.release("main-a", UnixMs::new(200));
        assert_eq!([150, 200, 350, 450].map(|at| active(&s, at)), [Some("now"), None, Some("later"), None]);
        let mut s = Schedule::default();
        s.set(target("now", 900.0, 0, None));
        s.release("main-a", UnixMs::new(200));
        s.set(target("later", 700.0, 300, None));
        assert_eq!([199, 200, 300].map(|at| active(&s, at)), [Some("now"), None, Some("later")]);
        assert!(s.prune(UnixMs::new(250)) && s.len() == 1);
    }

    #[test]
    fn one_without_an_end_lasts_until_what_was_scheduled_before_begins() {
        let mut s = Schedule::default();
        s.set(target("peak", 700.0, 300, Some(400)));
        s.set(target("open", 900.0, 100, None));
        let seen = [99, 100, 299, 300, 399, 400].map(|at| active(&s, at));
        assert_eq!(seen, [None, Some("open"), Some("open"), Some("peak"), Some("peak"), None]);
    }

    #[test]
    fn what_can_never_be_in_force_again_is_forgotten() {
        let mut s = Schedule::default();
        for minute in 0..600 {
            s.set(target("rolling", 900.0, minute, Some(minute + 60)));
            s.tidy(UnixMs::new(minute));
            assert!(s.len() <= 1, "{} at {minute}", s.len());
        }
        // Two halves over a whole; a target that lasts until replaced hides nothing for good.
        let mut s = Schedule::default();
        s.set(target("whole", 1.0, 0, Some(100)));
        s.set(target("first", 1.0, 0, Some(50)));
        s.set(target("second", 1.0, 50, Some(120)));
        s.tidy(UnixMs::new(0));
        assert_eq!(s.len(), 2);
        s.set(target("open", 1.0, 10, None));
        s.tidy(UnixMs::new(20));
        assert_eq!((s.len(), active(&s, 20), active(&s, 60)), (3, Some("open"), Some("second")));
    }

    #[test]
    fn the_number_of_targets_is_bounded_and_the_farthest_gives_way() {
        let mut s = Schedule::default();
        for i in 0..KEPT as u64 {
            s.set(target("x", 1.0, 1000 + 10 * i, Some(1005 + 10 * i)));
        }
        assert_eq!(s.make_room(&Schedule::default()), Some(0));
        let before = s.clone();
        s.set(target("soon", 1.0, 10, Some(11)));
        assert_eq!(s.make_room(&before), Some(1));
        assert_eq!((s.len(), active(&s, 10)), (KEPT, Some("soon")));
        let before = s.clone();
        s.set(target("too far", 1.0, 90_000, Some(90_001)));
        assert_eq!(s.make_room(&before), None);
    }

    proptest! {
        #[test]
        fn what_was_set_last_and_covers_now_is_in_force(
            sets in prop::collection::vec((0_u64..50, prop::option::of(1_u64..50)), 1..12), at in 0_u64..120
        ) {
            let mut s = Schedule::default();
            for (i, (start, length)) in sets.iter().enumerate() {
                s.set(target(&i.to_string(), 1.0, *start, length.map(|l| start + l)));
            }
            let newest = sets.iter().enumerate().rev().find(|(_, (start, length))| {
                *start <= at && length.is_none_or(|l| at < start + l)
            });
            let in_force = active(&s, at).map(|a| a.parse::<usize>().unwrap());
            let Some((i, (start, length))) = newest else {
                prop_assert_eq!(in_force, None);
                return Ok(());
            };
            // An open one is gone for good when another begins; what was set before it may be hidden by then.
            let begins = |others: &[(u64, Option<u64>)]| others.iter().any(|(other, _)| other > start && *other <= at);
            match (begins(&sets[..i]), begins(&sets[i + 1..])) {
                _ if length.is_some() => prop_assert_eq!(in_force, Some(i)),
                (false, false) => prop_assert_eq!(in_force, Some(i)),
                (_, after) => prop_assert!(in_force.is_none_or(|f| f < i || (f == i && !after))),
            }
            let before = s.clone();
            s.tidy(UnixMs::new(at));
            for later in at..130 {
                prop_assert_eq!(active(&s, later), active(&before, later));
            }
        }
    }
}
