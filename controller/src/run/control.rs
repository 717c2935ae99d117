//! One turn of the control loop: hear Snapshots, forecast, decide, send, record, show. The order of
//! effects is fixed here; every judgement is the cores'.

use super::Parts;
use super::scoring::Scoring;
use super::send::To;
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::counts::Counts;
use crate::flex::Flex;
use crate::flex::desk::RackSeen;
use crate::forecaster::{Answer, Histories};
use crate::hands;
use crate::influx::line::metric_lines;
use crate::kept::Keeper;
use crate::observed::inlets;
use crate::parent::Parent;
use crate::picture::{Board, Latest, ModelStatus, Picture};
use crate::policy::Live;
use crate::record::Marks;
use crate::record::Recovery;
use crate::{alert, influx, metrics, record};
use headroom_controller_core::{
    Automation, BatteryView, CoolantView, CoolingAdvice, Decider, Facts, Fleet, Health, Story, Topology, Urgency,
};
use headroom_predict::History;
use headroom_rack::record::Entry;
use headroom_rack::{Condition, DeviceId, Finding, Forecast, Generation, Mode, Mono, Plan, RackId, UnixMs, Watts};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long the first decision waits for racks to be heard, in periods. Without an Order agents
/// hold their last lease and then their safe share, so waiting is safe; deciding blind is not kind.
const WARM_UP_PERIODS: u32 = 5;

/// The loop's state.
pub(super) struct Control {
    pub(super) config: Arc<Config>,
    pub(super) clock: Clock,
    board: Arc<Board>,
    pub(super) fleet: Fleet,
    pub(super) decider: Decider,
    pub(super) health: Health,
    story: Story,
    pub(super) histories: BTreeMap<RackId, Arc<History>>,
    pub(super) latest: HashMap<RackId, Latest>,
    pub(super) urgency: Urgency,
    pub(super) decided_at: Option<Mono>,
    /// When a loss was, or will be, answered before others were heard.
    pub(super) rushed_at: Option<Mono>,
    /// Of the Plan that is shown.
    redundancy_cost: Watts,
    batteries: Arc<Vec<BatteryView>>,
    coolants: Arc<Vec<CoolantView>>,
    advice: Arc<Vec<CoolingAdvice>>,
    /// What lies ready at the agents, by place.
    pub(super) answers: Vec<Vec<(Condition, Watts)>>,
    /// Where a rack stands in the config and in Plans.
    pub(super) places: HashMap<RackId, usize>,
    /// Names of as many GPUs as the largest rack has.
    pub(super) gpus: Vec<DeviceId>,
    /// The limits that each rack was sent last, by place.
    pub(super) sent: Vec<Vec<Watts>>,
    pub(super) counted: Marks,
    pub(super) counts: Counts,
    pub(super) generation: Generation,
    pub(super) plan: Option<Arc<Plan>>,
    forecasts: Arc<BTreeMap<RackId, Forecast>>,
    model: ModelStatus,
    scoring: Scoring,
    findings: Vec<Finding>,
    started: Mono,
    decide_s: f64,
    /// How long the last decision took with everything that follows from it, s.
    pub(super) turn_s: f64,
    last: Picture,
    policy: Live,
    /// Set by SIGHUP: read the policy file at the next turn.
    reload: Arc<AtomicBool>,
    /// Lines of the start, noted with the first turn.
    begun: Vec<String>,
    pub(super) flex: Option<Flex>,
    pub(super) hands: hands::Desk,
    pub(super) automation: Automation,
    pub(super) keeper: Keeper<hands::State>,
    /// Racks that get no Orders by a person's hand.
    pub(super) advised: BTreeSet<RackId>,
    /// Budgets that people have pinned, of the other racks.
    pub(super) pins: BTreeMap<RackId, Watts>,
    pub(super) topology: Topology,
    pub(super) parent: Option<Parent>,
}

