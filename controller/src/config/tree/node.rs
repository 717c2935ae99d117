//! One `[[node]]`.

use super::super::document::{Mistakes, Spot, Table};
use super::super::{one_of, ranged};
use super::{Current, Names, Node, What, id, positive};
use headroom_controller_core::NodeKind;
use headroom_controller_core::trip::{Curve, Family, FamilyError, Settings, families, family};
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
    refuse_ir(table, rating.and_then(|(_, current)| current), m);
    let ambient_celsius =
        table.get::<f64>("ambient_celsius").map(|s| ranged(Some(s), 30.0, -40.0, 90.0, "ambient_celsius", m));
    let protection = kind.and_then(|kind| protection(table, kind, rating, ambient_celsius, m));
    let battery = super::battery::read(table, kind.is_none_or(|kind| kind == NodeKind::Ups), m);
    table.refuse_unknown();
    let (rated, current) = rating?;
    let (family, curve) = protection?;
    let left = ambient_celsius.map_or(1.0, |celsius| family.ambient_factor(celsius));
    Some(Node {
        id: id(name.as_ref(), "id", m)?,
        kind: kind?,
        // Filled in once all nodes are known.
        feed: String::new(),
        parent: parent.and_then(|p| id(Some(&p), "parent", m)),
        standby: standby.and_then(|p| id(Some(&p), "standby", m)),
        rating: rated * left,
        current,
        // As the feed.
        phases: 3,
        family: family.name.clone(),
        ambient_celsius,
        curve: Arc::new(curve),
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

/// The family of the protection and its curve under the node's settings.
fn protection(
    table: &Table<'_>,
    kind: NodeKind,
    rating: Option<(Watts, Option<Current>)>,
    ambient_celsius: Option<f64>,
    m: &Mistakes,
) -> Option<(&'static Family, Curve)> {
    let fits = |f: &&Family| f.is_table() == matches!(kind, NodeKind::Ups | NodeKind::Transformer);
    let spot = table.get::<String>("curve");
    let at = spot.as_ref().map_or(table.at(), |s| s.at);
    let set = ["tr_s", "isd", "tsd_s", "ii"].map(|key| (key, table.get::<f64>(key)));
    let spot_of = |key: &str| set.iter().find(|(k, _)| *k == key).and_then(|(_, spot)| *spot);
    let number = |key| spot_of(key).map(|s| s.value);
    let settings = Settings {
        amperes: rating.and_then(|(_, current)| current).map(|c| c.rating.get()),
        ambient_celsius,
        tr_s: number("tr_s"),
        isd: number("isd"),
        tsd_s: number("tsd_s"),
        ii: number("ii"),
    };
    let found = match &spot {
        None => family(kind.usual_family()),
        Some(spot) => families().iter().filter(fits).find(|f| f.name == spot.value),
    };
    let Some(found) = found else {
        let names: Vec<String> = families().iter().filter(fits).map(|f| format!("{:?}", f.name)).collect();
        let written = spot.map(|s| s.value).unwrap_or_default();
        let remedy = format!("write one of {}; `headroom-controller curves` tells them", names.join(", "));
        m.add(at, format!("curve = {written:?} is not known for kind = {:?}", kind.word()), remedy);
        return None;
    };
    let mistakes = found.mistakes(&settings);
    for why in &mistakes {
        let is_told = table.has(why.setting()) && matches!(why, FamilyError::Missing { .. });
        if !is_told {
            m.add(spot_of(why.setting()).map_or(at, |s| s.at), why.to_string(), remedy(found, why));
        }
    }
    // What has no effect is a mistake, and leaves it known what the device does.
    found.curve(&settings.without_unused(&mistakes)).ok().map(|curve| (found, curve))
}

fn remedy(found: &Family, why: &FamilyError) -> String {
    match why {
        FamilyError::Unused { setting: setting @ ("tsd_s" | "isd"), .. } if found.is_electronic() => {
            format!("add isd, the short-time pickup in Ir, or remove {setting}")
        }
        FamilyError::Unused { setting, .. } => {
            format!("remove {setting}, or write the curve of a device that has it, like \"electronic-lsi\"")
        }
        _ if found.is_electronic() => {
            "write the settings of the trip unit: tr_s, ii and, if it has them, isd and tsd_s".to_owned()
        }
        FamilyError::Range { setting: "ii", .. } => {
            "write Ii as it is set on the device, as a multiple of In".to_owned()
        }
        _ => "write rating_amperes as it stands on the device".to_owned(),
    }
}

/// Trip units are set as a share of In, and the rating of a node is what its unit is set to.
fn refuse_ir(table: &Table<'_>, current: Option<Current>, m: &Mistakes) {
    let Some(ir) = table.get::<f64>("ir") else { return };
    let rated = current.map(|c| c.rating.get());
    let remedy = match rated {
        Some(rated) if ir.value > 0.0 && ir.value <= 1.0 => {
            format!(
                "write rating_amperes = {}, if In is {rated} A, and remove ir",
                (ir.value * rated * 10.0).round() / 10.0
            )
        }
        _ => "write Ir times In, in amperes, as rating_amperes, and remove ir".to_owned(),
    };
    m.add(
        ir.at,
        format!("ir = {}: the rating of a node is what its trip unit is set to, Ir times In", ir.value),
        remedy,
    );
}
