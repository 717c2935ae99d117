//! A policy that changes with the time of day: a base and rules over it. Pure: the time is an argument,
//! with the site's offset from UTC, which is fixed (nobody here knows when a country changes its
//! clocks).

use super::{Bounds, Policy};
use headroom_rack::{NodeId, RackId, UnixMs, Watts};
use std::collections::{BTreeMap, BTreeSet};

const DAY_MINUTES: i64 = 24 * 60;

/// When a rule is in force.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct When {
    /// Days of the week, Monday first; `None` means all.
    pub days: Option<[bool; 7]>,
    /// Days since 1970-01-01; `None` means all, and no day means never.
    pub dates: Option<Vec<i64>>,
    /// From this minute of the day on, to this one. Past midnight if the first is not before the second;
    /// the days are those on which it begins.
    pub minutes: Option<(i64, i64)>,
}

impl When {
    /// Whether it is in force at `minute` since 1970-01-01 of the site's own clock.
    pub fn holds(&self, minute: i64) -> bool {
        let (day, of_day) = (minute.div_euclid(DAY_MINUTES), minute.rem_euclid(DAY_MINUTES));
        match self.minutes {
            None => self.on(day),
            Some((from, to)) if from < to => (from..to).contains(&of_day) && self.on(day),
            Some((from, _)) if of_day >= from => self.on(day),
            Some((_, to)) => of_day < to && self.on(day - 1),
        }
    }

    fn on(&self, day: i64) -> bool {
        // 1970-01-01 was a Thursday.
        let weekday = usize::try_from((day + 3).rem_euclid(7)).unwrap_or(0);
        self.days.is_none_or(|days| days[weekday]) && self.dates.as_ref().is_none_or(|dates| dates.contains(&day))
    }
}

/// What changes while it is in force. Later rules go before earlier ones, except for watts, of which the
/// least counts.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rule {
    /// Its name for people.
    pub name: String,
    /// Switched off, it is in force never.
    pub active: bool,
    /// When.
    pub when: When,
    /// Another order of the bands.
    pub bands: Option<Vec<String>>,
    /// What all may draw together.
    pub site: Option<Watts>,
    /// What may flow through nodes.
    pub nodes: BTreeMap<NodeId, Watts>,
    /// Other bounds of bands.
    pub classes: BTreeMap<String, Bounds>,
    /// Other bounds of racks.
    pub racks: BTreeMap<RackId, Bounds>,
}

/// A base and the rules over it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rules {
    /// What holds when no rule does.
    pub base: Policy,
    /// The rules in order.
    pub rules: Vec<Rule>,
    /// The site's offset from UTC, minutes.
    pub offset_minutes: i64,
}

impl Rules {
    /// The rules in force at this time.
    pub fn in_force(&self, at: UnixMs) -> impl Iterator<Item = &Rule> {
        let minute = i64::try_from(at.get() / 60_000).unwrap_or(i64::MAX / 2) + self.offset_minutes;
        self.rules.iter().filter(move |r| r.active && r.when.holds(minute))
    }

    /// Every set of rules that is in force together at some time, by their places; first none at all. Rules begin and
    /// end on whole minutes of their own, so it is enough to look at those, on each date and on a week without any.
    pub fn together(&self) -> BTreeSet<Vec<usize>> {
        let dates: BTreeSet<i64> = self.rules.iter().filter_map(|r| r.when.dates.as_ref()).flatten().copied().collect();
        let week = dates.last().map_or(0, |last| last + 2);
        let days: BTreeSet<i64> = dates.into_iter().flat_map(|d| [d, d + 1]).chain(week..week + 7).collect();
        let ends = self.rules.iter().filter_map(|r| r.when.minutes).flat_map(|(from, to)| [from, to]);
        let minutes: BTreeSet<i64> = ends.map(|m| m % DAY_MINUTES).chain([0]).collect();
        let at = |minute| {
            let held = self.rules.iter().enumerate().filter(|(_, r)| r.active && r.when.holds(minute));
            held.map(|(place, _)| place).collect()
        };
        let times = days.iter().flat_map(|day| minutes.iter().map(move |minute| day * DAY_MINUTES + minute));
        times.map(at).chain([Vec::new()]).collect()
    }

    /// The policy at this time.
    pub fn at(&self, at: UnixMs) -> Policy {
        self.under(self.in_force(at))
    }

