//! The predictor: a checked model and its answers. Whoever asks mixes them ([`crate::mixtures`]).

use crate::baseline;
use crate::feature::{Features, features};
use crate::history::History;
use crate::manifest::{Manifest, file_hash, schema_hash};
use crate::net::Net;
use crate::{FEATURES, QUANTILES, Values};
use headroom_rack::Watts;

/// Features may leave the trained range by this share of it before it counts as outside.
const RANGE_SLACK: f32 = 0.05;
/// Outside the trained range the upper quantiles rise above the last value by this times as much,
/// and by no less than the baseline's: the network may be wrong there, so it may not promise calm.
const WIDEN: f64 = 2.0;

/// Why a model is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is no model in this build.
    #[error("this build ships no model")]
    None,
    /// The manifest cannot be read.
    #[error("the manifest cannot be read: {0}")]
    Manifest(String),
    /// Trained on other features.
    #[error("it was trained on features {got:.12}…, this program computes {expected:.12}…; train it anew")]
    Schema {
        /// What the manifest says.
        got: String,
        /// What this program has.
        expected: String,
    },
    /// The file is not the one the manifest describes.
    #[error("the file does not have the SHA-256 its manifest names")]
    File,
    /// tract does not take it, or it answers nonsense.
    #[error("the network is refused: {0}")]
    Network(String),
}

/// A model that passed every check.
#[derive(Debug)]
pub struct Predictor {
    net: Net,
    manifest: Manifest,
}

impl Predictor {
    /// Checks manifest, hashes, operators, shape, and that answers to the middle and to both ends of
    /// the trained range are numbers. (Quantiles are put in order with every answer.)
    ///
    /// # Errors
    /// [`Refused`] with the reason; the caller uses [`baseline`] then.
    pub fn load(onnx: &[u8], manifest: &[u8]) -> Result<Self, Refused> {
        let manifest: Manifest = serde_json::from_slice(manifest).map_err(|e| Refused::Manifest(e.to_string()))?;
        let expected = schema_hash();
        if manifest.schema_hash != expected {
            return Err(Refused::Schema { got: manifest.schema_hash, expected });
        }
        manifest.check().map_err(Refused::Manifest)?;
        if manifest.onnx_sha256 != file_hash(onnx) {
            return Err(Refused::File);
        }
        let net = Net::load(onnx).map_err(Refused::Network)?;
        for probe in [&vec![0.0; FEATURES], &manifest.feature_min, &manifest.feature_max] {
            net.run(probe).map_err(Refused::Network)?;
        }
        Ok(Self { net, manifest })
    }

    /// The model shipped with this build.
    ///
    /// # Errors
    /// As [`Predictor::load`].
    pub fn embedded() -> Result<Self, Refused> {
        let onnx: &[u8] = include_bytes!("../../models/rack-power.onnx");
        if onnx.is_empty() {
            return Err(Refused::None);
        }
        Self::load(onnx, include_bytes!("../../models/rack-power.manifest.json"))
    }

    /// The model's name.
    pub fn name(&self) -> &str {
        &self.manifest.name
    }

    /// What the model says of itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The name with the beginning of the file's hash: two trainings under one name are two models.
    pub fn id(&self) -> String {
        format!("{}/{:.8}", self.manifest.name, self.manifest.onnx_sha256)
    }

    /// The raw answer to one feature vector, for parity tests.
    ///
    /// # Errors
    /// What tract says.
    pub fn answer(&self, features: &[f32]) -> Result<Vec<f32>, String> {
        self.net.run(features).map(Vec::from)
    }

    /// For each history power by horizon and quantile, as of its end, and whether its features lie
    /// outside the trained range; or why the model has no say.
    pub fn values(&self, histories: &[&History]) -> Vec<Result<(Values, bool), String>> {
        let all: Vec<Result<Features, String>> =
            histories.iter().map(|h| features(h).map_err(|e| e.to_string())).collect();
        let windows: Vec<&[f32]> = all.iter().flatten().map(|f| &f.values[..]).collect();
        let mut answers = self.net.run_all(&windows).into_iter();
        all.into_iter()
            .zip(histories)
            .map(|(features, history)| {
                let features = features?;
                let answer = answers.next().expect("invariant: one answer per window")?;
                let mut values = features.watts(&answer);
                let outside = self.is_outside(&features);
                if outside {
                    widen(&mut values, &baseline::values(history), &features);
                }
                Ok((values, outside))
            })
            .collect()
    }

