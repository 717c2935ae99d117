//! The model: networks, each judged on a run that it has not learnt from, and pools ([`super::experts`]) that have learnt on those runs whom to
//! trust and go on learning on the run that is forecast.

use super::experts::{self, Known, NAMES, Outside};
use super::features::{FEATURES, Window};
use super::net::{ANSWERS, MeanAndQuantiles, Swing};
use super::reference::Reference;
use super::trace::Trace;
use super::windows::{Windows, at_speed};
use super::{HISTORY, HORIZONS, HORIZONS_S, QUANTILES};
use crate::chance::Chance;
use crate::engine::{self, Columns, Device, Job, Plan, Rows, Source, Trainer, Workers, layer::Init};
use crate::progress::Progress;
use crate::stop::Stop;
use anyhow::{Result, anyhow};
use burn::module::AutodiffModule;
use burn::tensor::backend::AutodiffBackend;
use headroom_predict::mixture::{Mixture, Others, Said, Shape};
use headroom_predict::pool::{Pool, Present, State};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Other speeds at which each run is learnt as well, from 0.4 to 2.5.
const SPEEDS: usize = 6;
/// Steps between windows to learn from.
const STRIDE: usize = 6;
/// Steps between windows for the baselines.
const REFERENCE_STRIDE: usize = 3;
/// Passes over the windows.
const EPOCHS: usize = 16;
/// Highest learning rate.
const RATE: f64 = 2e-3;
/// Weight decay.
const DECAY: f64 = 1e-2;
/// Normalised features beyond this count as this.
const FAR: f32 = 4.0;

/// A network's weights and the scale of its features.
#[derive(Debug, Clone)]
struct Member {
    weights: Vec<Vec<f32>>,
    columns: Columns,
}

/// See the module.
#[derive(Debug)]
pub struct Model {
    members: Vec<Member>,
    known: Known,
    shape: Arc<Shape>,
    pools: Vec<Pool>,
}

/// Last value and linear map, on all of the training runs.
///
/// # Errors
/// The linear map cannot be solved for.
pub fn references<'a>(traces: impl IntoIterator<Item = &'a Trace>) -> Result<(Reference, Reference)> {
    let mut windows = Windows::default();
    traces.into_iter().for_each(|trace| windows.add(trace.clone(), REFERENCE_STRIDE));
    Ok((Reference::persistence(&windows), Reference::linear(&windows)?))
}

/// Traces to learn from and one to judge on, in every way: each run once, or the end of the only one.
fn folds(train: &[Trace]) -> Vec<(Vec<Trace>, Trace)> {
    if let [only] = train {
        let (border, end) = (only.power.len() * 2 / 3, only.power.len());
        let part = |from, to| Trace { power: only.power[from..to].to_vec(), known: only.known[from..to].to_vec() };
        return vec![(vec![part(0, border)], part(border, end))];
    }
    let others = |i| train.iter().enumerate().filter(move |(j, _)| *j != i).map(|(_, trace)| trace.clone());
    (0..train.len()).map(|i| (others(i).collect(), train[i].clone())).collect()
}

impl Model {
    /// Learns from runs.
    ///
    /// # Errors
    /// A training fails or is stopped.
    pub fn learn(train: &[Trace], seed: u64, device: &Device, stop: &Stop) -> Result<Self> {
        let mut members = Vec::new();
        let shape = Arc::new(experts::shape());
        let mut pools = shape.equal();
        let folds = folds(train);
        let runs = folds.len();
        for (number, (seen, unseen)) in folds.into_iter().enumerate() {
            let name = format!("seed {seed}  network {}", number + 1);
            let member = engine::on(
                device,
                Fit { seen: &seen, unseen: &unseen, seed: seed * 1000 + number as u64, stop, name },
            )?;
            let mut windows = Windows::default();
            windows.add(unseen, 1);
            let all = forecasts(&known(&seen)?, std::slice::from_ref(&member), &windows, device)?;
            let mut mixture = Mixture::new(Arc::clone(&shape), Others::default(), pools);
            play(&mut mixture, &windows, &all);
            pools = mixture.into_pools();
            members.push(member);
        }
        // All other runs together count as one.
        pools.iter_mut().for_each(|pool| pool.discount(1.0 / runs as f64));
        Ok(Self { members, known: known(train)?, shape, pools })
    }