impl Control {
    pub(super) fn new(
        config: Arc<Config>,
        clock: Clock,
        topology: &Topology,
        recovery: &Recovery,
        board: Arc<Board>,
        reload: Arc<AtomicBool>,
        (flex, parent): (Option<Flex>, Option<Parent>),
    ) -> Self {
        let (policy, begun) = Live::start(&config, clock.unix());
        let mut decider = Decider::new(topology.clone(), config::core_policy(&config));
        let mut epoch = clock.unix().get();
        if let Some(plan) = &recovery.last_plan {
            // Heat in the breakers outlives this process.
            let gap = clock.unix().get().saturating_sub(plan.at.get());
            decider.restore(plan, Duration::from_millis(gap));
            epoch = epoch.max(plan.generation.epoch + 1);
        }
        let histories = config.racks.iter().map(|r| (r.id.clone(), Arc::new(History::new(r.nameplate())))).collect();
        let scoring = Scoring::new(&config, recovery.last_score.as_ref());
        if let Some(flex) = &flex {
            flex.introduce(&config, &mut decider);
        }
        let (keeper, kept) = Keeper::open(config.record.dir.join("hands.json"), "what was set by hand");
        let hands::State { set, stops } = kept;
        let mut control = Self {
            hands: hands::Desk::new(&config, topology, set),
            automation: Automation::new(topology, config.automation, stops),
            keeper,
            advised: BTreeSet::new(),
            pins: BTreeMap::new(),
            topology: topology.clone(),
            fleet: Fleet::new(topology),
            health: Health::new(topology),
            story: Story::new(topology),
            decider,
            histories,
            latest: HashMap::new(),
            urgency: Urgency::new(topology),
            decided_at: None,
            rushed_at: None,
            redundancy_cost: Watts::ZERO,
            batteries: Arc::default(),
            coolants: Arc::default(),
            advice: Arc::default(),
            answers: vec![Vec::new(); config.racks.len()],
            places: config.racks.iter().enumerate().map(|(place, r)| (r.id.clone(), place)).collect(),
            gpus: (0..config.racks.iter().map(|r| r.gpus).max().unwrap_or(0)).map(DeviceId::gpu).collect(),
            sent: vec![Vec::new(); config.racks.len()],
            turn_s: 0.0,
            counted: Marks::new(Duration::MAX),
            counts: Counts::default(),
            generation: Generation { epoch, counter: 0 },
            plan: None,
            forecasts: Arc::default(),
            model: ModelStatus::default(),
            scoring,
            findings: Vec::new(),
            started: clock.now(),
            decide_s: 0.0,
            last: Picture::default(),
            policy,
            reload,
            begun,
            flex,
            parent,
            config,
            clock,
            board,
        };
        control.put_hands();
        control
    }

    pub(super) fn clock(&self) -> Clock {
        self.clock
    }

    pub(super) fn period(&self) -> Duration {
        self.config.period
    }

    /// The first half of the periodic turn, up to what the forecaster is asked. What comes while it thinks is heard.
    pub(super) fn begin(&mut self, parts: &Parts) -> impl Future<Output = Answer> + use<> {
        let at = self.clock.unix();
        self.look_at_policy(parts);
        let histories: Histories = Arc::new(self.histories.clone());
        self.scoring.take_outcomes(&parts.forecaster, &histories, at);
        let forecaster = parts.forecaster.clone();
        async move { forecaster.forecast(&histories, at).await }
    }

    /// The other half: decides with what was answered.
    pub(super) fn finish(&mut self, answer: Answer, parts: &Parts) {
        let by_model =
            answer.forecasts.values().filter(|f| matches!(f.source, headroom_rack::Source::Model(_))).count() as u64;
        self.counts.forecasts += by_model;
        self.counts.fallbacks += answer.forecasts.len() as u64 - by_model;
        self.counts.late += u64::from(answer.late);
        if answer.status.used != self.model.used || self.model == ModelStatus::default() {
            let name = answer.status.name.as_deref().unwrap_or("none");
            let text = match &answer.status.reason {
                _ if answer.status.used => format!("forecasts come from the model {name}"),
                reason => format!("forecasts come from the baseline: {}", reason.as_deref().unwrap_or("no model")),
            };
            self.note(parts, "model", text);
        }
        self.forecasts = Arc::new(self.scoring.widen(&answer));
        self.model = answer.status;
        self.keep_notes(parts);
        for text in self.scoring.outside(&self.model.outside, self.clock.now()) {
            self.note(parts, "model", text);
        }
        let said = answer.forecasts;
        parts.learning.report(self.scoring.report());
        if self.scoring.is_due(self.clock.now()) {
            self.keep_score(parts);
        }
        if !self.is_warm() {
            self.show(parts);
            return;
        }
        self.decide_and(To::All, parts);
        self.prepare();
        // As it was said: margins follow from that and from what came, see `Entry::Score`.
        parts.record.append_forecasts(said.into_values().collect());
        if let Some(plan) = &self.plan {
            let powers = self.powers();
            self.board.history().push(plan, &powers, &self.forecasts);
            if let Some(influx) = &parts.influx {
                let families = metrics::families(&self.config, &self.last, self.clock.now());
                influx.write(metric_lines(&families, plan.at));
            }
        }
    }

