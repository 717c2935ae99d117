//! What a model says of itself. A model whose schema hash differs from this program's is refused:
//! it was trained on other features.

use crate::feature::schema;
use crate::{FEATURES, OUTPUTS};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The manifest beside a model file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Name shown to people.
    pub name: String,
    /// [`schema_hash`] of the program that trained it.
    pub schema_hash: String,
    /// The words behind the hash, for people.
    pub schema: String,
    /// SHA-256 of the ONNX file, in hex.
    pub onnx_sha256: String,
    /// Length of the history, s.
    pub window_s: usize,
    /// Seconds ahead.
    pub horizons_s: Vec<u32>,
    /// Probabilities.
    pub quantiles: Vec<f64>,
    /// Seed of the training.
    pub seed: u64,
    /// Revision of the source tree, `unknown` outside of one.
    pub revision: String,
    /// What it was trained on.
    pub data: Data,
    /// Errors on the test part: data the training never saw.
    pub measured: Vec<Measured>,
    /// Lowest value of each feature in the training part.
    pub feature_min: Vec<f32>,
    /// Highest value of each feature in the training part.
    pub feature_max: Vec<f32>,
    /// What the network itself does to its input and output.
    pub scaling: Scaling,
}

/// Where a model's data came from and how far it reaches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// Words for people.
    pub description: String,
    /// Under which terms the data may be used, `unknown` if nobody said.
    pub licence: String,
    /// Different racks.
    pub racks: usize,
    /// Rack-seconds of the whole data.
    pub seconds: u64,
    /// Windows in the training part.
    pub windows: usize,
    /// Lowest and highest rack power in the data.
    pub power_watts: [f64; 2],
    /// Lowest and highest nameplate.
    pub nameplate_watts: [f64; 2],
}

/// How one method did on one part at one horizon.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// `test-time`: later than the training part; `test-rack`: racks held out of it.
    pub part: String,
    /// `model`, `persistence`, `linear` or `reactive` (the fallback of this crate).
    pub method: String,
    /// Seconds ahead.
    pub horizon_s: u32,
    /// Mean pinball loss over the quantiles, W.
    pub pinball_watts: f64,
    /// Share of the outcomes at or below each quantile.
    pub coverage: Vec<f64>,
}

/// The constants inside the network, written out for people: `(feature - mean) / deviation` goes
/// in, what comes out is times `output_scale` (one number per horizon).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scaling {
    /// Mean of each feature over the training part.
    pub feature_mean: Vec<f32>,
    /// Standard deviation of each feature, 1 where it does not vary.
    pub feature_deviation: Vec<f32>,
    /// Standard deviation of the change at each horizon, in nameplates.
    pub output_scale: Vec<f32>,
}

impl Manifest {
    /// Checks what the schema hash does not: lengths and order of the ranges.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&self) -> Result<(), String> {
        let (low, high) = (&self.feature_min, &self.feature_max);
        if low.len() != FEATURES || high.len() != FEATURES {
            return Err(format!("feature_min and feature_max must have {FEATURES} numbers"));
        }
        if !low.iter().zip(high).all(|(low, high)| low <= high) {
            return Err("feature_min must not exceed feature_max".to_owned());
        }
        if self.horizons_s.len() * self.quantiles.len() != OUTPUTS {
            return Err(format!("horizons_s times quantiles must be {OUTPUTS}"));
        }
        Ok(())
    }
}

/// Hash of everything that must agree between training and running.
pub fn schema_hash() -> String {
    file_hash(schema().as_bytes())
}

/// SHA-256 of a file's bytes, in hex.
pub fn file_hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A change of the features needs a new model: train one, then change this.
    #[test]
    fn the_schema_is_frozen() {
        assert_eq!(schema_hash()[..16], *"a3dee91ed4095fd6", "{}", schema());
    }
}
