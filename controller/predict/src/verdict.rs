//! Who may serve: whether a challenger beats what is in use, and whether what is in use has become
//! worse than the baseline. Judged on the same outcomes for all, see [`crate::scorer`].

use crate::QUANTILES;
use headroom_rack::Tally;
use serde::{Deserialize, Serialize};

/// Outcomes per horizon before anything is judged: with fewer, the 99 % quantile's coverage is known
/// to no better than half a per cent (standard error of a share of 0.01 in 400 independent outcomes;
/// those of a rack are not independent over some ten seconds).
pub const LEAST_OUTCOMES: f64 = 3000.0;
/// A model in use is not dropped for a trifle: its loss must exceed the baseline's by this.
const WORSE: f64 = 1.05;
/// A quantile is bad when it is missed this many times as often as it should be. The safety margin
/// makes up for it meanwhile; the model is no longer what was promised.
const OFTEN: f64 = 4.0;

/// How one method did, mean over the horizons.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// Outcomes at the horizon with the fewest.
    pub outcomes: f64,
    /// Mean pinball loss over the quantiles, W.
    pub pinball_watts: f64,
    /// Mean absolute error of the median, W.
    pub mae_watts: f64,
    /// Share of the outcomes at or below each quantile.
    pub coverage: Vec<f64>,
}

impl Standing {
    /// From tallies by horizon; none while a horizon has no outcome.
    pub fn of(tallies: &[Tally]) -> Option<Self> {
        let mean = |of: &dyn Fn(&Tally) -> Option<f64>| -> Option<f64> {
            Some(tallies.iter().map(of).sum::<Option<f64>>()? / tallies.len() as f64)
        };
        Some(Self {
            outcomes: tallies.iter().map(|t| t.outcomes).reduce(f64::min)?,
            pinball_watts: mean(&Tally::mean_pinball_watts)?,
            mae_watts: mean(&Tally::mae_watts)?,
            coverage: (0..QUANTILES.len())
                .map(|q| mean(&|t| t.coverage()?.get(q).copied()))
                .collect::<Option<Vec<f64>>>()?,
        })
    }

    /// By how much a quantile (by index) covers less than it says.
    fn shortfall(&self, quantile: usize) -> f64 {
        (QUANTILES[quantile] - self.coverage.get(quantile).copied().unwrap_or(0.0)).max(0.0)
    }
}

/// Whether the challenger may take over: lower pinball loss than both, and no upper quantile that is
/// missed more than half again as often as it says, unless the champion misses it more often.
///
/// # Errors
/// Why not, in words.
pub fn beats(challenger: &Standing, champion: Option<&Standing>, baseline: &Standing) -> Result<(), String> {
    let mut against = Vec::new();
    if challenger.outcomes < LEAST_OUTCOMES {
        against.push(format!("only {:.0} outcomes, {LEAST_OUTCOMES:.0} are needed", challenger.outcomes));
    }
    for (who, other) in [("the champion", champion), ("the baseline", Some(baseline))] {
        if let Some(other) = other.filter(|o| challenger.pinball_watts >= o.pinball_watts) {
            let (ours, theirs) = (challenger.pinball_watts, other.pinball_watts);
            against.push(format!("its pinball loss of {ours:.1} W is not below {who}'s {theirs:.1} W"));
        }
    }
    for (q, quantile) in QUANTILES.iter().enumerate().filter(|(_, q)| **q > 0.5) {
        let allowed = champion.map_or(0.0, |c| c.shortfall(q)).max((1.0 - quantile) / 2.0);
        if challenger.shortfall(q) > allowed + 1e-9 {
            against.push(format!(
                "its {} % quantile covers {:.2} %, at least {:.2} % is needed",
                quantile * 100.0,
                challenger.coverage[q] * 100.0,
                (quantile - allowed) * 100.0
            ));
        }
    }
    if against.is_empty() { Ok(()) } else { Err(against.join("; ")) }
}

/// Why the model in use should no longer be, if so.
pub fn drifted(model: &Standing, baseline: &Standing) -> Option<String> {
    if model.outcomes < LEAST_OUTCOMES {
        return None;
    }
    if model.pinball_watts > baseline.pinball_watts * WORSE {
        let (ours, theirs) = (model.pinball_watts, baseline.pinball_watts);
        return Some(format!("its pinball loss of {ours:.1} W is above the baseline's {theirs:.1} W"));
    }
    let bad = |q: &usize| QUANTILES[*q] > 0.5 && 1.0 - model.coverage[*q] > OFTEN * (1.0 - QUANTILES[*q]);
    (0..QUANTILES.len()).find(bad).map(|q| {
        format!("its {} % quantile covers only {:.2} % of what came", QUANTILES[q] * 100.0, model.coverage[q] * 100.0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(pinball_watts: f64, upper: f64) -> Standing {
        Standing { outcomes: 1e4, pinball_watts, mae_watts: 1.0, coverage: vec![0.5, 0.9, upper] }
    }

    #[test]
    fn a_challenger_must_beat_champion_and_baseline_in_loss_and_keep_its_quantiles() {
        let (champion, baseline) = (standing(150.0, 0.985), standing(190.0, 0.999));
        assert_eq!(beats(&standing(140.0, 0.986), Some(&champion), &baseline), Ok(()));
        assert_eq!(beats(&standing(185.0, 0.99), None, &baseline), Ok(()));
        let why = |s: &Standing| beats(s, Some(&champion), &baseline).unwrap_err();
        assert!(why(&standing(151.0, 0.99)).contains("champion's 150.0 W"));
        assert!(why(&standing(191.0, 0.99)).contains("baseline's 190.0 W"));
        assert!(why(&standing(140.0, 0.97)).contains("covers 97.00 %, at least 98.50 %"));
        assert!(why(&Standing { outcomes: 10.0, ..standing(140.0, 0.99) }).contains("only 10 outcomes"));
        // Where the champion covers even less, the challenger is still the better one.
        assert_eq!(beats(&standing(140.0, 0.97), Some(&standing(150.0, 0.96)), &baseline), Ok(()));
    }

    #[test]
    fn a_model_is_dropped_when_the_baseline_is_better_or_it_covers_far_too_little() {
        let baseline = standing(190.0, 0.999);
        assert_eq!(drifted(&standing(195.0, 0.98), &baseline), None, "a trifle");
        assert!(drifted(&standing(210.0, 0.99), &baseline).unwrap().contains("above the baseline's"));
        assert!(drifted(&standing(100.0, 0.955), &baseline).unwrap().contains("only 95.50 %"));
        assert_eq!(drifted(&Standing { outcomes: 99.0, ..standing(900.0, 0.1) }, &baseline), None, "too early");
    }

    #[test]
    fn a_standing_needs_every_horizon() {
        let some = Tally { outcomes: 10.0, absolute_watts: 20.0, pinball_watts: 5.0, covered: vec![5.0, 9.0, 10.0] };
        let all = Standing::of(&vec![some.clone(); 6]).unwrap();
        assert_eq!((all.pinball_watts, all.coverage), (0.5, vec![0.5, 0.9, 1.0]));
        assert_eq!(Standing::of(&[some, Tally::default()]), None);
    }
}
