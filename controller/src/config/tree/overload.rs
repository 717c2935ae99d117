//! `overload` of a `[[node]]`: what its data sheet says that it bears and for how long, for devices of which no
//! family ships.

use super::super::document::{Mistakes, Table};
use super::protection::KEYS;
use headroom_controller_core::trip::{Curve, OwnError};

const EXAMPLE: &str = "overload = [[1.1, 600], [1.25, 60], [1.5, 10]]   # times its rating, s";

/// Its curve. `is_table`: it is no breaker or fuse, and has no thermal image.
pub(super) fn read(table: &Table<'_>, is_table: bool, m: &Mistakes) -> Option<Curve> {
    let rows = table.get::<Vec<Vec<f64>>>("overload");
    let others: Vec<&str> = KEYS.iter().copied().filter(|key| *key != "overload" && table.has(key)).collect();
    table.ignore(&KEYS);
    let rows = rows?;
    if !others.is_empty() {
        let problem = format!("overload and {} are both there", others.join(", "));
        m.add(rows.at, problem, "keep the curve of a family with its settings, or an overload table of your own");
    }
    if table.has("ambient_celsius") {
        let problem = "ambient_celsius has no effect beside overload: nobody knows what is left of the rating";
        m.add(
            rows.at,
            problem,
            "write the rating and overload as they are at that temperature, without ambient_celsius",
        );
    }
    let pairs: Option<Vec<(f64, f64)>> =
        rows.value.iter().map(|row| <[f64; 2]>::try_from(row.as_slice()).ok().map(|[r, s]| (r, s))).collect();
    let Some(pairs) = pairs else {
        m.add(
            rows.at,
            "overload has a row that is no pair",
            format!("write [times the rating, seconds], like {EXAMPLE}"),
        );
        return None;
    };
    match Curve::own(&pairs, is_table) {
        Ok(curve) => Some(curve),
        Err(wrong) => {
            wrong.iter().for_each(|wrong| m.add(rows.at, format!("overload: {wrong}"), remedy(wrong)));
            None
        }
    }
}

fn remedy(wrong: &OwnError) -> String {
    match wrong {
        OwnError::NoSlow => "write also what it bears for a second or more: that warms its bimetal".to_owned(),
        _ => format!("write rising loads and falling seconds, like {EXAMPLE}"),
    }
}
