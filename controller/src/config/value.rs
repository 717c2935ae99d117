//! Values that keys of several tables have: names, choices, numbers in a range, secrets, URLs.

use super::document::{Mistakes, Spot, Table};
use headroom_rack::RackId;

/// A name that may stand in a topic.
pub(super) fn name(spot: Option<Spot<String>>, key: &str, m: &Mistakes) -> Option<String> {
    let spot = spot?;
    // Racks have the alphabet that fits everywhere.
    match RackId::new(spot.value.clone()) {
        Ok(_) => Some(spot.value),
        Err(why) => {
            m.add(spot.at, format!("{key} = {:?} cannot stand in a topic", spot.value), why.to_string());
            None
        }
    }
}

pub(super) fn one_of<T: Copy>(spot: &Spot<String>, key: &str, choices: &[(&str, T)], m: &Mistakes) -> Option<T> {
    let found = choices.iter().find(|(word, _)| *word == spot.value);
    if found.is_none() {
        let words: Vec<String> = choices.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        m.add(spot.at, format!("{key} = {:?} is not known", spot.value), format!("write one of {}", words.join(", ")));
    }
    found.map(|(_, value)| *value)
}

pub(super) fn ranged(spot: Option<Spot<f64>>, default: f64, low: f64, high: f64, key: &str, m: &Mistakes) -> f64 {
    match spot {
        None => default,
        Some(spot) if (low..=high).contains(&spot.value) => spot.value,
        Some(spot) => {
            m.add(spot.at, format!("{key} = {} is out of range", spot.value), format!("write {low} to {high}"));
            default
        }
    }
}

pub(super) fn secret(table: &Table<'_>, key: &'static str, need: bool, m: &Mistakes) -> Option<String> {
    let spot: Spot<String> = if need { table.need(key, "\"NAME_OF_A_VARIABLE\"")? } else { table.get(key)? };
    match std::env::var(&spot.value) {
        Ok(value) if !value.is_empty() => Some(value),
        _ => {
            m.add(
                spot.at,
                format!("{key} names the environment variable {:?}, which is not set", spot.value),
                format!("set it before the start: {}=...", spot.value),
            );
            None
        }
    }
}

pub(super) fn http_url(spot: Spot<String>, place: &str, m: &Mistakes) -> Option<String> {
    let good = reqwest::Url::parse(&spot.value).is_ok_and(|u| matches!(u.scheme(), "http" | "https"));
    if !good {
        m.add(spot.at, format!("url in {place} is no http or https URL"), "write url = \"https://HOST/PATH\"");
    }
    good.then_some(spot.value)
}
