//! What a model says of itself. A model whose schema hash differs from this program's is refused:
//! it was trained on other features.

use crate::feature::SCHEMA;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// The manifest beside a model file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Name shown to people.
    pub name: String,
    /// [`schema_hash`] of the program that trained it.
    pub schema_hash: String,
    /// SHA-256 of the ONNX file, in hex.
    pub onnx_sha256: String,
    /// Lowest value of each feature in the training data.
    pub feature_min: Vec<f32>,
    /// Highest value of each feature in the training data.
    pub feature_max: Vec<f32>,
    /// Where the data came from, how much there was, and its licence.
    pub data: String,
    /// Revision of the source tree, `unknown` outside of one.
    pub revision: String,
    /// Seed of the training.
    pub seed: u64,
    /// Measured on the test part: pinball loss in watts per nameplate kilowatt, by method
    /// (`model`, `persistence`, `linear`), and coverage of the quantiles, by horizon.
    pub measured: BTreeMap<String, f64>,
}

/// Hash of everything that must agree between training and running.
pub fn schema_hash() -> String {
    hex(&Sha256::digest(SCHEMA.as_bytes()))
}

/// SHA-256 of a file's bytes, in hex.
pub fn file_hash(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A change of the features needs a new model: train one, then change this.
    #[test]
    fn the_schema_is_frozen() {
        assert_eq!(schema_hash()[..16], *"cd6235f82779c619");
    }
}
