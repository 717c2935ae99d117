//! What the mixture of one series must hold to.

use super::*;

/// The mean and three quantiles.
const TARGETS: usize = 4;

fn shape(outside: usize) -> Arc<Shape> {
    Arc::new(Shape {
        rate_hz: 1.0,
        horizons_s: vec![1, 5, 30],
        mean: true,
        quantiles: QUANTILES,
        medians_s: vec![3.0],
        levels_s: vec![5.0, 60.0],
        outside,
        young_s: 0.0,
        sides: Sides::Upper,
    })
}

/// Equal shares at first.
fn mixture(outside: usize) -> Mixture {
    let shape = shape(outside);
    Mixture::new(Arc::clone(&shape), Others { ceiling: 1e5, highest: 0.0 }, shape.equal())
}

/// One forecast from outside: this value for all.
fn row(value: f32) -> Vec<f32> {
    vec![value; 3 * TARGETS]
}

/// 12 s at 4 kW, 8 s at 1 kW.
fn pulse(second: usize) -> f32 {
    if second % 20 < 12 { 4000.0 } else { 1000.0 }
}

/// Says after each value, with the last value as the only forecast from outside.
fn play(mixture: &mut Mixture, values: impl IntoIterator<Item = Option<f32>>) -> Vec<Option<Vec<Said>>> {
    let mut last = 0.0;
    let one = |value: Option<f32>| {
        mixture.observe(value);
        last = value.unwrap_or(last);
        mixture.say(Newest::Observed, &[Some(&row(last))])
    };
    values.into_iter().map(one).collect()
}

#[test]
fn a_cycle_is_forecast_from_the_run_alone_and_much_better_than_by_the_last_value() {
    let mut mixture = mixture(1);
    let said = play(&mut mixture, (0..400).map(|s| Some(pulse(s))));
    let error = |ahead: usize, pick: &dyn Fn(usize) -> f32| {
        (200..300).map(|s| (pick(s) - pulse(s + ahead)).abs()).sum::<f32>() / 100.0
    };
    for (h, ahead) in [(1, 5), (2, 30)] {
        let ours = error(ahead, &|s| said[s].as_ref().unwrap()[h].quantiles[0]);
        let last = error(ahead, &pulse);
        assert!(ours < 0.35 * last, "{ahead} s: {ours} {last}");
    }
}

#[test]
fn an_outcome_teaches_when_it_has_come_and_not_before() {
    let mut mixture = mixture(2);
    let [right, wrong] = [row(1000.0), row(3000.0)];
    let mut shares = Vec::new();
    for _ in 0..40 {
        mixture.observe(Some(1000.0));
        mixture.say(Newest::Observed, &[Some(&right), Some(&wrong)]);
        let of = |h: usize| mixture.pools()[h * TARGETS].shares(Present::all(5));
        shares.push([0, 1, 2].map(of));
    }
    for (h, delay) in [(0, 1), (1, 5), (2, 30)] {
        assert_eq!(shares[delay - 1][h], [0.2; 5], "nothing has come true yet");
        assert!(shares[delay][h][4] < 0.01, "{:?}", shares[delay][h]);
    }
}

/// What power is doing after these values.
fn state_after(values: impl IntoIterator<Item = f32>) -> State {
    let mut mixture = mixture(1);
    values.into_iter().for_each(|value| mixture.observe(Some(value)));
    mixture.state(&mixture.seen())
}

#[test]
fn what_power_is_doing_is_told_from_the_run_itself_whatever_it_is_measured_in() {
    for unit in [1.0, 1e-3, 1e3] {
        let after =
            |more: &[f32]| state_after((0..40).map(pulse).chain(more.iter().copied()).map(|watts| watts * unit));
        assert_eq!(after(&[]), State::Low);
        assert_eq!(after(&[1000.0, 1000.0, 3000.0]), State::Rising);
        assert_eq!(after(&[4000.0; 5]), State::High);
        assert_eq!(after(&[4000.0, 4000.0, 4000.0, 2000.0]), State::Falling);
        // A twentieth of the swing is noise.
        assert_eq!(after(&[1000.0, 1000.0, 1150.0]), State::Low);
    }
    let wavering = (0..100).map(|i| if i % 3 == 0 { 1000.0 } else { 950.0 });
    assert_eq!(state_after(wavering), State::Low, "a run that never swung stands");
    assert_eq!(state_after([]), State::Low);
}

