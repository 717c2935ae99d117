//! The reactive baseline: persistence, widened by how much the rack changed over the same span in
//! the last minute. Needs nothing but the history; knows nothing but the nameplate without it.

use crate::history::History;
use crate::{HORIZONS_S, QUANTILES, Values, WINDOW_S};
use headroom_rack::{Forecast, RackId, Source, UnixMs, Watts};

/// A change of this share of the nameplate per second may come at any time, whatever the last
/// minute was like: it keeps the quantiles from collapsing on a quiet rack.
const UNSEEN_PER_S: f64 = 0.004;

/// The baseline forecast of one rack, with the reason why it is not the network's. A rack that has
/// been silent for longer than [`LAST_WITHIN_S`](crate::feature::LAST_WITHIN_S) is expected to draw
/// its nameplate.
pub fn forecast(history: &History, rack: &RackId, at: UnixMs, reason: &str) -> Forecast {
    Forecast {
        rack: rack.clone(),
        at,
        horizons_s: HORIZONS_S.to_vec(),
        quantiles: QUANTILES.to_vec(),
        values: values(&history.until(at)).map(Vec::from).to_vec(),
        source: Source::Baseline(reason.to_owned()),
    }
}

/// Power by horizon and quantile, as of the history's end.
pub fn values(history: &History) -> Values {
    let Some(last) = history.last_power(crate::feature::LAST_WITHIN_S) else {
        return [[history.nameplate(); QUANTILES.len()]; HORIZONS_S.len()];
    };
    // An unknown power is no number, and neither is a change from or to it.
    let mut powers = [f64::NAN; WINDOW_S];
    let known = history.samples().map(|s| s.power.map_or(f64::NAN, Watts::get));
    powers.iter_mut().zip(known).for_each(|(place, power)| *place = power);
    let mut changes = [0.0; WINDOW_S];
    HORIZONS_S.map(|horizon_s| {
        let later = powers[..history.samples().len()].iter().skip(horizon_s as usize);
        let mut count = 0;
        for (from, to) in powers.iter().zip(later) {
            changes[count] = to - from;
            count += usize::from(!changes[count].is_nan());
        }
        row(history.nameplate(), last, horizon_s, &mut changes[..count])
    })
}

/// From the changes over the span of a horizon, in any order.
fn row(nameplate: Watts, last: Watts, horizon_s: u32, changes: &mut [f64]) -> [Watts; QUANTILES.len()] {
    let unseen = nameplate.get() * UNSEEN_PER_S * f64::from(horizon_s);
    let top = nameplate.max(last);
    let mut row = [last; QUANTILES.len()];
    let mut below = 0;
    for (place, quantile) in row.iter_mut().zip(&QUANTILES).skip(1) {
        let index = (((changes.len() as f64) * quantile).ceil() as usize).saturating_sub(1);
        // What lies below the quantile before need not be looked at again.
        let seen = match changes.get_mut(below..).filter(|rest| !rest.is_empty()) {
            Some(rest) => *rest.select_nth_unstable_by(index - below, f64::total_cmp).1,
            None => 0.0,
        };
        below = index;
        let spread = (quantile - 0.5) * 2.0;
        *place = (last + Watts::new(seen.max(0.0) + unseen * spread)).min(top);
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Sample;

    fn rack() -> RackId {
        RackId::new("rack-1").unwrap()
    }

    #[test]
    fn nothing_known_is_the_nameplate() {
        let f = forecast(&History::new(Watts::new(7300.0)), &rack(), UnixMs::new(0), "no history");
        assert!(f.values.iter().flatten().all(|w| *w == Watts::new(7300.0)));
    }

    #[test]
    fn a_silent_rack_is_expected_at_its_nameplate() {
        let mut history = History::new(Watts::new(7300.0));
        history.push(UnixMs::new(0), Sample { power: Some(Watts::new(3000.0)), ..Sample::default() });
        let at = |ms| forecast(&history, &rack(), UnixMs::new(ms), "test").values[0][0];
        assert_eq!((at(2_000), at(3_000)), (Watts::new(3000.0), Watts::new(7300.0)));
    }

    #[test]
    fn a_restless_rack_gets_a_wider_band_than_a_quiet_one() {
        let with = |swing: f64| {
            let mut history = History::new(Watts::new(7300.0));
            for t in 0..60 {
                let power = Some(Watts::new(4000.0 + if t % 10 < 5 { swing } else { 0.0 }));
                history.push(UnixMs::new(t * 1000), Sample { power, ..Sample::default() });
            }
            forecast(&history, &rack(), UnixMs::new(59_500), "test")
        };
        let (quiet, restless) = (with(0.0), with(1000.0));
        assert_eq!(quiet.values[2][0], Watts::new(4000.0));
        assert!(restless.values[2][2] > quiet.values[2][2] + Watts::new(800.0));
        for f in [quiet, restless] {
            assert!(f.values.iter().all(|row| row.windows(2).all(|w| w[0] <= w[1])));
        }
    }
}
