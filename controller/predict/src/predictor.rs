//! The predictor: a checked model and, rack by rack, the baseline where the model has no say.

use crate::baseline;
use crate::feature::{Features, features};
use crate::history::History;
use crate::manifest::{Manifest, file_hash, schema_hash};
use crate::net::Net;
use crate::{FEATURES, HORIZONS_S, QUANTILES};
use headroom_rack::{Forecast, RackId, Source, UnixMs, Watts};

/// Features may leave the trained range by this share of it before it counts as outside.
const RANGE_SLACK: f32 = 0.05;
/// Outside the trained range the distance of each quantile from the last value is stretched so.
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
    /// Checks manifest, hash, shape and a probe input.
    ///
    /// # Errors
    /// [`Refused`] with the reason; the caller uses [`baseline`] then.
    pub fn load(onnx: &[u8], manifest: &[u8]) -> Result<Self, Refused> {
        let manifest: Manifest = serde_json::from_slice(manifest).map_err(|e| Refused::Manifest(e.to_string()))?;
        let expected = schema_hash();
        if manifest.schema_hash != expected {
            return Err(Refused::Schema { got: manifest.schema_hash, expected });
        }
        if manifest.feature_min.len() != FEATURES || manifest.feature_max.len() != FEATURES {
            return Err(Refused::Manifest(format!("feature_min and feature_max must have {FEATURES} numbers")));
        }
        if manifest.onnx_sha256 != file_hash(onnx) {
            return Err(Refused::File);
        }
        let net = Net::load(onnx).map_err(Refused::Network)?;
        net.run(&vec![0.0; FEATURES]).map_err(Refused::Network)?;
        Ok(Self { net, manifest })
    }

    /// The model shipped with this build.
    ///
    /// # Errors
    /// As [`Predictor::load`].
    pub fn embedded() -> Result<Self, Refused> {
        Self::load(
            include_bytes!("../../models/rack-power.onnx"),
            include_bytes!("../../models/rack-power.manifest.json"),
        )
    }

    /// The model's name.
    pub fn name(&self) -> &str {
        &self.manifest.name
    }

    /// The raw answer to one feature vector, for parity tests.
    ///
    /// # Errors
    /// What tract says.
    pub fn answer(&self, features: &[f32]) -> Result<Vec<f32>, String> {
        self.net.run(features)
    }

    /// One Forecast per rack, in the order given.
    pub fn forecast(&self, racks: &[(&RackId, &History)], at: UnixMs) -> Vec<Forecast> {
        racks
            .iter()
            .map(|(rack, history)| {
                let values = features(history)
                    .map_err(|e| e.to_string())
                    .and_then(|f| Ok(self.watts(&f, &self.net.run(&f.values)?)));
                match values {
                    Ok(values) => Forecast {
                        rack: (*rack).clone(),
                        at,
                        horizons_s: HORIZONS_S.to_vec(),
                        quantiles: QUANTILES.to_vec(),
                        values,
                        source: Source::Model(self.manifest.name.clone()),
                    },
                    Err(reason) => baseline::forecast(history, rack, at, &reason),
                }
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

    fn watts(&self, features: &Features, answer: &[f32]) -> Vec<Vec<Watts>> {
        let mut values = features.watts(answer);
        if self.is_outside(features) {
            let top = features.nameplate.max(features.last);
            for row in &mut values {
                for value in row.iter_mut().skip(1) {
                    *value = (features.last + (*value - features.last).max(Watts::ZERO) * WIDEN).min(top).max(*value);
                }
            }
        }
        values
    }
}