#[test]
fn an_outcome_teaches_the_state_that_it_was_forecast_in() {
    let mut mixture = mixture(2);
    for s in 0..600 {
        mixture.observe(Some(pulse(s)));
        // At a rise the second is right about what comes after a second, elsewhere the first.
        let rises = pulse(s) > pulse(s.saturating_sub(1));
        let [right, wrong] = [row(pulse(s + 1)), row(2500.0)];
        let given = if rises { [&wrong, &right] } else { [&right, &wrong] };
        mixture.say(Newest::Observed, &given.map(|row| Some(&row[..])));
    }
    let outside = Present::default().with(3).with(4);
    let second = |state| mixture.pools()[0].shares(outside.in_state(state))[4];
    assert!(second(State::Rising) > 0.5, "{}", second(State::Rising));
    assert!([State::Low, State::High].map(second).iter().all(|share| *share < 0.1));
}

#[test]
fn a_short_silence_holds_the_last_value_and_teaches_nothing() {
    let mut mixture = mixture(1);
    play(&mut mixture, (0..100).map(|s| Some(pulse(s))));
    let (pools, bounds) = (mixture.pools.clone(), mixture.bounds.clone());
    let said = play(&mut mixture, vec![None; GAP_S as usize - 1]);
    assert!(said.iter().all(Option::is_some) && mixture.pools == pools && mixture.bounds == bounds);
    assert_eq!(mixture.past.last(), Some(&pulse(99)));
}

#[test]
fn a_long_silence_ends_the_run_but_what_was_learnt_about_the_forecasts_stays() {
    let mut mixture = mixture(1);
    play(&mut mixture, (0..100).map(|s| Some(pulse(s))));
    let pools = mixture.pools.clone();
    (0..GAP_S as usize).for_each(|_| mixture.observe(None));
    assert!(mixture.past.is_empty() && mixture.pending.said_at.iter().all(|at| *at == 0));
    // What comes now is no outcome of anything said before.
    mixture.observe(Some(50_000.0));
    assert_eq!(mixture.pools, pools);
    let said = mixture.say(Newest::Observed, &[Some(&row(50_000.0))]).unwrap();
    assert!(said.iter().all(|said| said.quantiles == [50_000.0; 3]), "{said:?}");
}

#[test]
fn an_open_step_holds_the_last_value_and_is_held_against_the_same_outcome_later() {
    let mut open = mixture(1);
    let mut held = mixture(1);
    for mixture in [&mut open, &mut held] {
        play(mixture, (0..50).map(|s| Some(pulse(s))));
    }
    held.observe(None);
    let last = row(pulse(49));
    let [a, b] = [open.say(Newest::Open, &[Some(&last)]).unwrap(), held.say(Newest::Observed, &[Some(&last)]).unwrap()];
    assert_eq!(a, b);
    open.observe(None);
    assert_eq!(open.pools, held.pools);
    for mixture in [&mut open, &mut held] {
        (51..90).for_each(|s| mixture.observe(Some(pulse(s))));
    }
    assert_eq!((open.pools, open.bounds), (held.pools, held.bounds));
}

#[test]
fn quantiles_rise_and_are_numbers_whatever_comes_in() {
    for sides in [Sides::Upper, Sides::Both] {
        let shape = Arc::new(Shape { sides, young_s: 20.0, ..(*shape(2)).clone() });
        let mut mixture = Mixture::new(Arc::clone(&shape), Others { ceiling: 3000.0, highest: 5.0 }, shape.led());
        let strange = [0.0, f32::NAN, 1e9, -5.0, f32::INFINITY, 1000.0, 1e-30, f32::MAX / 4.0];
        for i in 0..3000_usize {
            let value = strange[(i * i / 7) % strange.len()];
            mixture.observe((i % 11 > 2).then_some(if i % 5 == 0 { value } else { pulse(i) }));
            let mad = row(value);
            let given = [Some(&mad[..]), Some(&mad[..i % 13]).filter(|_| i % 3 > 0)];
            for said in mixture.say(Newest::Observed, &given).into_iter().flatten() {
                assert!(said.quantiles.is_sorted() && said.quantiles.iter().all(|q| q.is_finite()), "{i}: {said:?}");
                assert!(said.bound.is_finite() && said.mean.is_some_and(f32::is_finite), "{i}: {said:?}");
                assert!(sides == Sides::Both || said.bound >= said.quantiles[2], "{i}: {said:?}");
            }
        }
    }
}

#[test]
fn what_is_kept_does_not_grow() {
    let mut mixture = mixture(1);
    play(&mut mixture, (0..1000).map(|s| Some(pulse(s))));
    let size = |m: &Mixture| (m.past.capacity(), m.pending.numbers.capacity());
    let before = size(&mixture);
    play(&mut mixture, (0..20_000).map(|s| Some(pulse(s))));
    assert_eq!(size(&mixture), before);
    assert!(before.0 <= 512, "{before:?}");
}