    fn look_at_policy(&mut self, parts: &Parts) {
        let asked = self.reload.swap(false, Ordering::Relaxed);
        let config = Arc::clone(&self.config);
        let mut lines = std::mem::take(&mut self.begun);
        lines.extend(self.policy.poll(&config, self.clock.unix(), asked));
        lines.into_iter().for_each(|line| self.note(parts, "policy", line));
    }

    fn is_warm(&self) -> bool {
        self.plan.is_some()
            || self.latest.len() == self.config.racks.len()
            || self.clock.now().since(self.started) >= self.config.period * WARM_UP_PERIODS
    }

    fn powers(&self) -> BTreeMap<RackId, Option<Watts>> {
        let fresh = |r: &config::Rack| {
            let latest = self.latest.get(&r.id).filter(|l| !l.gone)?;
            (self.clock.now().since(latest.arrived) <= 3 * self.config.period).then_some(&latest.snapshot)
        };
        self.config.racks.iter().map(|r| (r.id.clone(), fresh(r).and_then(|s| inlets(r, s)))).collect()
    }

    /// Decides between two periods: what must fall and what a rise waits for is sent at once, the rest with the next period.
    pub(super) fn decide_now(&mut self, parts: &Parts) {
        if self.is_warm() {
            self.decide_and(To::Moved, parts);
        }
    }

    /// Decides with what is known, sends the Orders and tells everybody.
    fn decide_and(&mut self, to: To, parts: &Parts) {
        let (now, at) = (self.clock.now(), self.clock.unix());
        let begun = self.clock.uptime();
        self.generation.counter += 1;
        let (policy, lines) = self.policy.at(at);
        lines.into_iter().for_each(|line| self.note(parts, "policy", line));
        if *self.decider.policy() != policy {
            self.decider.set_policy(policy);
        }
        if let Some(flex) = &mut self.flex {
            flex.limit(&mut self.decider, at);
        }
        if let Some(line) = self.parent.as_mut().and_then(|parent| parent.limit(&mut self.decider, now, at)) {
            self.note(parts, "parent", line);
        }
        let mode = self.mode();
        let plan = Arc::new(self.decider.decide(&self.fleet, &self.forecasts, now, at, self.generation, mode));
        self.decide_s = (self.clock.uptime() - begun).as_secs_f64();
        self.send(&plan, to, parts);
        // Of this decision, and after its Orders have left.
        self.redundancy_cost = self.decider.redundancy_cost();
        self.urgency.decided(&plan);
        self.decided_at = Some(now);
        parts.record.append_plan(Arc::clone(&plan));
        if let Some(flex) = &mut self.flex {
            let racks = self.config.racks.iter().filter_map(|r| Some((r, self.latest.get(&r.id)?)));
            let seen = racks.map(|(r, l)| (r.id.clone(), RackSeen::of(r, l, now, 3 * self.config.period))).collect();
            flex.tell(&plan, &seen, now, at);
        }
        if plan.mode == Mode::Automatic && self.automation.decided(&plan, &self.advised, &self.fleet, now) {
            tracing::error!(stops = ?self.automation.stops(), "the automation stops itself");
            self.put_hands();
        }
        if let Some(parent) = &mut self.parent {
            parent.tell(&plan, &self.latest, 3 * self.config.period, now, at);
        }
        self.batteries = Arc::new(self.decider.batteries());
        self.health.batteries(&self.batteries, now);
        self.coolants = Arc::new(self.decider.coolants());
        let ruled = self.decider.policy().site;
        let site = self.parent.as_ref().map(Parent::limit_watts).into_iter().chain(ruled).reduce(Watts::min);
        self.advice = self.decider.advise(&self.fleet, &plan, now);
        let (coolants, advice, policy) = (&self.coolants[..], &self.advice[..], self.decider.policy());
        let facts = Facts { plan: &plan, coolants, advice, fleet: &self.fleet, policy, site, pins: &self.pins };
        self.health.decided(facts, now);
        self.judge(parts);
        let mut told = self.story.tell_batteries(&self.batteries);
        told.extend(self.story.tell_coolants(&self.coolants));
        told.extend(self.story.tell_currents(&self.decider.currents()));
        for event in told {
            self.note(parts, event.kind, event.text);
        }
        for event in self.story.tell(&plan, &self.fleet, &self.findings, now) {
            self.note(parts, event.kind, event.text);
        }
        self.plan = Some(plan);
        self.show(parts);
        self.turn_s = (self.clock.uptime() - begun).as_secs_f64();
    }

