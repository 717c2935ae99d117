//! Operating conditions, found from the settings of the training units alone, and the scale of every
//! sensor within each: what is normal at sea level is not normal at altitude.

use super::Unit;
use serde::{Deserialize, Serialize};

/// More conditions than this are taken for a continuum.
const MOST: usize = 12;
/// Settings form clusters if these explain all but this share of the variance, ..
const UNEXPLAINED: f64 = 0.01;
/// .. and leave this share at most of what one cluster fewer leaves: real conditions fall into place
/// all at once, while a line cut into k parts leaves 1/k^2, step by step.
const FALL: f64 = 0.1;
/// A sensor whose deviation is below this share of its mean is constant.
const CONSTANT: f64 = 1e-8;
/// Rounds of Lloyd's algorithm; clusters that are apart settle after two or three.
const ROUNDS: usize = 20;

/// See the file's head.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Conditions {
    setting_mean: Vec<f64>,
    setting_deviation: Vec<f64>,
    /// Of each condition, in scaled settings.
    centres: Vec<Vec<f64>>,
    /// Sensors that say anything.
    kept: Vec<usize>,
    /// By condition and kept sensor.
    mean: Vec<Vec<f64>>,
    /// By condition and kept sensor; infinite where the sensor is constant.
    inverse_deviation: Vec<Vec<f64>>,
}

