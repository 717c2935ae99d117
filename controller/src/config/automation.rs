//! The `[automation]` section: when the automation stops itself and calls a person.

use super::document::{Mistakes, Table};
use super::value::ranged;
use headroom_controller_core::automation::Tolerance;
use std::time::Duration;

pub(super) fn read(table: &Table<'_>, m: &Mistakes) -> Tolerance {
    let default = Tolerance::default();
    let number =
        |key, default, low, high| ranged(table.get(key), default, low, high, &format!("{key} in [automation]"), m);
    let swings = number("swings_per_hour", default.swings_per_hour as f64, 1.0, 100_000.0);
    let percent = number("stop_percent", default.share * 100.0, 0.1, 100.0);
    let patience_s = number("patience_s", default.patience.as_secs_f64(), 1.0, 3600.0);
    table.refuse_unknown();
    Tolerance {
        swings_per_hour: swings as usize,
        share: percent / 100.0,
        patience: Duration::from_secs_f64(patience_s),
    }
}
