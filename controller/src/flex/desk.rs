//! The desk of the load-flexibility partner: which targets are set, what each feed does about them, and
//! what is told of it. `now` is an argument, messages are values; signing and sending are elsewhere.

mod report;
mod show;

pub use show::{Shown, ShownTarget};

use super::event::{Chance, Trace};
use super::gate::{Command, Refused, Why};
use crate::config::Rack;
use crate::observed::inlets;
use crate::picture::Latest;
use headroom_controller_core::Topology;
use headroom_controller_core::decide::mean_limit;
use headroom_controller_core::target::breach::{self, Breach, Rule, Stage};
use headroom_controller_core::target::ramp::{Change, Kept, Look, Ramp};
use headroom_controller_core::target::{KEPT, Schedule, Target};
use headroom_rack::{DeviceId, Finding, Mono, NodeId, Plan, RackId, Severity, Signal, UnixMs, Watts};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use show::shown;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// "Published on state transitions and as periodic heartbeats" (the contract); the design says every 30 s.
const HEARTBEAT: Duration = Duration::from_secs(30);
/// A refusal stays a matter for people this long after the last one.
const REMEMBER_REFUSAL: u64 = 10 * 60_000;
/// Names remembered at most: a partner that sends more in `max_age` is told to send less.
const NAMES: usize = 10_000;
/// Wishes of one message that the line for people names.
const WORDS: usize = 8;
/// Limits are read back this long after they were asked for (a driver takes 2 to 3 s).
const READ_BACK: Duration = Duration::from_secs(4);

/// A feed as configured.
#[derive(Debug, Clone, PartialEq)]
pub struct Feed {
    /// Its tag.
    pub tag: String,
    /// The group of the decision that stands for it.
    pub group: NodeId,
    /// The nodes whose power together is the feed's.
    pub nodes: Vec<NodeId>,
    /// The least it draws.
    pub minimum: Watts,
    /// The most it can draw.
    pub maximum: Watts,
    /// What it may draw without any target.
    pub default: Watts,
}

/// How the desk works.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// When a missed target is a breach.
    pub rule: Rule,
    /// The feeds.
    pub feeds: Vec<Feed>,
    /// What a breach that is escalated suggests, from the least to the most disruptive.
    pub actions: Vec<String>,
}

/// What must survive a restart.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    schedule: Schedule,
    /// Names of messages that must not come again, and until when that matters.
    seen: BTreeMap<String, UnixMs>,
    /// Breaches that are open, by feed.
    open: BTreeMap<String, breach::Told>,
    /// Where each feed is between two power levels.
    #[serde(default)]
    ways: BTreeMap<String, Kept>,
    /// The trace of each message that counts, by its correlation id.
    #[serde(default)]
    traces: BTreeMap<String, Trace>,
}

/// What is to be told.
#[derive(Debug, Clone, PartialEq)]
pub struct Telling {
    /// Which channel.
    pub channel: Channel,
    /// The payload, to be signed.
    pub data: Value,
    /// Joins it to a target.
    pub correlation: Option<String>,
    /// The trace it belongs to.
    pub trace: Trace,
}

/// The channels we speak on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// `grid.powerstate.status.v1`.
    PowerState,
    /// `grid.powerbreach.alert.v1`.
    Breach,
    /// `grid.powerbreach.enforcement.v1`.
    Enforcement,
}

/// One rack, as far as a partner is told of it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct RackSeen {
    /// What it draws.
    pub power: Option<Watts>,
    /// The highest limit in force on one of its GPUs, if all are known.
    pub limit: Option<Watts>,
}

impl RackSeen {
    /// From its newest Snapshot; nothing, when its agent is gone or it is older than `fresh`.
    pub fn of(rack: &Rack, latest: &Latest, now: Mono, fresh: Duration) -> Self {
        if latest.gone || now.since(latest.arrived) > fresh {
            return Self::default();
        }
        let limits = (0..rack.gpus).map(|g| latest.snapshot.value(&DeviceId::gpu(g), Signal::GpuLimitEnforced));
        let highest = limits.map(|l| l.map(Watts::new)).reduce(|a, b| Some(a?.max(b?))).flatten();
        Self { power: inlets(rack, &latest.snapshot), limit: highest }
    }
}

