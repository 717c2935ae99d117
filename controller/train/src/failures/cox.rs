//! A linear proportional-hazards model (Cox, "Regression Models and Life-Tables", 1972), fitted by
//! Newton's method with Breslow's treatment of ties; each landmark is a stratum of its own.

use crate::ridge;

/// Penalty on the weights of standardised features, per failure: keeps features that say the same apart.
const RIDGE: f64 = 1e-2;
/// Steps at most; it settles after five or six.
const STEPS: usize = 30;
/// Settled when the log partial likelihood gains less than this per failure.
const SETTLED: f64 = 1e-9;

/// One stratum: features standardised, days until failure or last seen.
#[derive(Debug)]
pub struct Stratum<'a> {
    /// One row per unit.
    pub rows: Vec<&'a [f64]>,
    /// Days.
    pub times: &'a [f64],
    /// Whether it failed then.
    pub failed: &'a [bool],
}

/// The weights, whose product with a row is its log risk. All zero if nothing failed.
pub fn fit(strata: &[Stratum<'_>]) -> Vec<f64> {
    let width = strata.iter().find_map(|s| s.rows.first()).map_or(0, |r| r.len());
    let failures: usize = strata.iter().map(|s| s.failed.iter().filter(|f| **f).count()).sum();
    let mut weights = vec![0.0; width];
    if failures == 0 {
        return weights;
    }
    let mut best = Derivatives::at(strata, &weights, failures);
    for _ in 0..STEPS {
        // The penalty is in the curvature already.
        let solved = ridge::solve(best.curvature.clone(), &vec![0.0; width], std::slice::from_ref(&best.gradient));
        let Ok([step]) = solved.as_deref() else { break };
        // Halved until it helps: far from the summit a whole step may overshoot.
        let tried = (0..12).map(|half| 0.5_f64.powi(half)).find_map(|size| {
            let there: Vec<f64> = weights.iter().zip(step).map(|(w, s)| w + size * s).collect();
            let derivatives = Derivatives::at(strata, &there, failures);
            (derivatives.likelihood > best.likelihood).then_some((there, derivatives))
        });
        let Some((there, derivatives)) = tried else { break };
        let gain = derivatives.likelihood - best.likelihood;
        (weights, best) = (there, derivatives);
        if gain < SETTLED * failures as f64 {
            break;
        }
    }
    weights
}

/// Penalised log partial likelihood, its gradient, and its curvature with the sign turned.
struct Derivatives {
    likelihood: f64,
    gradient: Vec<f64>,
    curvature: Vec<f64>,
}

impl Derivatives {
    fn at(strata: &[Stratum<'_>], weights: &[f64], failures: usize) -> Self {
        let p = weights.len();
        let ridge = RIDGE * failures as f64;
        let mut all = Self {
            likelihood: -0.5 * ridge * weights.iter().map(|w| w * w).sum::<f64>(),
            gradient: weights.iter().map(|w| -ridge * w).collect(),
            curvature: vec![0.0; p * p],
        };
        (0..p).for_each(|i| all.curvature[i * p + i] = ridge);
        strata.iter().for_each(|stratum| all.add(stratum, weights));
        for i in 0..p {
            for j in 0..i {
                all.curvature[j * p + i] = all.curvature[i * p + j];
            }
        }
        all
    }

    /// From the longest time to the shortest, so that the units at risk only grow.
    fn add(&mut self, stratum: &Stratum<'_>, weights: &[f64]) {
        let p = weights.len();
        let mut order: Vec<usize> = (0..stratum.rows.len()).collect();
        order.sort_by(|a, b| stratum.times[*b].total_cmp(&stratum.times[*a]));
        let (mut s0, mut s1, mut s2) = (0.0, vec![0.0; p], vec![0.0; p * p]);
        for same in order.chunk_by(|a, b| stratum.times[*a] == stratum.times[*b]) {
            for i in same {
                let row = stratum.rows[*i];
                let risk = dot(row, weights).clamp(-30.0, 30.0).exp();
                s0 += risk;
                for a in 0..p {
                    let scaled = risk * row[a];
                    s1[a] += scaled;
                    s2[a * p..=a * p + a].iter_mut().zip(row).for_each(|(sum, v)| *sum += scaled * v);
                }
            }
            let failed: Vec<&[f64]> = same.iter().filter(|i| stratum.failed[**i]).map(|i| stratum.rows[*i]).collect();
            if failed.is_empty() {
                continue;
            }
            let deaths = failed.len() as f64;
            self.likelihood += failed.iter().map(|row| dot(row, weights)).sum::<f64>() - deaths * s0.ln();
            for a in 0..p {
                self.gradient[a] += failed.iter().map(|row| row[a]).sum::<f64>() - deaths * s1[a] / s0;
                for b in 0..=a {
                    self.curvature[a * p + b] += deaths * (s2[a * p + b] / s0 - s1[a] * s1[b] / (s0 * s0));
                }
            }
        }
    }
}

/// The log risk of a row.
pub fn dot(row: &[f64], weights: &[f64]) -> f64 {
    row.iter().zip(weights).map(|(v, w)| v * w).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::Chance;

    #[test]
    fn the_weights_of_a_known_hazard_are_found() {
        let mut chance = Chance::new(3, "test");
        let truth = [0.8, -0.5, 0.0];
        let rows: Vec<[f64; 3]> = (0..4000).map(|_| [0; 3].map(|_| chance.between(-1.7, 1.7))).collect();
        let times: Vec<f64> = rows.iter().map(|r| -(1.0 - chance.unit()).ln() / dot(r, &truth).exp()).collect();
        let failed: Vec<bool> = times.iter().map(|t| *t < 1.5).collect();
        let times: Vec<f64> = times.iter().map(|t| t.min(1.5)).collect();
        let half = |from: usize, to: usize| Stratum {
            rows: rows[from..to].iter().map(<[f64; 3]>::as_slice).collect(),
            times: &times[from..to],
            failed: &failed[from..to],
        };
        let weights = fit(&[half(0, 1500), half(1500, 4000)]);
        // Some 3,000 failures: standard errors of 0.02; the ridge takes 1 %.
        assert!(weights.iter().zip(truth).all(|(w, t)| (w - t).abs() < 0.07), "{weights:?}");
    }

    #[test]
    fn a_case_done_by_hand_has_its_maximum_where_the_gradient_vanishes() {
        // Two units fail in turn, x = 1 first, then x = 0: likelihood e^w / (e^w + 1), penalised.
        let rows = [[1.0], [0.0]];
        let stratum = Stratum {
            rows: rows.iter().map(<[f64; 1]>::as_slice).collect(),
            times: &[1.0, 2.0],
            failed: &[true, true],
        };
        let w = fit(&[stratum])[0];
        let gradient = 1.0 - w.exp() / (w.exp() + 1.0) - 2.0 * RIDGE * w;
        assert!(gradient.abs() < 1e-6 && w > 1.0, "{w} {gradient}");
    }

    #[test]
    fn without_failures_nothing_is_known() {
        let rows = [[1.0], [2.0]];
        let stratum = Stratum {
            rows: rows.iter().map(<[f64; 1]>::as_slice).collect(),
            times: &[1.0, 2.0],
            failed: &[false, false],
        };
        assert_eq!(fit(&[stratum]), [0.0]);
    }
}
