//! Holds each Forecast against what came: error and coverage by method and horizon, and the margins
//! that follow. Pure: the seconds come from the histories and from whoever made the Forecasts.
//!
//! The methods other than `used` are compared on the same outcomes: one counts only if every method
//! at work had spoken for it, so that none looks better by keeping silent when it is hard.

use crate::history::History;
use crate::margin::Margins;
use crate::{HORIZONS_S, QUANTILES, WINDOW_S};
use headroom_rack::{MethodScore, RackId, Score, Tally, UnixMs, Watts};
use std::collections::BTreeMap;

/// In the recent tallies an outcome counts 1/e after this long.
pub const RECENT_S: f64 = 3600.0;
/// Seconds a row is kept: the furthest horizon, and as long as outcomes may be looked at late. With a
/// period longer than this leaves, the furthest horizons go without a score.
const ROWS: usize = HORIZONS_S[HORIZONS_S.len() - 1] as usize + 18;

/// Who said it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    /// What the decision was given, margin and all.
    Used,
    /// The model in use alone, before any mix or margin: what a challenger is held against.
    Model,
    /// The reactive baseline, whether it was used or not.
    Baseline,
    /// The model that is tried beside it.
    Challenger,
    /// The mix of model, baseline and the rack's own past, before any margin.
    Mixed,
}

impl Method {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Used, Self::Model, Self::Baseline, Self::Challenger, Self::Mixed];

    /// The word in metrics, JSON and the record.
    pub fn word(self) -> &'static str {
        match self {
            Self::Used => "used",
            Self::Model => "model",
            Self::Baseline => "baseline",
            Self::Challenger => "challenger",
            Self::Mixed => "mixed",
        }
    }
}

/// Watts by horizon and quantile, small enough to keep half a minute of a thousand racks.
type Said = [[f32; QUANTILES.len()]; HORIZONS_S.len()];

#[derive(Debug, Clone, Copy, Default)]
struct Row {
    second: u64,
    said: [Option<Said>; Method::ALL.len()],
}

#[derive(Debug, Clone)]
struct RackScore {
    nameplate: Watts,
    margins: Margins,
    rows: Vec<Row>,
    /// The last second whose outcome was looked at.
    done: u64,
}

/// Tallies by horizon, taken over three spans.
#[derive(Debug, Clone, Default)]
struct Tallies {
    model: Option<String>,
    total: Vec<Tally>,
    recent: Vec<Tally>,
    /// Since the challenger began.
    duel: Vec<Tally>,
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Scorer {
    racks: BTreeMap<RackId, RackScore>,
    methods: [Tallies; Method::ALL.len()],
    /// Whether anything was ever said by the mix.
    mixes: bool,
    faded: Option<UnixMs>,
}

/// Pinball (quantile) loss: least on average at the true quantile (Koenker and Bassett, "Regression
/// Quantiles", Econometrica 46, 1978).
pub fn pinball(quantile: f64, outcome: f64, predicted: f64) -> f64 {
    let missed = outcome - predicted;
    (quantile * missed).max((quantile - 1.0) * missed)
}

fn fresh() -> Vec<Tally> {
    vec![Tally { covered: vec![0.0; QUANTILES.len()], ..Tally::default() }; HORIZONS_S.len()]
}

fn fits(tallies: &[Tally]) -> bool {
    let sound = |t: &Tally| {
        let numbers = [t.outcomes, t.absolute_watts, t.pinball_watts];
        t.covered.len() == QUANTILES.len() && numbers.iter().chain(&t.covered).all(|n| n.is_finite() && *n >= 0.0)
    };
    tallies.len() == HORIZONS_S.len() && tallies.iter().all(sound)
}

impl Scorer {
    /// For these racks with their nameplates; nothing is known yet.
    pub fn new(racks: impl IntoIterator<Item = (RackId, Watts)>) -> Self {
        let fresh_rack =
            |nameplate| RackScore { nameplate, margins: Margins::default(), rows: vec![Row::default(); ROWS], done: 0 };
        let tallies = Tallies { model: None, total: fresh(), recent: fresh(), duel: fresh() };
        Self {
            racks: racks.into_iter().map(|(rack, nameplate)| (rack, fresh_rack(nameplate))).collect(),
            methods: std::array::from_fn(|_| tallies.clone()),
            mixes: false,
            faded: None,
        }
    }

