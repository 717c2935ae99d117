//! One `[[node]]`.

use super::super::document::{Mistakes, Spot, Table};
use super::super::value::{one_of, ranged};
use super::{Current, Names, Node, What, id, positive, protection};
use headroom_controller_core::NodeKind;
use headroom_rack::{Amperes, DeviceId, RackId, Volts, Watts};
use std::sync::Arc;

pub(super) fn read(table: &Table<'_>, names: &mut Names, m: &Mistakes) -> Option<Node> {
    let name = table.need::<String>("id", "\"breaker-a\"");
    names.take(name.as_ref(), What::Node, m);
    let feed = table.get::<String>("feed");
    let parent = table.get::<String>("parent");
    let standby = table.get::<String>("standby");
    names.hung.extend(parent.iter().chain(&standby).cloned());
    if let Some(name) = &name {
        if let Some(parent) = &parent {
            names.parents.entry(name.value.clone()).or_default().push(parent.clone());
        }
        names.standbys.extend(standby.iter().map(|s| (name.value.clone(), s.clone())));
        names.feeds.extend(feed.iter().map(|f| (name.value.clone(), f.value.clone())));
    }
    if let (Some(standby), None) = (&standby, &parent) {
        m.add(standby.at, "standby without a parent", "name the parent that it stands by for");
    }
    let meter = meter(table, names, m);
    let words: Vec<(&str, NodeKind)> = NodeKind::ALL.iter().map(|(kind, word)| (*word, *kind)).collect();
    let kind = table.need::<String>("kind", "\"breaker\"").and_then(|k| one_of(&k, "kind", &words, m));
    let phases = phases(table, m);
    let rating = rating(table, kind, phases.as_ref().map_or(3, |s| s.value), m);
    // A current without is one of three; what is rated in watts has those of what feeds it.
    let is_current = rating.is_some_and(|(_, current)| current.is_some());
    let phases = phases.or(is_current.then_some(Spot { value: 3, at: table.at() }));
    if let (Some(name), Some(phases)) = (&name, phases) {
        names.phased.insert(name.value.clone(), phases);
    }
    protection::refuse_ir(table, rating.and_then(|(_, current)| current), m);
    let ambient_celsius =
        table.get::<f64>("ambient_celsius").map(|s| ranged(Some(s), 30.0, -40.0, 90.0, "ambient_celsius", m));
    let protection = match kind {
        Some(kind) => protection::read(table, kind, rating.and_then(|(_, current)| current), ambient_celsius, m),
        None => {
            table.ignore(&protection::KEYS);
            None
        }
    };
    let battery = super::battery::read(table, kind.is_none_or(|kind| kind == NodeKind::Ups), m);
    table.refuse_unknown();
    let (rated, current) = rating?;
    let protection = protection?;
    Some(Node {
        id: id(name.as_ref(), "id", m)?,
        kind: kind?,
        // Filled in once all nodes are known.
        feed: String::new(),
        parent: parent.and_then(|p| id(Some(&p), "parent", m)),
        standby: standby.and_then(|p| id(Some(&p), "standby", m)),
        rating: rated * protection.left,
        current,
        // As the feed.
        phases: 3,
        family: protection.family,
        ambient_celsius,
        curve: Arc::new(protection.curve),
        meter,
        battery: battery.map(Arc::new),
    })
}

fn meter(table: &Table<'_>, names: &mut Names, m: &Mistakes) -> Option<(RackId, DeviceId)> {
    let spot = table.get::<String>("meter")?;
    let path = spot.value.split_once('/').and_then(|(r, d)| Some((RackId::new(r).ok()?, DeviceId::new(d).ok()?)));
    if path.is_none() {
        let remedy = "write RACK/DEVICE, like meter = \"rack-1/ups-a\"";
        m.add(spot.at, format!("meter = {:?} names no device", spot.value), remedy);
    } else {
        names.meters.push(spot);
    }
    path
}

/// The rating as it stands there: a current, or watts.
fn rating(table: &Table<'_>, kind: Option<NodeKind>, phases: u32, m: &Mistakes) -> Option<(Watts, Option<Current>)> {
    let watts = table.get::<f64>("rating_watts");
    let amperes = table.get::<f64>("rating_amperes");
    match (watts, amperes) {
        (Some(_), Some(amperes)) => {
            m.add(amperes.at, "rating_watts and rating_amperes are both there", "keep one of them");
            None
        }
        (None, Some(_)) => {
            let current = current(table, phases, m)?;
            Some((current.volts * current.rating * f64::from(current.phases), Some(current)))
        }
        (None, None) if kind == Some(NodeKind::Breaker) => {
            current(table, phases, m);
            None
        }
        _ => Some((Watts::new(positive(table, "rating_watts", "30000", m)?), None)),
    }
}

fn current(table: &Table<'_>, phases: u32, m: &Mistakes) -> Option<Current> {
    let rating = positive(table, "rating_amperes", "16.0", m);
    let volts = positive(table, "volts", "240.0", m);
    Some(Current { rating: Amperes::new(rating?), volts: Volts::new(volts?), phases })
}

fn phases(table: &Table<'_>, m: &Mistakes) -> Option<Spot<u32>> {
    let spot = table.get::<u64>("phases")?;
    if !matches!(spot.value, 1 | 3) {
        m.add(spot.at, format!("phases = {} does not exist", spot.value), "write 1 or 3");
        return None;
    }
    Some(Spot { value: spot.value as u32, at: spot.at })
}
