//! The predictor: power of one rack over the next half minute as quantiles. One feature code for
//! training and running ([`feature`]), a network run by tract ([`Predictor`]), a [`baseline`] that
//! takes over, with the reason, whenever the network cannot be trusted, and a memory of the run;
//! outcomes settle what each of them counts for ([`mixture`], as `bench power` plays it).

pub mod baseline;
pub mod bound;
pub mod feature;
pub mod history;
pub mod manifest;
pub mod margin;
pub mod mixture;
pub mod mixtures;
mod net;
pub mod pool;
mod predictor;
pub mod scorer;
pub mod stays;
pub mod store;
pub mod verdict;

pub use feature::{FEATURES, Features, NoFeatures, features};
pub use history::{History, Sample};
pub use manifest::{Data, Manifest, Measured, Scaling, file_hash, schema_hash};
pub use margin::Margins;
pub use mixtures::{Mixtures, Spoken};
pub use net::Net;
pub use predictor::{Predictor, Refused};
pub use scorer::{Method, Scorer};
pub use verdict::Standing;

/// Length of the history a forecast is made from, s, at one sample a second.
pub const WINDOW_S: usize = 60;
/// Seconds ahead.
pub const HORIZONS_S: [u32; 6] = [1, 2, 5, 10, 20, 30];
/// Probabilities.
pub const QUANTILES: [f64; 3] = [0.5, 0.9, 0.99];
/// Numbers the network answers with: horizons times quantiles, quantiles innermost.
pub const OUTPUTS: usize = HORIZONS_S.len() * QUANTILES.len();

/// Power by horizon and quantile: of a site there are thousands each second, so they are in one piece.
pub type Values = [[headroom_rack::Watts; QUANTILES.len()]; HORIZONS_S.len()];
