//! States in which somebody must be called at once, although the automation does all it can: a breaker about to
//! trip, coolant about to be too hot, a limit that cannot be kept, GPUs that keep none; cooling that holds work back
//! where a set-point would not; and a pin that is lowered. They are found after a moment and over only when they have
//! been well clear of it for a while.

mod pin;

use super::finding;
use crate::decide::{Change, CoolantView, CoolingAdvice};
use crate::fleet::{FRESH, Fleet, SILENT, is_beyond};
use crate::policy::Policy;
use crate::topology::{RackSpec, Topology};
use headroom_rack::{Cap, Finding, Mode, Mono, NodeView, Plan, Quality, RackId, Severity, Watts};
use std::collections::BTreeMap;
use std::time::Duration;

/// Coolant is at its limit, or a breaker trips, so soon: nobody walks there in less.
const SOON_S: f64 = 60.0;
/// And from here on it is no longer soon.
const LATER_S: f64 = 120.0;
/// Share of the trip image that is much while more flows than may. While no more flows, nearly all of it is no danger: a
/// load that rises from idle is let pass on the heat that a breaker has left.
const USED_ABOVE: f64 = 0.8;
/// Above a limit by more than what meters differ by.
const ABOVE: f64 = 1.02;
/// And below it by as much.
const BELOW: f64 = 0.98;
/// What passes sooner is a peak, or a reading that came a moment later than another.
const PATIENCE: Duration = Duration::from_secs(5);
/// Somebody is asked for a set-point when cooling has held racks back for so long.
const SHORT: Duration = Duration::from_secs(60);
/// Orders have taken effect after this, in every rack.
const ORDERED: Duration = Duration::from_secs(15);
/// It must be well for so long before it counts as over.
const CALM: Duration = Duration::from_secs(30);
/// GPUs that are named.
const NAMED: usize = 8;

/// What a decision saw and set.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The Plan.
    pub plan: &'a Plan,
    /// Coolants on their way to their limits.
    pub coolants: &'a [CoolantView],
    /// What coolers could be set to.
    pub advice: &'a [CoolingAdvice],
    /// What is believed of racks.
    pub fleet: &'a Fleet,
    /// The policy in force.
    pub policy: &'a Policy,
    /// What the whole site may draw, if somebody says so.
    pub site: Option<Watts>,
    /// Budgets that people have pinned, of racks that get Orders.
    pub pins: &'a BTreeMap<RackId, Watts>,
}

#[derive(Debug)]
struct Sign {
    kind: &'static str,
    subject: String,
    severity: Severity,
    patience: Duration,
    /// Title and detail; `None`: neither bad nor well.
    words: Option<(String, String)>,
}

#[derive(Debug, Clone)]
struct Matter {
    severity: Severity,
    since: Mono,
    open: bool,
    calm_since: Option<Mono>,
    words: (String, String),
}