#[derive(Debug)]
struct FeedDesk {
    spec: Feed,
    /// Racks of the topology on it, with the share it carries of each.
    racks: Vec<(usize, f64)>,
    ramp: Ramp,
    breach: Breach,
    /// What to tell, one message each.
    events: VecDeque<&'static str>,
    /// An enforcement to be told of, from then on.
    enforce: Option<(Mono, breach::Told)>,
}

#[derive(Debug, Clone)]
struct Noted {
    since: UnixMs,
    last: UnixMs,
    count: u64,
    detail: String,
}

/// The desk.
#[derive(Debug)]
pub struct Desk {
    options: Options,
    topology: Topology,
    state: State,
    /// The state is not yet where a restart would find it.
    unsaved: bool,
    feeds: Vec<FeedDesk>,
    refused: BTreeMap<(String, Why), Noted>,
    heartbeat: Option<Mono>,
    gpu_before: BTreeMap<RackId, Watts>,
    chance: Chance,
}

impl Desk {
    /// A desk that goes on where `state` ended.
    pub fn new(options: Options, topology: Topology, state: State) -> Self {
        let feeds = options.feeds.iter().map(|spec| {
            let on = |i: usize| {
                let shares = topology.shares(i).iter();
                shares.filter(|(n, _)| spec.nodes.contains(&topology.nodes()[*n].id)).map(|(_, share)| share).sum()
            };
            let racks = (0..topology.racks().len()).map(|i| (i, on(i))).filter(|(_, share): &(_, f64)| *share > 0.0);
            let breach = state.open.get(&spec.tag).cloned().map_or_else(Breach::default, Breach::resume);
            FeedDesk {
                spec: spec.clone(),
                racks: racks.collect(),
                ramp: state.ways.get(&spec.tag).copied().map_or_else(Ramp::default, Ramp::resume),
                breach,
                events: VecDeque::new(),
                enforce: None,
            }
        });
        Self {
            feeds: feeds.collect(),
            options,
            topology,
            state,
            unsaved: false,
            refused: BTreeMap::new(),
            heartbeat: None,
            gpu_before: BTreeMap::new(),
            chance: Chance::new(),
        }
    }

    /// Takes a message that the gate let in. The line for people.
    ///
    /// # Errors
    /// When it came before, or there is no room for it. `None`: the broker's own repetition of what was
    /// taken already, which is nobody's fault.
    pub fn hear(&mut self, command: &Command, at: UnixMs) -> Result<String, Option<Refused>> {
        self.state.seen.retain(|_, until| *until > at);
        let refused = |why, detail: String| Refused { who: command.by.clone(), why, detail };
        if let Some(name) = command.names.iter().find(|name| self.state.seen.contains_key(*name)) {
            let detail = format!("the message {name} was taken before");
            return Err((!command.again).then(|| refused(Why::Replayed, detail)));
        }
        if self.state.seen.len() >= NAMES {
            return Err(Some(refused(Why::Full, format!("more than {NAMES} messages in a short time"))));
        }
        self.state.seen.extend(command.names.iter().map(|name| (name.clone(), command.stale)));
        self.unsaved = true;
        // The message is taken as a whole or not at all.
        let mut schedule = self.state.schedule.clone();
        let mut words = Vec::new();
        for wish in &command.wishes {
            let start = wish.start.unwrap_or(at).max(at);
            for feed in &wish.feeds {
                match wish.limit {
                    None => schedule.release(feed, start),
                    Some(limit) => schedule.set(Target {
                        feed: feed.clone(),
                        limit,
                        start,
                        end: wish.end,
                        until_replaced: wish.end.is_none(),
                        best_effort: wish.best_effort,
                        correlation: command.correlation.clone(),
                        by: command.by.clone(),
                    }),
                }
                let what = wish.limit.map_or_else(|| "released".to_owned(), |l| format!("{:.1} kW", l.get() / 1e3));
                let when =
                    if start > at { format!(" in {} s", (start.get() - at.get()) / 1000) } else { String::new() };
                words.push(format!("{feed} {what}{when}"));
            }
        }
        schedule.tidy(at);
        let Some(gave_way) = schedule.make_room(&self.state.schedule) else {
            return Err(Some(refused(
                Why::Full,
                format!("more than {KEPT} targets for one feed would be set with it"),
            )));
        };
        self.state.schedule = schedule;
        self.keep_trace(command);
        let is_for = |f: &&mut FeedDesk| command.wishes.iter().any(|wish| wish.feeds.contains(&f.spec.tag));
        self.feeds.iter_mut().filter(is_for).for_each(|f| f.events.push_back("target_set"));
        let more = words.len().saturating_sub(WORDS);
        words.truncate(WORDS);
        words.extend((more > 0).then(|| format!("{more} more")));
        words.extend((gave_way > 0).then(|| format!("for which the {gave_way} that begin last give way")));
        Ok(format!("{} sets {}", command.by, words.join(", ")))
    }

