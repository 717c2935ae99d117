//! Which Snapshots the record holds, per rack and agent run, and how far each agent may forget
//! its own copies. Knows no file: the writer says what became durable.

use super::ranges::Ranges;
use headroom_rack::{Mono, RackId, Snapshot};
use headroom_wire::Stored;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// Agent runs remembered per rack, those heard last. An agent's spool outlives its runs and fills
/// them in one after the other, so a run not heard for this many others is complete; an agent that
/// crashed more often during one outage than this only risks a Snapshot stored twice.
const RUNS_KEPT: usize = 256;

#[derive(Debug, Default)]
struct Runs {
    /// The run heard live last. Not the highest: an agent's wall clock may have been set back.
    current: u64,
    by_boot: BTreeMap<u64, Run>,
    /// Counts what was heard, to tell the run that was silent longest.
    heard: u64,
}

#[derive(Debug, Default)]
struct Run {
    held: Ranges,
    /// `Runs::heard` when it was heard last.
    heard: u64,
    /// All up to here are held or given up.
    mark: u64,
    /// Since when the number after `mark` is missing although later ones are held.
    hole_since: Option<Mono>,
}

/// What the record holds.
#[derive(Debug)]
pub struct Marks {
    /// Of a large site it is asked for tens of thousands of racks a second.
    racks: HashMap<RackId, Runs>,
    patience: Duration,
    given_up: u64,
}

impl Marks {
    /// `patience`: how long a mark may stand still before a hole before it passes over it. While an
    /// agent fills a hole, however long, the mark moves and the wait begins anew.
    pub fn new(patience: Duration) -> Self {
        Self { racks: HashMap::new(), patience, given_up: 0 }
    }

    /// Whether this Snapshot is held already.
    pub fn holds(&self, rack: &RackId, boot: u64, seq: u64) -> bool {
        self.racks.get(rack).and_then(|runs| runs.by_boot.get(&boot)).is_some_and(|run| run.held.contains(seq))
    }

    /// Notes a Snapshot that became durable; false if it was noted before.
    pub fn insert(&mut self, snapshot: &Snapshot) -> bool {
        self.insert_key(&snapshot.rack, snapshot.boot, snapshot.seq, !snapshot.historical)
    }

    /// Notes one by its name; false if it was noted before. `live`: it was not back-filled, so its run is the present
    /// one.
    pub fn insert_key(&mut self, rack: &RackId, boot: u64, seq: u64, live: bool) -> bool {
        // A name is made for a new rack only: each of a large site's Snapshots comes here.
        let runs = match self.racks.get_mut(rack) {
            Some(runs) => runs,
            None => self.racks.entry(rack.clone()).or_default(),
        };
        if live || runs.by_boot.is_empty() {
            runs.current = boot;
        }
        runs.heard += 1;
        let run = runs.by_boot.entry(boot).or_default();
        run.heard = runs.heard;
        let new = run.held.insert(seq);
        let mark = run.held.unbroken_from(run.mark + 1);
        if mark != run.mark {
            run.hole_since = None;
        }
        run.mark = mark;
        if runs.by_boot.len() > RUNS_KEPT {
            let others = runs.by_boot.iter().filter(|(boot, _)| **boot != runs.current);
            if let Some(silent) = others.min_by_key(|(_, run)| run.heard).map(|(boot, _)| *boot) {
                runs.by_boot.remove(&silent);
            }
        }
        new
    }

    /// Moves marks over holes that nobody filled in time; call it about once a second.
    pub fn age(&mut self, now: Mono) {
        for run in self.racks.values_mut().flat_map(|runs| runs.by_boot.values_mut()) {
            let Some(next) = run.held.first_above(run.mark) else {
                run.hole_since = None;
                continue;
            };
            let since = *run.hole_since.get_or_insert(now);
            if now.since(since) >= self.patience {
                self.given_up += next - run.mark - 1;
                run.mark = run.held.unbroken_from(next);
                run.hole_since = None;
            }
        }
    }

    /// How far each rack's present run is stored. A run of which only later Snapshots are held
    /// stands at 0: its agent can see from that what is wanted.
    pub fn stored(&self) -> HashMap<RackId, Stored> {
        self.racks
            .iter()
            .filter_map(|(rack, runs)| {
                let run = runs.by_boot.get(&runs.current)?;
                Some((rack.clone(), Stored { boot: runs.current, seq: run.mark }))
            })
            .collect()
    }

    /// Snapshots that never came and were passed over.
    pub fn given_up(&self) -> u64 {
        self.given_up
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rack() -> RackId {
        RackId::new("r").expect("valid")
    }

    #[test]
    fn the_mark_waits_for_a_hole_and_passes_it_only_after_its_patience() {
        let mut marks = Marks::new(Duration::from_secs(120));
        for seq in [1, 2, 5, 6] {
            marks.insert_key(&rack(), 9, seq, true);
        }
        let mark = |m: &Marks| m.stored()[&rack()];
        marks.age(Mono::from_ms(0));
        marks.age(Mono::from_ms(119_999));
        assert_eq!(mark(&marks), Stored { boot: 9, seq: 2 });
        marks.insert_key(&rack(), 9, 3, true);
        assert_eq!(mark(&marks).seq, 3);
        marks.age(Mono::from_ms(120_000));
        marks.age(Mono::from_ms(239_999));
        assert_eq!(mark(&marks).seq, 3, "a hole that is being filled is waited for anew");
        marks.age(Mono::from_ms(240_000));
        assert_eq!(mark(&marks).seq, 6);
        assert_eq!(marks.given_up(), 1);
    }

    #[test]
    fn a_new_run_of_the_agent_starts_a_new_mark() {
        let mut marks = Marks::new(Duration::from_secs(1));
        marks.insert_key(&rack(), 1, 1, true);
        marks.insert_key(&rack(), 2, 5, true);
        assert_eq!(marks.stored()[&rack()], Stored { boot: 2, seq: 0 });
        assert!(marks.holds(&rack(), 1, 1) && !marks.holds(&rack(), 2, 1));
    }

    #[test]
    fn back_fill_of_an_old_run_does_not_take_the_place_of_the_present_one() {
        let mut marks = Marks::new(Duration::from_secs(1));
        marks.insert_key(&rack(), 2, 1, true);
        marks.insert_key(&rack(), 1, 7, false);
        assert_eq!(marks.stored()[&rack()], Stored { boot: 2, seq: 1 });
    }

    #[test]
    fn the_run_silent_for_longest_is_forgotten_first_and_the_present_one_never() {
        let mut marks = Marks::new(Duration::from_secs(1));
        marks.insert_key(&rack(), 5, 1, true);
        for boot in 1000..1000 + RUNS_KEPT as u64 {
            marks.insert_key(&rack(), boot, 1, false);
        }
        assert!(marks.holds(&rack(), 5, 1) && !marks.holds(&rack(), 1000, 1) && marks.holds(&rack(), 1001, 1));
    }
}