    /// Goes on from where an earlier run stood. What was taken at other horizons or quantiles is left
    /// out; a model's tallies count only while [`Scorer::name`] names the same one.
    pub fn restore(&mut self, score: &Score) {
        if score.horizons_s != HORIZONS_S || score.quantiles != QUANTILES {
            return;
        }
        for (rack, shares) in &score.margins {
            if let Some(known) = self.racks.get_mut(rack) {
                known.margins = Margins::from_shares(shares);
            }
        }
        for method in [Method::Used, Method::Model, Method::Baseline, Method::Mixed] {
            let old = score.methods.iter().find(|m| m.method == method.word());
            if let Some(old) = old.filter(|m| fits(&m.total) && fits(&m.recent)) {
                let tallies = &mut self.methods[method as usize];
                tallies.model.clone_from(&old.model);
                tallies.total.clone_from(&old.total);
                tallies.recent.clone_from(&old.recent);
            }
        }
        self.faded = Some(score.at);
    }

    /// Says which model a method is; another one than before starts anew. A challenger that comes or
    /// goes starts the comparison anew for all.
    pub fn name(&mut self, method: Method, model: Option<String>) {
        if self.methods[method as usize].model == model {
            return;
        }
        self.methods[method as usize] = Tallies { model, total: fresh(), recent: fresh(), duel: fresh() };
        self.methods.iter_mut().for_each(|m| m.duel = fresh());
    }

    /// The Forecast with this rack's margins.
    pub fn widen(&self, rack: &RackId, values: &[Vec<Watts>]) -> Vec<Vec<Watts>> {
        match self.racks.get(rack) {
            Some(known) => known.margins.widen(values, known.nameplate),
            None => values.to_vec(),
        }
    }

    /// The largest margin of a rack's quantile (by index) at horizons up to `within_s`.
    pub fn margin(&self, rack: &RackId, quantile: usize, within_s: f64) -> Option<Watts> {
        let known = self.racks.get(rack)?;
        let near = (0..HORIZONS_S.len()).filter(|h| f64::from(HORIZONS_S[*h]) <= within_s);
        let most = near.map(|h| known.margins.share(h, quantile)).fold(0.0, f64::max);
        Some(known.nameplate * most)
    }

    /// Keeps what a method said at a time; said again within the same second it replaces the first.
    pub fn say(&mut self, method: Method, rack: &RackId, at: UnixMs, values: &[impl AsRef<[Watts]>]) {
        let Some(known) = self.racks.get_mut(rack) else { return };
        let lawful = values.len() == HORIZONS_S.len() && values.iter().all(|row| row.as_ref().len() == QUANTILES.len());
        let second = at.get() / 1000;
        if !lawful || second <= known.done.saturating_sub(ROWS as u64) {
            return;
        }
        let row = &mut known.rows[second as usize % ROWS];
        if row.second != second {
            *row = Row { second, ..Row::default() };
        }
        self.mixes |= method == Method::Mixed;
        row.said[method as usize] =
            Some(std::array::from_fn(|h| std::array::from_fn(|q| values[h].as_ref()[q].get() as f32)));
    }

