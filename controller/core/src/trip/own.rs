//! A curve from the data sheet of a device of which no family ships: what it bears, and for how long.

use super::Curve;
use super::family::steps;

/// Beyond the last load that a device bears, it bears none for longer than this.
const BEYOND_S: f64 = 0.01;
/// How fast a device without a thermal image forgets an overload: as long as for the families, since no maker says.
const COOLS_S: f64 = 600.0;
/// What takes this long or longer is a bimetal's doing.
const SLOW_S: f64 = 1.0;

/// What is wrong with a table of overloads.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum OwnError {
    /// There is nothing in it.
    #[error("there is no load in it")]
    Nothing,
    /// A load or a time that no device has.
    #[error("[{ratio}, {seconds}] is not above 1 and at most 100 times the rating for {BEYOND_S} to 86400 s")]
    Range {
        /// Load over rating.
        ratio: f64,
        /// How long it is borne.
        seconds: f64,
    },
    /// Loads that do not rise.
    #[error("loads must rise: {0} comes before {1}")]
    Loads(f64, f64),
    /// Times that do not fall.
    #[error("seconds must fall: {0} comes before {1}")]
    Seconds(f64, f64),
    /// A breaker without a slow part.
    #[error("no load is borne for {SLOW_S} s or more, as every breaker and fuse does")]
    NoSlow,
}

impl Curve {
    /// The earliest trip of a device that bears each of these loads (over its rating, rising) for so long (s,
    /// falling). Between two loads it bears the higher one's time, beyond the last none. `is_table`: it has no thermal
    /// image, as a UPS; of others, what was carried before counts, and the rating is carried for ever.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn own(bears: &[(f64, f64)], is_table: bool) -> Result<Self, Vec<OwnError>> {
        let mut wrong = Vec::new();
        let Some(first) = bears.first() else { return Err(vec![OwnError::Nothing]) };
        for (ratio, seconds) in bears {
            if !(*ratio > 1.0 && *ratio <= 100.0 && (BEYOND_S..=86_400.0).contains(seconds)) {
                wrong.push(OwnError::Range { ratio: *ratio, seconds: *seconds });
            }
        }
        for pair in bears.windows(2) {
            if pair[1].0 <= pair[0].0 {
                wrong.push(OwnError::Loads(pair[0].0, pair[1].0));
            }
            if pair[1].1 >= pair[0].1 {
                wrong.push(OwnError::Seconds(pair[0].1, pair[1].1));
            }
        }
        if !is_table && first.1 < SLOW_S {
            wrong.push(OwnError::NoSlow);
        }
        if !wrong.is_empty() {
            return Err(wrong);
        }
        let after = bears.iter().skip(1).map(|(_, seconds)| *seconds).chain([BEYOND_S]);
        let mut bands: Vec<(f64, f64)> = bears.iter().map(|(ratio, _)| *ratio).zip(after).collect();
        if is_table {
            bands.insert(0, (1.0, first.1));
            return Ok(Self::table(steps(&bands), COOLS_S));
        }
        let slow: Vec<(f64, f64)> = bears.iter().copied().filter(|(_, seconds)| *seconds >= SLOW_S).collect();
        Ok(Self::image(1.0, &slow, steps(&bands)))
    }
}