    /// What is said in all windows of one run, in order and by horizon, each from what has come true by then; and the shares of the forecasts
    /// at its end.
    ///
    /// # Errors
    /// The device cannot be used.
    pub fn answers(&self, windows: &Windows, device: &Device) -> Result<(Vec<Vec<Said>>, Value)> {
        let all = forecasts(&self.known, &self.members, windows, device)?;
        let others = Others { ceiling: self.known.top(), highest: self.known.highest };
        let mut mixture = Mixture::new(Arc::clone(&self.shape), others, self.pools.clone());
        let said = play(&mut mixture, windows, &all);
        let rounded = |share: f64| (share * 1e3).round() / 1e3;
        let shares = |pool: &Pool, state| {
            let shares = pool.shares(Present::all(NAMES.len()).in_state(state));
            shares.into_iter().map(rounded).collect::<Vec<f64>>()
        };
        let in_state = |state| {
            let shares: Vec<Vec<f64>> = mixture.pools().iter().map(|pool| shares(pool, state)).collect();
            json!(shares.chunks(self.shape.targets()).collect::<Vec<_>>())
        };
        let states: Map<String, Value> =
            State::ALL.map(|state| (format!("{state:?}").to_lowercase(), in_state(state))).into_iter().collect();
        let kinds: Vec<String> = std::iter::once("mean".to_owned()).chain(QUANTILES.map(|q| q.to_string())).collect();
        Ok((said, json!({"of": NAMES, "kinds": kinds, "horizons_s": HORIZONS_S, "at_end_by_state": states})))
    }
}

/// Plays all windows of one run.
fn play(mixture: &mut Mixture, windows: &Windows, outside: &[Outside]) -> Vec<Vec<Said>> {
    let rows = outside.iter().map(|window| window.iter().map(|forecast| forecast.as_flattened()));
    experts::play(mixture, windows.run(), HISTORY - 1, rows)
}

/// What some runs tell without a network.
fn known(traces: &[Trace]) -> Result<Known> {
    let (persistence, linear) = references(traces)?;
    let (overall, highest) = Known::overall(traces);
    Ok(Known { persistence, linear, overall, highest })
}

/// All forecasts of all windows.
fn forecasts(known: &Known, members: &[Member], windows: &Windows, device: &Device) -> Result<Vec<Outside>> {
    let answers = engine::on(device, Answers { members, windows })?;
    Ok(answers.iter().enumerate().map(|(i, answers)| known.forecasts(windows, i, answers)).collect())
}

/// Features and targets of all windows whose outcomes are all known.
fn rows(traces: &[Trace], seed: u64) -> Rows {
    let mut rows = Rows::new(FEATURES, HORIZONS);
    let mut chance = Chance::new(seed, "speeds");
    for trace in traces {
        let mut windows = Windows::default();
        windows.add(trace.clone(), STRIDE);
        for i in 0..SPEEDS {
            let place = (i as f64 + 0.5) / SPEEDS as f64 * 2.0 - 1.0;
            let factor = (place * 3.0_f64.ln() + chance.between(-0.1, 0.1)).exp();
            windows.add(at_speed(trace, factor), STRIDE);
        }
        for i in 0..windows.len() {
            let Some(outcomes) = windows.all_outcomes(i) else { continue };
            let window = Window::of(windows.values(i));
            rows.push(&window.features, &outcomes.map(|outcome| (outcome - window.last) / window.unit));
        }
    }
    rows
}

fn normalise(columns: &Columns, inputs: &mut [f32]) {
    columns.normalise(inputs);
    inputs.iter_mut().for_each(|v| *v = v.clamp(-FAR, FAR));
}

/// Trains one network.
struct Fit<'a> {
    seen: &'a [Trace],
    unseen: &'a Trace,
    seed: u64,
    stop: &'a Stop,
    name: String,
}