    /// Looks at what came in every second that is over by `at` and was not looked at before.
    pub fn came(&mut self, rack: &RackId, history: &History, at: UnixMs) {
        let Some(known) = self.racks.get_mut(rack) else { return };
        let end = at.get() / 1000;
        let oldest = end.saturating_sub(WINDOW_S as u64);
        // A clock that was set back: what lies ahead of it now was looked at already.
        let from = if known.done > end { end } else { known.done + 1 };
        let expected = Method::ALL.map(|method| match method {
            Method::Used => false,
            Method::Baseline => true,
            Method::Mixed => self.mixes,
            Method::Model | Method::Challenger => self.methods[method as usize].model.is_some(),
        });
        for second in from.max(oldest)..end {
            let Some(power) = history.power_at(second) else { continue };
            for (h, horizon) in HORIZONS_S.iter().enumerate() {
                let Some(made) = second.checked_sub(u64::from(*horizon)) else { continue };
                let row = known.rows[made as usize % ROWS];
                if row.second != made {
                    continue;
                }
                if let Some(said) = &row.said[Method::Used as usize] {
                    for (q, issued) in said[h].iter().enumerate() {
                        known.margins.observe(h, q, power.get() as f32 > *issued);
                    }
                    count(&mut self.methods[Method::Used as usize], h, &said[h], power);
                }
                let all = expected.iter().zip(&row.said).all(|(expected, said)| !expected || said.is_some());
                for i in (0..expected.len()).filter(|i| all && expected[*i]) {
                    let said = row.said[i].expect("invariant: just looked");
                    count(&mut self.methods[i], h, &said[h], power);
                }
            }
        }
        known.done = end.saturating_sub(1);
    }

    /// Lets the recent tallies fade to `at`.
    pub fn fade(&mut self, at: UnixMs) {
        let Some(before) = self.faded.replace(at) else { return };
        let passed_s = at.get().saturating_sub(before.get()) as f64 / 1000.0;
        let keep = (-passed_s / RECENT_S).exp();
        for tally in self.methods.iter_mut().flat_map(|m| &mut m.recent) {
            tally.outcomes *= keep;
            tally.absolute_watts *= keep;
            tally.pinball_watts *= keep;
            tally.covered.iter_mut().for_each(|c| *c *= keep);
        }
    }

    /// Everything, to keep. Methods without an outcome are left out.
    pub fn score(&self, at: UnixMs) -> Score {
        let margins = self.racks.iter().map(|(rack, known)| (rack.clone(), known.margins.shares())).collect();
        Score { margins, ..self.tallied(at) }
    }

    /// As [`Scorer::score`] without the racks' margins.
    pub fn tallied(&self, at: UnixMs) -> Score {
        let methods = Method::ALL.into_iter().filter_map(|method| {
            let tallies = &self.methods[method as usize];
            tallies.total.iter().any(|t| t.outcomes > 0.0).then(|| MethodScore {
                method: method.word().to_owned(),
                model: tallies.model.clone(),
                total: tallies.total.clone(),
                recent: tallies.recent.clone(),
            })
        });
        Score {
            at,
            horizons_s: HORIZONS_S.to_vec(),
            quantiles: QUANTILES.to_vec(),
            methods: methods.collect(),
            margins: Vec::new(),
        }
    }

    /// A method's fading tallies by horizon.
    pub fn recent(&self, method: Method) -> &[Tally] {
        &self.methods[method as usize].recent
    }