    /// Whether a feature lies outside what the model was trained on.
    pub fn is_outside(&self, features: &Features) -> bool {
        let ranges = self.manifest.feature_min.iter().zip(&self.manifest.feature_max);
        features.values.iter().zip(ranges).any(|(v, (low, high))| {
            let slack = (high - low) * RANGE_SLACK + 1e-3;
            *v < low - slack || *v > high + slack
        })
    }
}

fn widen(values: &mut [[Watts; QUANTILES.len()]], baseline: &[[Watts; QUANTILES.len()]], features: &Features) {
    let top = features.nameplate.max(features.last);
    for (row, reactive) in values.iter_mut().zip(baseline) {
        for (value, reactive) in row.iter_mut().zip(reactive).skip(1) {
            let rise = (*value - features.last).max(Watts::ZERO);
            *value = (features.last + rise * WIDEN).min(top).max(*value).max(*reactive);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::HORIZONS_S;

    #[test]
    fn a_model_trained_on_other_features_is_refused_with_the_reason() {
        let mut manifest: serde_json::Value =
            serde_json::from_slice(include_bytes!("../../models/rack-power.manifest.json")).unwrap();
        manifest["schema_hash"] = "0".repeat(64).into();
        let refused = Predictor::load(b"", manifest.to_string().as_bytes()).unwrap_err();
        assert!(matches!(refused, Refused::Schema { .. }) && refused.to_string().contains("train it anew"));
    }

    #[test]
    fn an_altered_file_and_a_file_that_is_no_network_are_refused() {
        let manifest = include_bytes!("../../models/rack-power.manifest.json");
        assert_eq!(Predictor::load(b"not a network", manifest).unwrap_err(), Refused::File);
        let mut named: serde_json::Value = serde_json::from_slice(manifest).unwrap();
        named["onnx_sha256"] = file_hash(b"not a network").into();
        let refused = Predictor::load(b"not a network", named.to_string().as_bytes()).unwrap_err();
        assert!(matches!(refused, Refused::Network(_)), "{refused}");
    }

    #[test]
    fn the_shipped_model_answers_as_its_trainer_did() {
        let predictor = Predictor::embedded().unwrap();
        let probes: serde_json::Value =
            serde_json::from_slice(include_bytes!("../../models/rack-power.probes.json")).unwrap();
        let probes = probes["windows"].as_array().unwrap();
        let floats = |v: &serde_json::Value| serde_json::from_value::<Vec<f32>>(v.clone()).unwrap();
        assert!(probes.len() >= 8);
        for probe in probes {
            let ours = predictor.answer(&floats(&probe["features"])).unwrap();
            let theirs = floats(&probe["answer"]);
            assert_eq!(ours.len(), theirs.len());
            assert!(ours.iter().zip(&theirs).all(|(a, b)| (a - b).abs() <= 1e-5), "{ours:?} for {theirs:?}");
        }
    }

    #[test]
    fn the_shipped_model_was_measured_better_than_persistence_and_a_linear_model() {
        let predictor = Predictor::embedded().unwrap();
        let loss = |part: &str, method: &str, horizon: u32| {
            let mut found = predictor.manifest().measured.iter();
            found.find(|m| m.part == part && m.method == method && m.horizon_s == horizon).unwrap().pinball_watts
        };
        for part in ["test-time", "test-rack"] {
            for horizon in HORIZONS_S {
                let model = loss(part, "model", horizon);
                assert!(model < loss(part, "persistence", horizon), "{part} at {horizon} s");
                assert!(model < loss(part, "linear", horizon), "{part} at {horizon} s");
            }
        }
    }

    #[test]
    fn outside_the_trained_range_the_band_is_wider_than_the_baseline_and_the_model() {
        let features = Features { values: Vec::new(), last: Watts::new(1000.0), nameplate: Watts::new(7000.0) };
        let mut values = [[900.0, 1100.0, 1500.0].map(Watts::new)];
        widen(&mut values, &[[1000.0, 1400.0, 1600.0].map(Watts::new)], &features);
        assert_eq!(values[0], [900.0, 1400.0, 2000.0].map(Watts::new));
    }
}