impl Job for Fit<'_> {
    type Out = Member;

    fn run<B: AutodiffBackend>(self, workers: &Workers<B::Device>) -> Result<Member> {
        let (mut train, mut unseen) = (rows(self.seen, self.seed), rows(std::slice::from_ref(self.unseen), self.seed));
        let columns = Columns::of(&train.inputs, FEATURES);
        normalise(&columns, &mut train.inputs);
        normalise(&columns, &mut unseen.inputs);
        let plan = Plan {
            epochs: EPOCHS,
            rate: RATE,
            weight_decay: DECAY,
            seed: self.seed,
            clip: Some(engine::Clip::Norm(1.0)),
            ..Plan::default()
        };
        let mut progress = Progress::new(plan.steps(train.rows()) * EPOCHS, 0).stopped_by(self.stop).named(&self.name);
        let network = Swing::<B>::new(&mut Init::new(self.seed, workers.main()));
        let mut trainer = Trainer::<B, _>::new(network, plan, workers);
        trainer.fit(&train, Some(&unseen), &MeanAndQuantiles, &mut progress)?;
        Ok(Member { weights: trainer.best().to_vec(), columns })
    }
}

/// Mean answers of some members to all windows.
struct Answers<'a> {
    members: &'a [Member],
    windows: &'a Windows,
}

impl Job for Answers<'_> {
    type Out = Vec<Vec<f32>>;

    fn run<B: AutodiffBackend>(self, workers: &Workers<B::Device>) -> Result<Vec<Vec<f32>>> {
        let n = self.windows.len();
        let mut sums = vec![0.0; n * HORIZONS * ANSWERS];
        for member in self.members {
            let mut inputs = Rows::new(FEATURES, HORIZONS);
            (0..n).for_each(|i| inputs.push(&Window::of(self.windows.values(i)).features, &[0.0; HORIZONS]));
            normalise(&member.columns, &mut inputs.inputs);
            let network = Swing::<B>::new(&mut Init::new(0, workers.main()));
            let network = engine::restore(network, &member.weights).map_err(|why| anyhow!("{why}"))?;
            let answers = engine::predict(&network.valid(), &inputs, workers);
            sums.iter_mut().zip(answers).for_each(|(sum, answer)| *sum += answer / self.members.len() as f32);
        }
        Ok(sums.chunks_exact(HORIZONS * ANSWERS).map(<[f32]>::to_vec).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::power::HISTORY;

    /// Pulses of 4 s in 10 s, with a little noise.
    fn pulses(seed: u64, n: usize) -> Trace {
        let mut chance = Chance::new(seed, "pulses");
        let shift = chance.below(100);
        let level = |i: usize| if (i + shift) % 100 < 40 { 4000.0 } else { 1000.0 };
        let power: Vec<f32> = (0..n).map(|i| level(i) + chance.between(-50.0, 50.0) as f32).collect();
        Trace { known: vec![true; n], power }
    }

    #[test]
    fn a_run_with_a_period_is_forecast_better_than_by_the_last_value() {
        let train = [pulses(1, 1500), pulses(2, 1500)];
        let device = "cpu:1".parse().unwrap();
        let model = Model::learn(&train, 1, &device, &Stop::default()).unwrap();
        let mut windows = Windows::default();
        windows.add(pulses(3, 1500), 1);
        let (answers, _) = model.answers(&windows, &device).unwrap();
        let error = |pick: &dyn Fn(usize) -> f32, h: usize| -> f32 {
            let known = (0..windows.len()).filter_map(|i| windows.outcomes(i)[h].map(|o| (pick(i) - o).abs()));
            let all: Vec<f32> = known.collect();
            all.iter().sum::<f32>() / all.len() as f32
        };
        for h in [1, 2] {
            let (own, last) =
                (error(&|i| answers[i][h].quantiles[0], h), error(&|i| windows.values(i)[HISTORY - 1], h));
            // Ten seconds later is one period later: there the last value is as good as any.
            assert!(if h == 1 { own < 0.5 * last } else { own < last + 30.0 }, "{h}: {own} {last}");
        }
        assert!(answers.iter().flatten().all(|said| said.quantiles.is_sorted()));
    }

    #[test]
    fn every_run_is_unseen_once_and_a_single_one_is_cut() {
        let runs = [pulses(1, 700), pulses(2, 700), pulses(3, 700)];
        let all = folds(&runs);
        assert!(
            all.len() == 3 && all.iter().zip(&runs).all(|((seen, unseen), run)| unseen == run && !seen.contains(run))
        );
        let one = folds(&runs[..1]);
        assert_eq!((one.len(), one[0].0[0].power.len() + one[0].1.power.len()), (1, 700));
    }
}