impl Conditions {
    /// Finds them.
    pub fn fit(units: &[&Unit]) -> Self {
        let settings: Vec<&[f64]> = units.iter().flat_map(|u| u.settings.iter().map(Vec::as_slice)).collect();
        let (setting_mean, setting_deviation) = moments(&settings);
        let scaled: Vec<Vec<f64>> = settings.iter().map(|s| scale(s, &setting_mean, &setting_deviation)).collect();
        let centres = clusters(&scaled);
        let sensors: Vec<&[f64]> = units.iter().flat_map(|u| u.sensors.iter().map(Vec::as_slice)).collect();
        let of: Vec<usize> = scaled.iter().map(|s| nearest(s, &centres).0).collect();
        let by_condition: Vec<(Vec<f64>, Vec<f64>)> = (0..centres.len())
            .map(|c| moments(&sensors.iter().zip(&of).filter(|(_, of)| **of == c).map(|(s, _)| *s).collect::<Vec<_>>()))
            .collect();
        let varies = |k: usize| by_condition.iter().any(|(_, deviation)| deviation[k] > 0.0);
        let kept: Vec<usize> = (0..sensors[0].len()).filter(|k| varies(*k)).collect();
        let inverse = |d: f64| if d > 0.0 { 1.0 / d } else { 0.0 };
        Self {
            mean: by_condition.iter().map(|(mean, _)| kept.iter().map(|k| mean[*k]).collect()).collect(),
            inverse_deviation: by_condition
                .iter()
                .map(|(_, d)| kept.iter().map(|k| inverse(d[*k])).collect())
                .collect(),
            setting_mean,
            setting_deviation,
            centres,
            kept,
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.centres.len()
    }

    /// How many sensors say anything.
    pub fn sensors(&self) -> usize {
        self.kept.len()
    }

    /// The kept sensors of every cycle, in deviations from what is normal in its condition.
    pub fn normalise(&self, unit: &Unit) -> Vec<Vec<f64>> {
        let cycles = unit.settings.iter().zip(&unit.sensors);
        cycles
            .map(|(settings, sensors)| {
                let scaled = scale(settings, &self.setting_mean, &self.setting_deviation);
                let (c, _) = nearest(&scaled, &self.centres);
                let scales = self.mean[c].iter().zip(&self.inverse_deviation[c]);
                self.kept.iter().zip(scales).map(|(k, (mean, inverse))| (sensors[*k] - mean) * inverse).collect()
            })
            .collect()
    }
}

/// Mean and deviation of each column; a constant one has deviation 0.
fn moments(rows: &[&[f64]]) -> (Vec<f64>, Vec<f64>) {
    let n = rows.len().max(1) as f64;
    let width = rows.first().map_or(0, |r| r.len());
    let mean: Vec<f64> = (0..width).map(|k| rows.iter().map(|r| r[k]).sum::<f64>() / n).collect();
    let deviation = mean.iter().enumerate().map(|(k, mean)| {
        let d = (rows.iter().map(|r| (r[k] - mean).powi(2)).sum::<f64>() / n).sqrt();
        if d > CONSTANT * mean.abs().max(1e-3) { d } else { 0.0 }
    });
    let deviation = deviation.collect();
    (mean, deviation)
}

fn scale(row: &[f64], mean: &[f64], deviation: &[f64]) -> Vec<f64> {
    let scales = mean.iter().zip(deviation);
    row.iter().zip(scales).map(|(v, (mean, d))| if *d > 0.0 { (v - mean) / d } else { 0.0 }).collect()
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum()
}

/// The nearest centre and the squared distance to it.
fn nearest(point: &[f64], centres: &[Vec<f64>]) -> (usize, f64) {
    let distances = centres.iter().enumerate().map(|(c, centre)| (c, distance(point, centre)));
    distances.min_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or((0, 0.0))
}

/// The fewest centres that explain the points: the farthest point starts each new one (Gonzalez,
/// "Clustering to minimize the maximum intercluster distance", 1985), Lloyd's rounds settle them.
fn clusters(points: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let mean = |of: &[&Vec<f64>]| -> Vec<f64> {
        (0..points[0].len()).map(|k| of.iter().map(|p| p[k]).sum::<f64>() / of.len() as f64).collect()
    };
    let one = vec![mean(&points.iter().collect::<Vec<_>>())];
    let total: f64 = points.iter().map(|p| nearest(p, &one).1).sum();
    let (mut centres, mut before) = (one.clone(), total);
    while total > 0.0 && centres.len() < MOST {
        let far = points.iter().max_by(|a, b| nearest(a, &centres).1.total_cmp(&nearest(b, &centres).1));
        centres.extend(far.cloned());
        for _ in 0..ROUNDS {
            let of: Vec<usize> = points.iter().map(|p| nearest(p, &centres).0).collect();
            let settled: Vec<Vec<f64>> = (0..centres.len())
                .map(|c| {
                    let members: Vec<&Vec<f64>> =
                        points.iter().zip(&of).filter(|(_, o)| **o == c).map(|(p, _)| p).collect();
                    if members.is_empty() { centres[c].clone() } else { mean(&members) }
                })
                .collect();
            if settled == centres {
                break;
            }
            centres = settled;
        }
        let left: f64 = points.iter().map(|p| nearest(p, &centres).1).sum();
        if left <= UNEXPLAINED * total && left <= FALL * before {
            return centres;
        }
        before = left;
    }
    one
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::Chance;

    fn unit(conditions: &[f64], chance: &mut Chance) -> Unit {
        let mut unit = Unit::new("u".to_owned());
        for _ in 0..200 {
            let c = conditions[chance.below(conditions.len())];
            unit.settings.push(vec![c + chance.between(-0.002, 0.002), 100.0]);
            unit.sensors.push(vec![c * 10.0 + chance.between(-1.0, 1.0), 518.67]);
        }
        unit
    }

    #[test]
    fn conditions_are_found_and_taken_out_of_the_sensors() {
        let mut chance = Chance::new(1, "test");
        let unit = unit(&[0.0, 10.0, 20.0, 25.0, 35.0, 42.0], &mut chance);
        let conditions = Conditions::fit(&[&unit]);
        assert_eq!((conditions.count(), conditions.sensors()), (6, 1));
        let values = conditions.normalise(&unit);
        // Raw values reach 420; within a condition a uniform deviation of 1 reaches 1.73 deviations.
        assert!(values.iter().all(|v| v[0].abs() < 2.5));
    }

    #[test]
    fn one_cloud_of_settings_is_one_condition() {
        let mut chance = Chance::new(2, "test");
        let unit = unit(&[0.0], &mut chance);
        assert_eq!(Conditions::fit(&[&unit]).count(), 1);
        let mut still = unit;
        still.settings.iter_mut().for_each(|s| *s = vec![35.0, 0.84]);
        assert_eq!(Conditions::fit(&[&still]).count(), 1);
    }
}