    /// Puts the account of how good Forecasts turned out into the record.
    pub(super) fn keep_score(&mut self, parts: &Parts) {
        parts.record.append(Entry::Score(self.scoring.score(self.clock.unix())));
    }

    /// A period's turn begins this long after it was due.
    pub(super) fn note_lateness(&mut self, late: Duration) {
        self.counts.worst_lateness_s = self.counts.worst_lateness_s.max(late.as_secs_f64());
    }

    /// A period passed without a turn.
    pub(super) fn note_missed(&mut self) {
        self.counts.missed_periods += 1;
    }

    fn judge(&mut self, parts: &Parts) {
        let (now, at) = (self.clock.now(), self.clock.unix());
        let mut findings = self.health.findings(now, at);
        findings.extend(self.automation.findings());
        findings.extend(self.policy.finding());
        findings.extend(self.flex.iter().flat_map(|flex| flex.findings(at)));
        findings.extend(self.parent.iter().flat_map(|parent| parent.findings(now)));
        let known: BTreeSet<&str> = self.findings.iter().map(|f| f.key.as_str()).collect();
        for finding in findings.iter().filter(|f| !known.contains(f.key.as_str())) {
            parts.record.append(Entry::Finding(finding.clone()));
        }
        if let Some(alerts) = &parts.alerts {
            alerts.update(&findings);
        }
        self.findings = findings;
    }

    /// What learning has to say, into the audit log.
    pub(super) fn keep_notes(&mut self, parts: &Parts) {
        for text in parts.learning.take_notes() {
            self.note(parts, "learning", text);
        }
    }

    /// A line for people: on the console, in the record, in the log.
    pub(super) fn note(&mut self, parts: &Parts, kind: &str, text: String) {
        let at: UnixMs = self.clock.unix();
        tracing::info!(kind, "{text}");
        parts.record.append(Entry::Note { at, kind: kind.to_owned(), text: text.clone() });
        self.board.events().push(at, kind, text);
    }

    pub(super) fn show(&mut self, parts: &Parts) {
        self.last = Picture {
            plan: self.plan.clone(),
            latest: self.latest.clone(),
            forecasts: Arc::clone(&self.forecasts),
            findings: self.findings.clone(),
            counts: self.counts.clone(),
            redundancy_cost: self.redundancy_cost,
            batteries: Arc::clone(&self.batteries),
            coolants: Arc::clone(&self.coolants),
            advice: Arc::clone(&self.advice),
            policy: self.policy.status().clone(),
            hands: self.hands_state(),
            model: self.model.clone(),
            parent: self.parent.as_ref().map(Parent::shown),
            flex: self
                .flex
                .as_ref()
                .map(|f| Arc::new(f.shown(self.plan.as_deref(), self.clock.unix())))
                .unwrap_or_default(),
            learning: parts.learning.shown(),
            score: self.scoring.shown(),
            margins: self.scoring.margins(),
            alerts: parts.alerts.as_ref().map(crate::alert::Alerts::counts).unwrap_or_default(),
            record: parts.record.stats(),
            influx: parts.influx.as_ref().map(influx::Influx::counts),
            drops: parts.link.drops(),
            connected: parts.link.is_connected(),
            decide_s: self.decide_s,
        };
        self.board.hang(self.last.clone());
    }

    /// Ends what the loop alone has.
    pub(super) async fn stop(&mut self) {
        self.keeper.stop().await;
        if let Some(flex) = self.flex.take() {
            flex.stop().await;
        }
        if let Some(parent) = self.parent.take() {
            parent.stop().await;
        }
    }

    pub(super) fn ended_alerts(&mut self, counts: alert::Counts) {
        self.last.alerts = counts;
    }

    pub(super) fn ended_influx(&mut self, counts: influx::Counts) {
        self.last.influx = Some(counts);
    }

    pub(super) fn ended_record(&mut self, stats: record::Stats) {
        self.last.record = stats;
        self.last.counts = self.counts.clone();
    }

    pub(super) fn last_picture(&self) -> &Picture {
        &self.last
    }
}
