//! Which Snapshots the record holds, per rack and agent run, and how far each agent may forget
//! its own copies. Knows no file: the writer says what became durable.

use super::ranges::Ranges;
use headroom_rack::{Mono, RackId, Snapshot};
use headroom_wire::Stored;
use std::collections::BTreeMap;
use std::time::Duration;

/// Agent runs remembered per rack: an agent's spool lives in memory and dies with its run, so
/// only a delayed message could still come from an older one.
const RUNS_KEPT: usize = 4;

#[derive(Debug, Default)]
struct Runs {
    /// The run heard last. Not the highest: an agent's wall clock may have been set back.
    current: u64,
    by_boot: BTreeMap<u64, Run>,
}

#[derive(Debug, Default)]
struct Run {
    held: Ranges,
    /// All up to here are held or given up.
    mark: u64,
    /// Since when the number after `mark` is missing although later ones are held.
    hole_since: Option<Mono>,
}

/// What the record holds.
#[derive(Debug)]
pub struct Marks {
    racks: BTreeMap<RackId, Runs>,
    patience: Duration,
    given_up: u64,
}

impl Marks {
    /// `patience`: how long a missing Snapshot is waited for before the mark passes over it. It
    /// must be longer than an agent needs to send its whole spool again.
    pub fn new(patience: Duration) -> Self {
        Self { racks: BTreeMap::new(), patience, given_up: 0 }
    }

    /// Whether this Snapshot is held already.
    pub fn holds(&self, rack: &RackId, boot: u64, seq: u64) -> bool {
        self.racks.get(rack).and_then(|runs| runs.by_boot.get(&boot)).is_some_and(|run| run.held.contains(seq))
    }

    /// Notes a Snapshot that became durable.
    pub fn insert(&mut self, snapshot: &Snapshot) {
        self.insert_key(&snapshot.rack, snapshot.boot, snapshot.seq);
    }

    /// Notes one by its name.
    pub fn insert_key(&mut self, rack: &RackId, boot: u64, seq: u64) {
        let runs = self.racks.entry(rack.clone()).or_default();
        runs.current = boot;
        let run = runs.by_boot.entry(boot).or_default();
        run.held.insert(seq);
        run.mark = run.held.unbroken_from(run.mark + 1);
        if runs.by_boot.len() > RUNS_KEPT
            && let Some(oldest) = runs.by_boot.keys().copied().find(|b| *b != boot)
        {
            runs.by_boot.remove(&oldest);
        }
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
    pub fn stored(&self) -> BTreeMap<RackId, Stored> {
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
            marks.insert_key(&rack(), 9, seq);
        }
        let mark = |m: &Marks| m.stored()[&rack()];
        marks.age(Mono::from_ms(0));
        marks.age(Mono::from_ms(119_999));
        assert_eq!(mark(&marks), Stored { boot: 9, seq: 2 });
        marks.insert_key(&rack(), 9, 3);
        assert_eq!(mark(&marks).seq, 3);
        marks.age(Mono::from_ms(120_000));
        assert_eq!(mark(&marks).seq, 6);
        assert_eq!(marks.given_up(), 1);
    }

    #[test]
    fn a_new_run_of_the_agent_starts_a_new_mark() {
        let mut marks = Marks::new(Duration::from_secs(1));
        marks.insert_key(&rack(), 1, 1);
        marks.insert_key(&rack(), 2, 5);
        assert_eq!(marks.stored()[&rack()], Stored { boot: 2, seq: 0 });
        assert!(marks.holds(&rack(), 1, 1) && !marks.holds(&rack(), 2, 1));
    }
}