    /// A method's tallies by horizon since the challenger began.
    pub fn duel(&self, method: Method) -> &[Tally] {
        &self.methods[method as usize].duel
    }
}

fn count(tallies: &mut Tallies, h: usize, said: &[f32; QUANTILES.len()], power: Watts) {
    let outcome = power.get() as f32;
    let absolute = f64::from((outcome - said[0]).abs());
    let loss = QUANTILES.iter().zip(said).map(|(q, v)| pinball(*q, f64::from(outcome), f64::from(*v))).sum::<f64>()
        / QUANTILES.len() as f64;
    for tally in [&mut tallies.total[h], &mut tallies.recent[h], &mut tallies.duel[h]] {
        tally.outcomes += 1.0;
        tally.absolute_watts += absolute;
        tally.pinball_watts += loss;
        for (covered, value) in tally.covered.iter_mut().zip(said) {
            *covered += f64::from(u8::from(outcome <= *value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Sample;

    fn rack() -> RackId {
        RackId::new("rack-1").unwrap()
    }

    fn flat(watts: f64, spread: f64) -> Vec<Vec<Watts>> {
        vec![[watts, watts + spread, watts + 2.0 * spread].map(Watts::new).to_vec(); HORIZONS_S.len()]
    }

    /// A minute at which `said` is called each second and `power` comes.
    fn play(
        scorer: &mut Scorer,
        seconds: std::ops::Range<u64>,
        power: impl Fn(u64) -> Option<f64>,
        said: impl Fn(&mut Scorer, UnixMs),
    ) {
        let mut history = History::new(Watts::new(1000.0));
        for second in seconds {
            let at = UnixMs::new(second * 1000 + 300);
            history.push(at, Sample { power: power(second).map(Watts::new), ..Sample::default() });
            said(scorer, at);
            scorer.came(&rack(), &history, at);
            scorer.fade(at);
        }
    }

    fn named(score: &Score, method: Method) -> Option<&MethodScore> {
        score.methods.iter().find(|m| m.method == method.word())
    }

    #[test]
    fn a_forecast_is_held_against_the_second_it_was_made_for() {
        let mut scorer = Scorer::new([(rack(), Watts::new(1000.0))]);
        let truth = |s: u64| 100.0 + s as f64;
        // Right for one second ahead, 1 W a second too low beyond.
        play(
            &mut scorer,
            1000..1100,
            |s| Some(truth(s)),
            |scorer, at| {
                scorer.say(Method::Used, &rack(), at, &flat(truth(at.get() / 1000 + 1), 2.0));
            },
        );
        let score = scorer.score(UnixMs::new(0));
        let used = named(&score, Method::Used).unwrap();
        for (tally, horizon) in used.total.iter().zip(HORIZONS_S) {
            assert_eq!(tally.outcomes, f64::from(100 - 1 - horizon), "{horizon} s");
            assert!((tally.mae_watts().unwrap() - f64::from(horizon - 1)).abs() < 1e-3);
            let covered = [horizon <= 1, horizon <= 3, horizon <= 5].map(|c| f64::from(u8::from(c)));
            assert_eq!(tally.coverage().unwrap(), covered, "{horizon} s");
        }
        assert!(named(&score, Method::Baseline).is_none(), "it said nothing");
    }

    #[test]
    fn an_unknown_outcome_counts_for_nothing() {
        let mut scorer = Scorer::new([(rack(), Watts::new(1000.0))]);
        play(
            &mut scorer,
            1000..1100,
            |s| (s % 2 == 0).then_some(900.0),
            |scorer, at| {
                scorer.say(Method::Used, &rack(), at, &flat(100.0, 1.0));
            },
        );
        let tally = &scorer.recent(Method::Used)[0];
        assert!((48.0..=50.0).contains(&tally.outcomes), "{tally:?}");
        let margin = scorer.margin(&rack(), 2, 3.0).unwrap();
        assert!((margin.get() - 1000.0 * 0.0099 * 49.0).abs() < 10.0, "{margin}");
    }

    #[test]
    fn methods_are_compared_on_the_same_outcomes_only() {
        let mut scorer = Scorer::new([(rack(), Watts::new(1000.0))]);
        scorer.name(Method::Model, Some("m".into()));
        play(
            &mut scorer,
            1000..1100,
            |_| Some(500.0),
            |scorer, at| {
                scorer.say(Method::Baseline, &rack(), at, &flat(500.0, 1.0));
                if at.get() / 1000 % 4 == 0 {
                    scorer.say(Method::Model, &rack(), at, &flat(400.0, 1.0));
                }
            },
        );
        let outcomes = |method| scorer.recent(method)[0].outcomes;
        assert_eq!(outcomes(Method::Model), outcomes(Method::Baseline));
        assert!(outcomes(Method::Model) < 26.0);
    }

    #[test]
    fn the_mix_is_held_against_the_others_on_the_same_outcomes() {
        let mut scorer = Scorer::new([(rack(), Watts::new(1000.0))]);
        scorer.name(Method::Model, Some("m".into()));
        play(
            &mut scorer,
            1000..1100,
            |_| Some(500.0),
            |scorer, at| {
                scorer.say(Method::Baseline, &rack(), at, &flat(500.0, 1.0));
                scorer.say(Method::Model, &rack(), at, &flat(400.0, 1.0));
                if at.get() / 1000 % 2 == 0 {
                    scorer.say(Method::Mixed, &rack(), at, &flat(450.0, 1.0));
                }
            },
        );
        let [mixed, model] = [Method::Mixed, Method::Model].map(|method| scorer.recent(method)[0].clone());
        assert!(mixed.outcomes == model.outcomes && (45.0..55.0).contains(&mixed.outcomes), "{mixed:?} {model:?}");
        assert!((mixed.mae_watts().unwrap() - 50.0).abs() < 1e-3);
    }

    #[test]
    fn a_restart_goes_on_from_the_record_and_another_model_starts_anew() {
        let say = |scorer: &mut Scorer, at| {
            for method in [Method::Used, Method::Model, Method::Baseline] {
                scorer.say(method, &rack(), at, &flat(100.0, 1.0));
            }
        };
        let begin = || Scorer::new([(rack(), Watts::new(1000.0))]);
        let mut before = begin();
        before.name(Method::Model, Some("m/1".into()));
        play(&mut before, 1000..1100, |_| Some(110.0), say);
        let kept = before.score(UnixMs::new(1_100_000));
        let mut after = begin();
        after.restore(&kept);
        after.name(Method::Model, Some("m/1".into()));
        assert_eq!(after.score(UnixMs::new(1_100_000)), kept);
        after.name(Method::Model, Some("m/2".into()));
        let score = after.score(UnixMs::new(1_100_000));
        assert!(named(&score, Method::Model).is_none() && named(&score, Method::Used).is_some());
        // Kept by a program with other horizons: nothing of it fits.
        let mut other = begin();
        other.restore(&Score { horizons_s: vec![1, 60], ..kept });
        assert!(other.score(UnixMs::new(0)).methods.is_empty());
    }

    #[test]
    fn recent_tallies_fade_and_totals_do_not() {
        let mut scorer = Scorer::new([(rack(), Watts::new(1000.0))]);
        play(
            &mut scorer,
            1000..1100,
            |_| Some(110.0),
            |scorer, at| {
                scorer.say(Method::Used, &rack(), at, &flat(100.0, 1.0));
            },
        );
        let before = scorer.recent(Method::Used)[0].clone();
        scorer.fade(UnixMs::new(1_099_300 + 3_600_000));
        let after = &scorer.recent(Method::Used)[0];
        assert!((after.outcomes / before.outcomes - (-1.0_f64).exp()).abs() < 1e-3);
        assert!((after.mae_watts().unwrap() - before.mae_watts().unwrap()).abs() < 1e-6);
        let score = scorer.score(UnixMs::new(0));
        assert_eq!(named(&score, Method::Used).unwrap().total[0].outcomes, 98.0);
    }

    #[test]
    fn a_clock_set_back_or_far_ahead_neither_counts_twice_nor_panics() {
        let mut scorer = Scorer::new([(rack(), Watts::new(1000.0))]);
        let say = |scorer: &mut Scorer, at| scorer.say(Method::Used, &rack(), at, &flat(100.0, 1.0));
        for range in [1000..1050, 500..550, 9_000_000..9_000_050, 0..40] {
            play(&mut scorer, range, |_| Some(90.0), say);
        }
        let score = scorer.score(UnixMs::new(0));
        let outcomes = named(&score, Method::Used).unwrap().total[0].outcomes;
        assert!((150.0..=190.0).contains(&outcomes), "{outcomes}");
    }
}