/// What is or may become a matter.
#[derive(Debug, Clone, Default)]
pub(super) struct Grave(BTreeMap<(&'static str, String), Matter>);

impl Grave {
    /// Takes in a decision.
    pub(super) fn see(&mut self, facts: Facts<'_>, topology: &Topology, now: Mono) {
        let mut signs: Vec<Sign> = facts.coolants.iter().filter_map(coolant).collect();
        signs.extend(facts.advice.iter().filter_map(short));
        signs.extend(facts.plan.nodes.iter().filter_map(trip));
        signs.extend(stuck(&facts, topology, now));
        signs.extend(topology.racks().iter().filter_map(|spec| unruly(spec, facts.fleet, now)));
        signs.extend(pin::lowered(&facts));
        self.weigh(signs, now);
    }

    fn weigh(&mut self, signs: Vec<Sign>, now: Mono) {
        let mut well = std::mem::take(&mut self.0);
        for Sign { kind, subject, severity, patience, words } in signs {
            let key = (kind, subject);
            let before = well.remove(&key);
            match (before, words) {
                (before, Some(words)) => {
                    let fresh = Matter { severity, since: now, open: false, calm_since: None, words: words.clone() };
                    let before = before.unwrap_or(fresh);
                    let open = before.open || now.since(before.since) >= patience;
                    self.0.insert(key, Matter { open, calm_since: None, words, ..before });
                }
                (Some(matter), None) if matter.open => _ = self.0.insert(key, Matter { calm_since: None, ..matter }),
                (_, None) => {}
            }
        }
        for (key, mut matter) in well {
            let calm = now.since(*matter.calm_since.get_or_insert(now));
            if matter.open && calm < CALM {
                self.0.insert(key, matter);
            }
        }
    }

    /// What somebody must be called for.
    pub(super) fn findings(&self) -> impl Iterator<Item = Finding> {
        let open = self.0.iter().filter(|(_, matter)| matter.open);
        open.map(|((kind, subject), Matter { severity, words: (title, detail), .. })| {
            finding(kind, subject, *severity, title.clone(), detail.clone())
        })
    }
}

fn coolant(view: &CoolantView) -> Option<Sign> {
    let CoolantView { rack, celsius, left_s } = view;
    let words = || {
        let title = match *left_s > 0.0 {
            true => format!("{rack} is at the limit of its cooling in {left_s:.0} s"),
            false => format!("{rack} is beyond the limit of its cooling"),
        };
        (
            title,
            format!("{celsius:.1} C, and its GPUs give way already: see whether pump, flow and supply are as usual"),
        )
    };
    (*left_s < LATER_S).then(|| Sign {
        kind: "coolant_near_limit",
        subject: rack.to_string(),
        severity: Severity::Critical,
        patience: PATIENCE,
        words: (*left_s < SOON_S).then(words),
    })
}

/// Cooling that holds work back.
fn short(advice: &CoolingAdvice) -> Option<Sign> {
    let held = advice.held.get() / 1000.0;
    let words = || (format!("{} holds back {held:.1} kW of what its racks want", advice.cooler), advice.words());
    (advice.change == Change::Cooler).then(|| Sign {
        kind: "cooling_short",
        subject: advice.cooler.to_string(),
        severity: Severity::Warning,
        patience: SHORT,
        words: (advice.held > Watts::ZERO).then(words),
    })
}

fn trip(node: &NodeView) -> Option<Sign> {
    let within = |s: f64| node.trip_used > USED_ABOVE || node.time_to_trip_s.is_some_and(|left| left < s);
    let bad = node.power > node.limit && within(SOON_S);
    let doubtful = node.power > node.limit * BELOW && within(LATER_S);
    let words = || {
        let left = node.time_to_trip_s.map_or(String::new(), |s| format!(" and trips in {s:.0} s if that stays"));
        let detail = format!(
            "it carries {:.0} W of {:.0} W it should{left}: take load away from it, or see which racks do not give way",
            node.power.get(),
            node.limit.get()
        );
        (format!("{} has used {:.0} % of what it takes to trip", node.node, node.trip_used * 100.0), detail)
    };
    (bad || doubtful).then(|| Sign {
        kind: "trip_near",
        subject: node.node.to_string(),
        severity: Severity::Critical,
        patience: PATIENCE,
        words: bad.then(words),
    })
}

/// Limits that are exceeded while everything below is at its floor.
fn stuck(facts: &Facts<'_>, topology: &Topology, now: Mono) -> Vec<Sign> {
    let Facts { plan, fleet, policy, site, .. } = *facts;
    // Nothing is sent: nothing gives way.
    if plan.mode == Mode::Advisory {
        return Vec::new();
    }
    let gives_all = |cap: &Cap| {
        let spec = topology.rack(&cap.rack);
        let floor = spec.map_or(policy.floor_gpu, |spec| floor(spec, policy)) + Watts::new(1.0);
        let silent = fleet.rack(&cap.rack).is_none_or(|b| b.dead || b.age(now) > SILENT);
        silent || cap.gpus.iter().all(|(_, limit)| *limit <= floor)
    };
    let sign = |subject: &str, power: Watts, limit: Watts, below: &dyn Fn(usize) -> bool| {
        let racks = || plan.caps.iter().enumerate().filter(|(i, _)| below(*i)).map(|(_, cap)| cap);
        let over = power > limit && racks().next().is_some() && racks().all(gives_all);
        over.then(|| Sign {
            kind: "limit_cannot_be_kept",
            subject: subject.to_owned(),
            severity: Severity::Critical,
            patience: ORDERED,
            words: (power > limit * ABOVE).then(|| {
                let detail = "every GPU below is at its floor or cannot be reached: stop work there, lower floors, or raise the limit";
                (format!("{subject} carries {:.0} W and may carry {:.0} W", power.get(), limit.get()), detail.to_owned())
            }),
        })
    };
    let nodes = plan.nodes.iter().enumerate().filter(|(_, node)| node.quality != Quality::Nameplate);
    let mut signs: Vec<Sign> = nodes
        .filter_map(|(n, node)| {
            let below = |rack: usize| topology.shares(rack).iter().any(|(at, share)| *at == n && *share > 0.0);
            sign(node.node.as_str(), node.power, node.limit, &below)
        })
        .collect();
    if let Some(limit) = site {
        let roots = topology.nodes().iter().zip(&plan.nodes).filter(|(spec, _)| spec.parent.is_none());
        let power = roots.map(|(_, node)| node.power).sum();
        signs.extend(sign("site", power, limit, &|_| true));
    }
    signs
}

fn floor(spec: &RackSpec, policy: &Policy) -> Watts {
    let band = policy.band(&spec.id, &spec.priority);
    policy.bounds(&spec.id, band).floor_gpu.unwrap_or(policy.floor_gpu)
}

/// GPUs of a rack that draw more than the limit they confirm.
fn unruly(spec: &RackSpec, fleet: &Fleet, now: Mono) -> Option<Sign> {
    let rack: &RackId = &spec.id;
    let belief = fleet.rack(rack).filter(|b| !b.dead && b.age(now) <= FRESH * 2)?;
    let of = belief.gpus.iter().filter_map(|g| Some((&g.id, g.power.ok()?, g.limit?)));
    let mut found = of.filter(|(_, power, limit)| is_beyond(*power, *limit)).peekable();
    found.peek()?;
    let found: Vec<String> =
        found.map(|(id, power, limit)| format!("{id} {:.0} W of {:.0} W", power.get(), limit.get())).collect();
    let more = found.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let names = found.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    let detail = format!("{names}{more}: room is kept for it at the others' cost; reset them or take them out of work");
    let title = format!("{} GPUs of {rack} draw more than the limit they confirm", found.len());
    Some(Sign {
        kind: "gpu_unruly",
        subject: rack.to_string(),
        severity: Severity::Critical,
        patience: ORDERED,
        words: Some((title, detail)),
    })
}

#[cfg(test)]
mod tests;
