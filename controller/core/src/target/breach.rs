//! A load target that is missed, from its beginning to its end: DSX Flex `grid.powerbreach.alert.v1`.
//!
//! None -- over for [`Rule::after`] --> Active -- over by 20 %, or not over within
//! [`Rule::escalate_after`] --> Escalated -- fits again, or the target is gone --> None

use headroom_rack::{Mono, UnixMs, Watts};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// "critical: excess exceeds 20 % over target" (the contract).
const CRITICAL: f64 = 0.20;
/// The load must fit for this long before a breach counts as over.
const OVER_AFTER: Duration = Duration::from_secs(3);

/// When a missed target is a breach.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rule {
    /// Excess that is none, as a share of the target.
    pub threshold: f64,
    /// How long a load may be over; and how long a new target may take.
    pub after: Duration,
    /// When a breach that lasts is escalated.
    pub escalate_after: Duration,
}

/// How far a breach has gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Just found.
    Active,
    /// Grave, or lasting.
    Escalated,
    /// Over.
    Resolved,
}

/// What is told of a breach when its stage changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Told {
    /// The same from beginning to end.
    pub id: String,
    /// Where it is.
    pub stage: Stage,
    /// More than 20 % over.
    pub critical: bool,
    /// When it was found.
    pub found: UnixMs,
    /// The target that is missed: what may flow, and which message set it.
    pub limit: Watts,
    /// The correlation id of that message.
    pub correlation: String,
}

/// What is so at one step.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// What flows.
    pub load: Watts,
    /// How long the target has been in force.
    pub target_age: Duration,
    /// Now.
    pub now: Mono,
    /// Now, for people.
    pub at: UnixMs,
}

#[derive(Debug, Clone)]
struct Open {
    told: Told,
    /// `None`: before this run.
    since: Option<Mono>,
    fits_since: Option<Mono>,
}

/// One feed's breach, if there is one.
#[derive(Debug, Clone, Default)]
pub struct Breach {
    over_since: Option<Mono>,
    open: Option<Open>,
}

impl Breach {
    /// Goes on with a breach of an earlier run.
    pub fn resume(told: Told) -> Self {
        Self { over_since: None, open: Some(Open { told, since: None, fits_since: None }) }
    }

    /// One step. `target`: what is in force and its correlation id; `id` names a new breach.
    pub fn step(
        &mut self,
        rule: Rule,
        target: Option<(Watts, &str)>,
        Moment { load, target_age: age, now, at }: Moment,
        id: impl FnOnce() -> String,
    ) -> Option<Told> {
        let limit = target.map(|t| t.0);
        let over = limit.is_some_and(|limit| load > limit * (1.0 + rule.threshold));
        let critical = limit.is_some_and(|limit| load > limit * (1.0 + CRITICAL));
        if !over {
            self.over_since = None;
        }
        let Some(open) = &mut self.open else {
            let since = *self.over_since.get_or_insert(now);
            if !over || now.since(since) < rule.after || age < rule.after {
                self.over_since = over.then_some(since);
                return None;
            }
            let (limit, correlation) = target?;
            let correlation = correlation.to_owned();
            let told = Told { id: id(), stage: Stage::Active, critical, found: at, limit, correlation };
            self.open = Some(Open { told: told.clone(), since: Some(now), fits_since: None });
            return Some(told);
        };
        if over {
            open.fits_since = None;
            let lasting = now.since(*open.since.get_or_insert(now)) >= rule.escalate_after;
            // Once found grave it stays so: an alert that flickers tells nobody anything.
            open.told.critical |= critical;
            if open.told.stage == Stage::Active && (open.told.critical || lasting) {
                open.told.stage = Stage::Escalated;
                return Some(open.told.clone());
            }
            return None;
        }
        if target.is_some() && now.since(*open.fits_since.get_or_insert(now)) < OVER_AFTER {
            return None;
        }
        let told = Told { stage: Stage::Resolved, ..open.told.clone() };
        self.open = None;
        Some(told)
    }

    /// The breach that is open, if one is.
    pub fn open(&self) -> Option<&Told> {
        self.open.as_ref().map(|o| &o.told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: Rule =
        Rule { threshold: 0.02, after: Duration::from_secs(10), escalate_after: Duration::from_secs(60) };

    fn run(loads: &[(u64, Option<f64>, f64)]) -> Vec<(u64, Stage, bool, String)> {
        let mut breach = Breach::default();
        let mut ids = 0;
        let mut told = Vec::new();
        for (s, limit, load) in loads {
            let target = limit.map(|l| (Watts::new(l), "c"));
            let id = || {
                ids += 1;
                ids.to_string()
            };
            let (now, at) = (Mono::from_ms(s * 1000), UnixMs::new(s * 1000));
            let moment = Moment { load: Watts::new(*load), target_age: Duration::from_secs(*s), now, at };
            let out = breach.step(RULE, target, moment, id);
            told.extend(out.map(|t| (*s, t.stage, t.critical, t.id)));
        }
        told
    }

    #[test]
    fn a_breach_goes_from_active_over_escalated_to_resolved_under_one_name() {
        let loads: Vec<_> = (0..200).map(|s| (s, Some(1000.0), if s < 120 { 1100.0 } else { 1000.0 })).collect();
        let told = run(&loads);
        let words: Vec<_> = told.iter().map(|t| (t.0, t.1, t.2)).collect();
        assert_eq!(words, [(10, Stage::Active, false), (70, Stage::Escalated, false), (123, Stage::Resolved, false)]);
        assert!(told.iter().all(|t| t.3 == "1"));
    }

    #[test]
    fn more_than_a_fifth_is_critical_and_escalates_at_once() {
        let loads: Vec<_> = (0..40).map(|s| (s, Some(1000.0), if s < 20 { 1100.0 } else { 1201.0 })).collect();
        let told: Vec<_> = run(&loads).into_iter().map(|t| (t.0, t.1, t.2)).collect();
        assert_eq!(told, [(10, Stage::Active, false), (20, Stage::Escalated, true)]);
        let loads: Vec<_> = (0..20).map(|s| (s, Some(1000.0), 1300.0)).collect();
        let told: Vec<_> = run(&loads).into_iter().map(|t| (t.0, t.1, t.2)).collect();
        assert_eq!(told, [(10, Stage::Active, true), (11, Stage::Escalated, true)], "from the start");
    }

    #[test]
    fn two_per_cent_are_none_and_a_target_that_goes_ends_it_at_once() {
        let fits: Vec<_> = (0..200).map(|s| (s, Some(1000.0), 1020.0)).collect();
        assert!(run(&fits).is_empty());
        let gone: Vec<_> = (0..30).map(|s| (s, (s < 20).then_some(1000.0), 1100.0)).collect();
        let told: Vec<_> = run(&gone).into_iter().map(|t| (t.0, t.1)).collect();
        assert_eq!(told, [(10, Stage::Active), (20, Stage::Resolved)]);
    }

    #[test]
    fn a_load_that_dips_under_its_target_has_a_new_chance() {
        let swings: Vec<_> = (0..200).map(|s| (s, Some(1000.0), if s % 9 == 0 { 990.0 } else { 1100.0 })).collect();
        assert!(run(&swings).is_empty());
    }
}
