//! Which part of the data is for what. By time: training comes first, then validation, then test,
//! and no window reaches across a border. By rack: held-out racks are for test only.

use crate::data::Series;
use std::collections::BTreeSet;
use std::ops::Range;

/// Share of each series, from its start, that is trained on.
pub const TRAIN_SHARE: f64 = 0.70;
/// Share after that which decides when to stop.
pub const VALIDATION_SHARE: f64 = 0.15;
/// With this many racks or more, one is held out unless the user says otherwise.
const RACKS_TO_HOLD_OUT: usize = 4;

/// What a piece of data is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Weights and scaling are fitted on it.
    Train,
    /// Decides when to stop and which weights to keep.
    Validation,
    /// Later than the training, same racks.
    TestTime,
    /// Racks the training never saw.
    TestRack,
}

/// The racks to hold out: those the user names, or the last one when there are enough.
pub fn held_out(all: &[Series], named: &[String]) -> BTreeSet<String> {
    let racks: BTreeSet<&String> = all.iter().map(|s| &s.rack).collect();
    match racks.last() {
        Some(last) if named.is_empty() && racks.len() >= RACKS_TO_HOLD_OUT => [(*last).clone()].into(),
        _ => named.iter().cloned().collect(),
    }
}

/// The ranges of samples of one series, by part.
pub fn ranges(series: &Series, held_out: &BTreeSet<String>) -> Vec<(Part, Range<usize>)> {
    let n = series.samples.len();
    if held_out.contains(&series.rack) {
        return vec![(Part::TestRack, 0..n)];
    }
    let at = |share: f64| (n as f64 * share) as usize;
    let (train, validation) = (at(TRAIN_SHARE), at(TRAIN_SHARE + VALIDATION_SHARE));
    vec![(Part::Train, 0..train), (Part::Validation, train..validation), (Part::TestTime, validation..n)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use headroom_predict::Sample;
    use headroom_rack::Watts;

    fn series(rack: &str) -> Series {
        Series {
            source: "s".into(),
            rack: rack.into(),
            nameplate: Watts::new(1.0),
            start_s: 0,
            samples: vec![Sample::default(); 1001],
        }
    }

    #[test]
    fn parts_follow_each_other_and_cover_everything() {
        let parts = ranges(&series("a"), &BTreeSet::new());
        assert_eq!(parts.first().map(|p| p.1.start), Some(0));
        assert_eq!(parts.last().map(|p| p.1.end), Some(1001));
        assert!(parts.windows(2).all(|w| w[0].1.end == w[1].1.start));
    }

    #[test]
    fn a_held_out_rack_is_for_test_only() {
        let four: Vec<Series> = ["a", "b", "c", "d"].map(series).into();
        let held = held_out(&four, &[]);
        assert_eq!(held, ["d".to_owned()].into());
        assert_eq!(ranges(&four[3], &held), [(Part::TestRack, 0..1001)]);
        assert!(held_out(&four[..3], &[]).is_empty());
        assert_eq!(held_out(&four, &["a".into()]), ["a".to_owned()].into());
    }
}