    fn keep_trace(&mut self, command: &Command) {
        let (state, feeds) = (&mut self.state, &self.feeds);
        state.traces.insert(command.correlation.clone(), command.trace.clone());
        let told = |id: &str| {
            let enforced = feeds.iter().filter_map(|f| f.enforce.as_ref());
            state.open.values().chain(enforced.map(|(_, told)| told)).any(|told| told.correlation == *id)
        };
        let counts: BTreeSet<&str> =
            state.schedule.all().map(|t| t.correlation.as_str()).chain([command.correlation.as_str()]).collect();
        state.traces.retain(|id, _| counts.contains(id.as_str()) || told(id));
    }

    /// Notes a message that was not believed.
    pub fn note(&mut self, refused: Refused, at: UnixMs) {
        let fresh = || Noted { since: at, last: at, count: 0, detail: String::new() };
        let noted = self.refused.entry((refused.who, refused.why)).or_insert_with(fresh);
        (noted.last, noted.count, noted.detail) = (at, noted.count + 1, refused.detail);
    }

    /// What is in force for each feed's group, and whether only the flexible give way.
    pub fn limits(&mut self, at: UnixMs) -> Vec<(NodeId, Option<Watts>, bool)> {
        self.unsaved |= self.state.schedule.prune(at);
        let schedule = &self.state.schedule;
        let limit = |feed: &Feed| match schedule.active(&feed.tag, at) {
            Some(target) => (Some(target.limit), target.best_effort),
            // Without a target the feed's own default holds, if it is less than what it can carry.
            None => (Some(feed.default).filter(|d| *d < feed.maximum), false),
        };
        self.feeds.iter().map(|f| (f.spec.group.clone(), limit(&f.spec).0, limit(&f.spec).1)).collect()
    }

    /// When next something begins or ends.
    pub fn next_change(&self, at: UnixMs) -> Option<UnixMs> {
        self.state.schedule.next_change(at)
    }

    /// The state, if it changed since the last call.
    pub fn to_save(&mut self) -> Option<State> {
        std::mem::take(&mut self.unsaved).then(|| self.state.clone())
    }

    /// After a decision: what is to be told.
    pub fn tell(&mut self, plan: &Plan, seen: &BTreeMap<RackId, RackSeen>, now: Mono, at: UnixMs) -> Vec<Telling> {
        let mut told = Vec::new();
        for i in 0..self.feeds.len() {
            self.step(i, plan, seen, now, at, &mut told);
        }
        self.gpu_before = plan.caps.iter().filter_map(|c| Some((c.rack.clone(), mean_limit(c)?))).collect();
        while self.feeds.iter().any(|f| !f.events.is_empty()) {
            let events: Vec<_> = self.feeds.iter_mut().map(|f| f.events.pop_front().unwrap_or("periodic")).collect();
            told.push(self.status(&events, plan, seen, at));
        }
        let due = self.heartbeat.is_none_or(|at| now >= at);
        if due {
            let next = self.heartbeat.map_or(now, |at| at).after(HEARTBEAT);
            self.heartbeat = Some(if next <= now { now.after(HEARTBEAT) } else { next });
            told.push(self.status(&vec!["periodic"; self.feeds.len()], plan, seen, at));
        }
        told
    }