    /// The policy while these rules are in force.
    pub fn under<'r>(&self, rules: impl IntoIterator<Item = &'r Rule>) -> Policy {
        let mut policy = self.base.clone();
        let least = |a: Option<Watts>, b: Option<Watts>| a.into_iter().chain(b).reduce(Watts::min);
        for rule in rules {
            if let Some(bands) = &rule.bands {
                policy.bands.clone_from(bands);
            }
            policy.site = least(policy.site, rule.site);
            for (node, watts) in &rule.nodes {
                let known = policy.nodes.entry(node.clone()).or_insert(*watts);
                *known = known.min(*watts);
            }
            for (class, bounds) in &rule.classes {
                let known = policy.classes.entry(class.clone()).or_default();
                *known = bounds.or(*known);
            }
            for (rack, bounds) in &rule.racks {
                let known = policy.racks.entry(rack.clone()).or_default();
                *known = bounds.or(*known);
            }
        }
        policy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Minutes since 1970-01-01 of a day of that month (a Thursday) and a time.
    fn minute(day: i64, hour: i64, minute: i64) -> i64 {
        (day - 1) * DAY_MINUTES + hour * 60 + minute
    }

    #[test]
    fn a_night_begins_in_the_evening_of_its_day_and_ends_the_next_morning() {
        let thursday = [false, false, false, true, false, false, false];
        let night = When { days: Some(thursday), minutes: Some((22 * 60, 6 * 60)), dates: None };
        let held = [(1, 21, 59), (1, 22, 0), (1, 23, 59), (2, 0, 0), (2, 5, 59), (2, 6, 0), (2, 22, 30), (8, 22, 30)];
        let held = held.map(|(d, h, m)| night.holds(minute(d, h, m)));
        assert_eq!(held, [false, true, true, true, true, false, false, true]);
    }

    #[test]
    fn a_rule_holds_by_the_clock_of_the_site_and_the_least_of_all_watts_counts() {
        let rule = |name: &str, from, to, watts| Rule {
            name: name.to_owned(),
            active: true,
            when: When { minutes: Some((from, to)), ..When::default() },
            site: Some(Watts::new(watts)),
            ..Rule::default()
        };
        let rules = Rules {
            rules: vec![rule("day", 8 * 60, 20 * 60, 90.0), rule("noon", 11 * 60, 13 * 60, 120.0)],
            offset_minutes: 60,
            ..Rules::default()
        };
        let at = |hour: u64| UnixMs::new(hour * 3_600_000);
        assert_eq!(rules.at(at(6)).site, None);
        assert_eq!(rules.at(at(7)).site, Some(Watts::new(90.0)));
        assert_eq!(rules.in_force(at(11)).map(|r| r.name.as_str()).collect::<Vec<_>>(), ["day", "noon"]);
        assert_eq!(rules.at(at(11)).site, Some(Watts::new(90.0)));
    }

    #[test]
    fn rules_that_meet_at_some_time_are_found_together_and_others_are_not() {
        let rule = |days, dates, minutes| Rule { active: true, when: When { days, dates, minutes }, ..Rule::default() };
        let monday = Some([true, false, false, false, false, false, false]);
        let rules = Rules {
            rules: vec![
                rule(monday, None, Some((20 * 60, 2 * 60))),
                rule(None, None, Some((60, 3 * 60))),
                // 1970-01-06 was a Tuesday: the Monday's night reaches into it.
                rule(None, Some(vec![5]), Some((0, 30))),
                rule(None, Some(vec![]), None),
            ],
            ..Rules::default()
        };
        let found = rules.together();
        assert_eq!(found, [vec![], vec![0], vec![0, 1], vec![0, 2], vec![1]].into());
    }

    #[test]
    fn a_later_rule_goes_before_an_earlier_one_and_a_rule_switched_off_does_nothing() {
        let bound =
            |floor: f64| [("batch".to_owned(), Bounds { floor_gpu: Some(Watts::new(floor)), ..Bounds::default() })];
        let rule = |active, floor| Rule { active, classes: bound(floor).into(), ..Rule::default() };
        let rules = Rules { rules: vec![rule(true, 150.0), rule(true, 180.0), rule(false, 300.0)], ..Rules::default() };
        let rack = RackId::new("rack-1").unwrap();
        let bounds = rules.at(UnixMs::new(0)).bounds(&rack, "batch");
        assert_eq!((bounds.floor_gpu, bounds.ceiling_gpu), (Some(Watts::new(180.0)), None));
    }
}
