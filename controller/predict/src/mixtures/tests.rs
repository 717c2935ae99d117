//! What the Forecasts of a site must hold to, with the shipped model and without one.

use super::*;
use crate::Sample;
use proptest::prelude::*;

const NAMEPLATE: Watts = Watts::new(7300.0);

fn rack() -> RackId {
    RackId::new("rack-1").unwrap()
}

fn sample(watts: f64) -> Sample {
    Sample { power: Some(Watts::new(watts)), limit: Some(Watts::new(5600.0)), utilization: Some(0.7) }
}

/// A job of 28 s at 5.2 kW and 19 s at 1.8 kW.
fn job(second: u64) -> f64 {
    if second % 47 < 28 { 5200.0 } else { 1800.0 }
}

/// One rack and what is asked of it, second by second.
struct One<'a> {
    mixtures: Mixtures,
    history: History,
    model: Result<&'a Predictor, &'a str>,
}

impl<'a> One<'a> {
    fn new(model: Result<&'a Predictor, &'a str>) -> Self {
        Self { mixtures: Mixtures::default(), history: History::new(NAMEPLATE), model }
    }

    fn at(&mut self, second: u64, sample: Option<Sample>) -> Spoken {
        let at = UnixMs::new(second * 1000 + 400);
        if let Some(sample) = sample {
            self.history.push(at, sample);
        }
        self.mixtures.forecast(self.model, &[(&rack(), &self.history)], at).remove(0)
    }

    fn mixture(&self) -> &Mixture {
        &self.mixtures.racks[0].1.mixture
    }
}

fn alike(a: &[impl AsRef<[Watts]>], b: &[impl AsRef<[Watts]>]) -> bool {
    a.iter().flat_map(AsRef::as_ref).zip(b.iter().flat_map(AsRef::as_ref)).all(|(a, b)| (*a - *b).get().abs() < 0.01)
}

#[test]
fn the_model_speaks_alone_until_enough_has_come_true_and_then_a_cycle_is_known() {
    let predictor = Predictor::embedded().unwrap();
    let mut one = One::new(Ok(&predictor));
    let (mut ours, mut alone) = (0.0, 0.0);
    for second in 1000..1700 {
        let spoken = one.at(second, Some(sample(job(second))));
        let Some(model) = spoken.model else { continue };
        if second < 1020 {
            assert!(alike(&model, &spoken.forecast.values), "{second}");
        }
        if second >= 1350 {
            let came = job(second + 10);
            ours += (spoken.forecast.values[3][0].get() - came).abs();
            alone += (model[3][0].get() - came).abs();
        }
        assert_eq!(spoken.forecast.source, Source::Model(predictor.name().to_owned()));
    }
    assert!(ours < 0.5 * alone, "{ours} {alone}");
}

#[test]
fn without_a_model_the_baseline_leads_and_its_reason_is_told() {
    let mut one = One::new(Err("it drifted"));
    let spoken = one.at(1000, Some(sample(4000.0)));
    assert!(alike(&spoken.forecast.values, &baseline::values(&one.history)));
    assert_eq!((spoken.model, spoken.forecast.source), (None, Source::Baseline("it drifted".to_owned())));
}

#[test]
fn the_same_moment_asked_twice_says_the_same_and_teaches_once() {
    let predictor = Predictor::embedded().unwrap();
    let mut one = One::new(Ok(&predictor));
    (1000..1200).for_each(|second| drop(one.at(second, Some(sample(job(second))))));
    let first = one.at(1200, None);
    let pools = one.mixture().pools().to_vec();
    assert_eq!(one.at(1200, None), first);
    assert_eq!(one.mixture().pools(), pools);
}

#[test]
fn a_rack_unknown_for_longer_than_2_s_gets_the_baseline_alone_and_after_a_minute_its_run_is_forgotten() {
    let mut one = One::new(Err("no model"));
    (1000..1400).for_each(|second| drop(one.at(second, Some(sample(job(second))))));
    let mixed = one.at(1401, None).forecast.values;
    assert!(!alike(&mixed, &baseline::values(&one.history.until(UnixMs::new(1_401_400)))));
    let silent = one.at(1402, None).forecast.values;
    assert!(silent.iter().flatten().all(|w| *w == NAMEPLATE), "{silent:?}");
    // What was learnt of the forecasts stays, what the job did does not.
    let pools = one.mixture().pools().to_vec();
    (1403..1470).for_each(|second| drop(one.at(second, None)));
    let back = one.at(1470, Some(sample(7000.0))).forecast.values;
    assert!(back.iter().all(|row| row[0] == Watts::new(7000.0)), "{back:?}");
    assert_eq!(one.mixture().pools(), pools);
}