    fn step(
        &mut self,
        i: usize,
        plan: &Plan,
        seen: &BTreeMap<RackId, RackSeen>,
        now: Mono,
        at: UnixMs,
        told: &mut Vec<Telling>,
    ) {
        let load = self.load(i, plan);
        let rising = self.rising(i, plan);
        let desk = &mut self.feeds[i];
        let target = self.state.schedule.active(&desk.spec.tag, at);
        let (limit, tolerance) = (target.map(|t| t.limit), self.options.rule.threshold);
        let look = Look { limit, load, rising, tolerance };
        for change in desk.ramp.step(look, now, at) {
            desk.events.push_back(match change {
                Change::StartRampDown => "start_ramp_down",
                Change::EndRampDown => "end_ramp_down",
                Change::StartRampUp => "start_ramp_up",
                Change::EndRampUp => "end_ramp_up",
            });
        }
        if self.state.ways.get(&desk.spec.tag) != Some(&desk.ramp.kept()) {
            self.state.ways.insert(desk.spec.tag.clone(), desk.ramp.kept());
            self.unsaved = true;
        }
        let missed = target.map(|t| (t.limit, t.correlation.as_str()));
        let moment = breach::Moment { load, target_age: desk.ramp.age(now), now, at };
        if let Some(news) = desk.breach.step(self.options.rule, missed, moment, || self.chance.uuid()) {
            let soon = if news.stage == Stage::Resolved { now } else { now.after(READ_BACK) };
            desk.enforce = Some((soon, news.clone()));
            match news.stage {
                Stage::Resolved => self.state.open.remove(&desk.spec.tag),
                _ => self.state.open.insert(desk.spec.tag.clone(), news.clone()),
            };
            self.unsaved = true;
            let gentle = self.state.schedule.active(&self.feeds[i].spec.tag, at).is_some_and(|t| t.best_effort);
            told.push(self.breach(i, &news, load, plan, gentle, at));
        }
        if self.feeds[i].enforce.as_ref().is_some_and(|(due, _)| now >= *due)
            && let Some((_, news)) = self.feeds[i].enforce.take()
        {
            told.push(self.enforcement(i, &news, plan, seen, at));
        }
    }

    /// What flows through a feed, by the decision's own belief.
    fn load(&self, feed: usize, plan: &Plan) -> Watts {
        let nodes = &self.feeds[feed].spec.nodes;
        plan.nodes.iter().filter(|n| nodes.contains(&n.node)).map(|n| n.power).sum()
    }

    fn rising(&self, feed: usize, plan: &Plan) -> bool {
        self.feeds[feed].racks.iter().any(|(rack, _)| {
            let cap = &plan.caps[*rack];
            let before = self.gpu_before.get(&cap.rack);
            before.zip(mean_limit(cap)).is_some_and(|(before, now)| now > *before)
        })
    }

    /// The feeds with their targets, for `/api/state` and the metrics, as of the last decision.
    pub fn shown(&self, plan: Option<&Plan>, at: UnixMs) -> Vec<Shown> {
        let schedule = &self.state.schedule;
        let feed = |(i, desk): (usize, &FeedDesk)| {
            let active = schedule.active(&desk.spec.tag, at);
            let load_watts = plan.map(|plan| self.load(i, plan));
            let fits = |t: &Target| load_watts.map(|load| load <= t.limit * (1.0 + self.options.rule.threshold));
            let mut targets: Vec<ShownTarget> = schedule.of(&desk.spec.tag).map(|t| shown(t, active)).collect();
            targets.sort_by_key(|target| target.from_ms);
            let count = targets.len();
            targets.truncate(report::TOLD);
            let compliant = match active {
                None => Some(true),
                Some(target) => fits(target),
            };
            Shown { feed: desk.spec.tag.clone(), load_watts, targets, count, compliant, ramping: desk.ramp.in_flight() }
        };
        self.feeds.iter().enumerate().map(feed).collect()
    }

    /// What people should look at.
    pub fn findings(&self, at: UnixMs) -> Vec<Finding> {
        let fresh = |noted: &&Noted| at.get().saturating_sub(noted.last.get()) < REMEMBER_REFUSAL;
        let refused = self.refused.iter().filter(|(_, noted)| fresh(noted)).map(|((who, why), noted)| Finding {
            key: format!("flex_refused:{who}:{}", why.word()),
            kind: "flex_refused".to_owned(),
            subject: who.clone(),
            severity: Severity::Warning,
            title: format!("a load target of {who} was refused: {}", why.word()),
            detail: format!("{} refused; the last one: {}", noted.count, noted.detail),
            since: noted.since,
        });
        let open = self.feeds.iter().filter_map(|f| Some((f, f.breach.open()?))).map(|(f, told)| Finding {
            key: format!("target_missed:{}", f.spec.tag),
            kind: "target_missed".to_owned(),
            subject: f.spec.tag.clone(),
            severity: if told.critical { Severity::Critical } else { Severity::Warning },
            title: format!("{} draws more than its load target of {:.1} kW", f.spec.tag, told.limit.get() / 1e3),
            detail: "caps are at their floors, or GPUs do not keep them: see which racks are unreachable or unruly"
                .to_owned(),
            since: told.found,
        });
        refused.chain(open).collect()
    }
}

#[cfg(test)]
mod tests;
