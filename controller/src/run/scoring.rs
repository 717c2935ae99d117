//! Forecasts against what came, as the loop does it: outcomes are taken before the next Forecast is
//! made, its quantiles get their margins before anybody decides with it.

use crate::config::Config;
use crate::forecaster::{Answer, Forecaster};
use crate::learning::Report;
use headroom_predict::{History, Method, QUANTILES, Scorer, Standing};
use headroom_rack::{Forecast, Mono, RackId, Score, UnixMs, Watts};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// How often the account goes into the record: a crash costs at most this much of it.
const KEEP_EVERY: Duration = Duration::from_secs(60);
/// A rack must have been inside the trained range for this long before it is news again.
const CALM: Duration = Duration::from_secs(60);

pub(super) struct Scoring {
    scorer: Scorer,
    /// How far ahead the decision looks, s.
    response_s: f64,
    kept: Option<Mono>,
    shown: Option<Arc<Score>>,
    margins: Arc<BTreeMap<RackId, Vec<Watts>>>,
    /// When each rack's inputs were outside the trained range last.
    outside: BTreeMap<RackId, Mono>,
}

impl Scoring {
    pub(super) fn new(config: &Config, before: Option<&Score>) -> Self {
        let mut scorer = Scorer::new(config.racks.iter().map(|r| (r.id.clone(), r.nameplate())));
        if let Some(before) = before {
            scorer.restore(before);
        }
        Self {
            scorer,
            response_s: config.policy.response.as_secs_f64(),
            kept: None,
            shown: None,
            margins: Arc::default(),
            outside: BTreeMap::new(),
        }
    }

    /// Takes what came since the last call, and what was said beside the Forecast that was used.
    pub(super) fn take_outcomes(
        &mut self,
        forecaster: &Forecaster,
        histories: &BTreeMap<RackId, Arc<History>>,
        at: UnixMs,
    ) {
        self.scorer.name(Method::Model, forecaster.champion().map(|m| m.id()));
        self.scorer.name(Method::Challenger, forecaster.challenger().map(|m| m.id()));
        for beside in forecaster.take_beside() {
            for (method, rack, values) in beside.said {
                self.scorer.say(method, &rack, beside.at, &values);
            }
        }
        for (rack, history) in histories {
            self.scorer.came(rack, history, at);
        }
        self.scorer.fade(at);
    }

    /// The Forecasts with their margins, which is what is used; both are remembered, and what the model said alone.
    pub(super) fn widen(&mut self, answer: &Answer) -> BTreeMap<RackId, Forecast> {
        let said = &answer.forecasts;
        let (mut used, mut margins) = (Vec::with_capacity(said.len()), Vec::with_capacity(said.len()));
        for (rack, forecast) in said {
            if let Some(alone) = answer.alone.get(rack) {
                self.scorer.say(Method::Model, rack, forecast.at, alone);
            }
            if !answer.late {
                self.scorer.say(Method::Mixed, rack, forecast.at, &forecast.values);
            }
            let values = self.scorer.widen(rack, &forecast.values);
            self.scorer.say(Method::Used, rack, forecast.at, &values);
            let within = |q| self.scorer.margin(rack, q, self.response_s).unwrap_or(Watts::ZERO);
            margins.push((rack.clone(), (0..QUANTILES.len()).map(within).collect()));
            let Forecast { at, horizons_s, quantiles, source, .. } = forecast;
            let (horizons_s, quantiles, source) = (horizons_s.clone(), quantiles.clone(), source.clone());
            used.push((rack.clone(), Forecast { rack: rack.clone(), at: *at, horizons_s, quantiles, values, source }));
        }
        if let Some(forecast) = said.values().next() {
            self.shown = Some(Arc::new(self.scorer.tallied(forecast.at)));
        }
        // They come in order, of which a map is made at once.
        self.margins = Arc::new(margins.into_iter().collect());
        used.into_iter().collect()
    }

    /// Words about racks whose inputs left the trained range or are back in it.
    pub(super) fn outside(&mut self, now_outside: &BTreeSet<RackId>, now: Mono) -> Vec<String> {
        let mut words = Vec::new();
        for rack in now_outside {
            if self.outside.insert(rack.clone(), now).is_none() {
                words.push(format!(
                    "{rack} does what the model was not trained on: its upper quantiles are widened to the baseline's or more"
                ));
            }
        }
        self.outside.retain(|rack, last| {
            let keep = now.since(*last) < CALM;
            if !keep {
                words.push(format!("{rack} is back in the range the model was trained on"));
            }
            keep
        });
        words
    }

    /// Whether the account should go into the record.
    pub(super) fn is_due(&mut self, now: Mono) -> bool {
        let since = *self.kept.get_or_insert(now);
        let due = now.since(since) >= KEEP_EVERY;
        if due {
            self.kept = Some(now);
        }
        due
    }

    /// What the steward of the forecaster judges by.
    pub(super) fn report(&self) -> Report {
        let duel = |method| Standing::of(self.scorer.duel(method));
        Report {
            model: Standing::of(self.scorer.recent(Method::Model)),
            baseline: Standing::of(self.scorer.recent(Method::Baseline)),
            duel: [Method::Challenger, Method::Model, Method::Baseline].map(duel),
        }
    }

    pub(super) fn score(&self, at: UnixMs) -> Score {
        self.scorer.score(at)
    }

    pub(super) fn shown(&self) -> Option<Arc<Score>> {
        self.shown.clone()
    }

    pub(super) fn margins(&self) -> Arc<BTreeMap<RackId, Vec<Watts>>> {
        Arc::clone(&self.margins)
    }
}