#[test]
fn outside_the_trained_range_no_upper_quantile_is_below_the_baselines() {
    let predictor = Predictor::embedded().unwrap();
    let mut one = One::new(Ok(&predictor));
    let mut outside = 0;
    for second in 1000..2400 {
        // Twice the nameplate now and then: nothing the model was trained on.
        let watts = if second % 200 > 150 { 14_600.0 } else { job(second) };
        let spoken = one.at(second, Some(sample(watts)));
        let reactive = baseline::values(&one.history);
        let pairs = || spoken.forecast.values.iter().zip(&reactive);
        let held = pairs().all(|(row, reactive)| (1..3).all(|q| row[q] + Watts::new(0.01) >= reactive[q]));
        assert!(!spoken.outside || held, "{second}: {spoken:?}");
        outside += u32::from(spoken.outside);
    }
    assert!(outside > 50, "{outside}");
}

#[test]
fn a_clock_set_back_or_ahead_begins_a_new_run() {
    let mut one = One::new(Err("no model"));
    for range in [5000..5100, 4000..4010, 900_000..900_005, 0..3] {
        range.clone().for_each(|second| drop(one.at(second, Some(sample(4000.0)))));
        assert_eq!(one.mixtures.racks[0].1.next, range.end);
    }
}

#[test]
fn racks_that_are_not_asked_for_are_let_go() {
    let mut mixtures = Mixtures::default();
    let history = History::new(NAMEPLATE);
    let ids = ["a", "b", "c"].map(|id| RackId::new(id).unwrap());
    let all: Vec<(&RackId, &History)> = ids.iter().map(|id| (id, &history)).collect();
    mixtures.forecast(Err("no model"), &all, UnixMs::new(1000));
    mixtures.forecast(Err("no model"), &all[1..], UnixMs::new(2000));
    assert_eq!(mixtures.racks.iter().map(|(id, _)| id).collect::<Vec<_>>(), [&ids[1], &ids[2]]);
}

#[test]
fn in_another_order_each_rack_keeps_what_was_learnt_of_it() {
    let (mut mixtures, mut other) = (Mixtures::default(), Mixtures::default());
    let ids = ["a", "b", "c"].map(|id| RackId::new(id).unwrap());
    let mut histories = [0, 1, 2].map(|_| History::new(NAMEPLATE));
    for second in 1000..1200 {
        let at = UnixMs::new(second * 1000 + 400);
        for (i, history) in histories.iter_mut().enumerate() {
            history.push(at, sample(job(second + 9 * i as u64)));
        }
        let mut all: Vec<(&RackId, &History)> = ids.iter().zip(&histories).collect();
        let mut straight = other.forecast(Err("no model"), &all, at);
        all.rotate_left(second as usize % 3);
        straight.rotate_left(second as usize % 3);
        assert_eq!(mixtures.forecast(Err("no model"), &all, at), straight, "{second}");
    }
}

#[test]
fn a_large_site_is_told_the_same_as_each_part_of_it_alone() {
    let predictor = Predictor::embedded().unwrap();
    let ids: Vec<RackId> = (0..2 * TOGETHER + 40).map(|i| RackId::new(format!("r{i}")).unwrap()).collect();
    let mut histories = vec![History::new(NAMEPLATE); ids.len()];
    let (mut whole, mut parts) = (Mixtures::default(), [0, 1, 2].map(|_| Mixtures::default()));
    for second in 1000..1090 {
        let at = UnixMs::new(second * 1000 + 400);
        for (i, history) in histories.iter_mut().enumerate() {
            history.push(at, sample(job(second + i as u64)));
        }
        let all: Vec<(&RackId, &History)> = ids.iter().zip(&histories).collect();
        let alone = parts
            .iter_mut()
            .zip(all.chunks(TOGETHER))
            .flat_map(|(part, racks)| part.forecast(Ok(&predictor), racks, at));
        assert!(whole.forecast(Ok(&predictor), &all, at).into_iter().eq(alone), "{second}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn whatever_a_rack_does_quantiles_rise_and_lie_between_zero_and_what_it_can_draw(
        samples in prop::collection::vec((prop::option::weighted(0.9, 0.0..9000.0f64), 0..4u64), 100..400),
    ) {
        let predictor = Predictor::embedded().unwrap();
        let mut one = One::new(Ok(&predictor));
        let mut second = 1000;
        for (watts, step) in samples {
            second += step;
            let spoken = one.at(second, watts.map(sample));
            let top = one.history.samples().filter_map(|s| s.power).fold(NAMEPLATE, Watts::max);
            for row in &spoken.forecast.values {
                prop_assert!(row.is_sorted() && row.iter().all(|w| *w >= Watts::ZERO && *w <= top), "{row:?}");
            }
        }
    }
}
