//! What changes from one policy to another, in words.

use crate::clock::date_of;
use headroom_controller_core::{Bounds, Policy, Rule, Rules, When};
use std::collections::{BTreeMap, BTreeSet};

/// One line for each difference.
pub fn diff(old: &Rules, new: &Rules) -> Vec<String> {
    let (old, new) = (words(old), words(new));
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let line = |key: &String| match (old.get(key), new.get(key)) {
        (Some(a), Some(b)) if a == b => None,
        (Some(a), Some(b)) => Some(format!("{key}: {a} -> {b}")),
        (Some(a), None) => Some(format!("{key}: {a} -> not said")),
        (None, Some(b)) => Some(format!("{key}: not said -> {b}")),
        (None, None) => None,
    };
    keys.into_iter().filter_map(line).collect()
}

/// Every statement of a policy by what it is about.
fn words(rules: &Rules) -> BTreeMap<String, String> {
    let Policy {
        bands,
        floor_gpu,
        response,
        derate,
        release_watts_per_s,
        // The lease is the config's.
        lease: _,
        period: _,
        coolant_limit_celsius,
        inlet_limit_celsius,
        battery_target,
        classes,
        priorities,
        racks,
        site,
        nodes,
    } = &rules.base;
    let mut said = BTreeMap::from([
        ("order".to_owned(), bands.join(", ")),
        ("floor_gpu_watts".to_owned(), floor_gpu.get().to_string()),
        ("response_s".to_owned(), response.as_secs_f64().to_string()),
        ("derate".to_owned(), derate.to_string()),
        ("release_watts_per_s".to_owned(), release_watts_per_s.to_string()),
        ("coolant_limit_celsius".to_owned(), coolant_limit_celsius.to_string()),
        ("battery_target_s".to_owned(), battery_target.as_secs_f64().to_string()),
        ("utc_offset, minutes".to_owned(), rules.offset_minutes.to_string()),
    ]);
    said.extend(inlet_limit_celsius.map(|celsius| ("inlet_limit_celsius".to_owned(), celsius.to_string())));
    said.extend(site.map(|watts| ("site_watts".to_owned(), watts.get().to_string())));
    said.extend(classes.iter().flat_map(|(class, b)| bounds(&format!("class {class}"), b)));
    said.extend(racks.iter().flat_map(|(rack, b)| bounds(&format!("rack {rack}"), b)));
    said.extend(priorities.iter().map(|(rack, band)| (format!("rack {rack}, priority"), band.clone())));
    said.extend(nodes.iter().map(|(node, watts)| (format!("node {node}, watts"), watts.get().to_string())));
    for (i, rule) in rules.rules.iter().enumerate() {
        said.extend(of_rule(&format!("rule {:?}", rule.name), i, rule));
    }
    said
}

fn of_rule(name: &str, place: usize, rule: &Rule) -> Vec<(String, String)> {
    let mut said = vec![
        (format!("{name}, place"), (place + 1).to_string()),
        (format!("{name}, active"), rule.active.to_string()),
        (format!("{name}, when"), time(&rule.when)),
    ];
    said.extend(rule.bands.as_ref().map(|bands| (format!("{name}, order"), bands.join(", "))));
    said.extend(rule.site.map(|watts| (format!("{name}, site_watts"), watts.get().to_string())));
    said.extend(
        rule.nodes.iter().map(|(node, watts)| (format!("{name}, node {node}, watts"), watts.get().to_string())),
    );
    said.extend(rule.classes.iter().flat_map(|(class, b)| bounds(&format!("{name}, class {class}"), b)));
    said.extend(rule.racks.iter().flat_map(|(rack, b)| bounds(&format!("{name}, rack {rack}"), b)));
    said
}

fn bounds(of: &str, bounds: &Bounds) -> Vec<(String, String)> {
    let watts =
        |what: &str, value: Option<headroom_rack::Watts>| Some((format!("{of}, {what}"), value?.get().to_string()));
    let weight = bounds.weight.map(|w| (format!("{of}, weight"), w.to_string()));
    let both = [watts("floor_gpu_watts", bounds.floor_gpu), watts("ceiling_gpu_watts", bounds.ceiling_gpu), weight];
    both.into_iter().flatten().collect()
}

fn time(when: &When) -> String {
    const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    let clock = |m: i64| format!("{:02}:{:02}", m / 60, m % 60);
    let mut parts = Vec::new();
    parts.extend(when.minutes.map(|(from, to)| format!("{} to {}", clock(from), clock(to))));
    parts.extend(
        when.days.map(|days| DAYS.iter().zip(days).filter(|d| d.1).map(|d| *d.0).collect::<Vec<_>>().join(" ")),
    );
    parts.extend(when.dates.as_ref().map(|dates| {
        // The same days in another order are the same.
        let days: BTreeSet<i64> = dates.iter().copied().collect();
        format!("on {}", days.into_iter().map(date_of).collect::<Vec<_>>().join(", "))
    }));
    if parts.is_empty() { "always".to_owned() } else { parts.join(", ") }
}
