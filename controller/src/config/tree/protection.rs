//! What trips at a `[[node]]`: a family that ships, under the settings of the device, or an overload table of its
//! own data sheet.

use super::super::document::{Mistakes, Table};
use super::{Current, overload};
use headroom_controller_core::NodeKind;
use headroom_controller_core::trip::{Curve, Family, FamilyError, Settings, families, family};

/// All that is read here.
pub(super) const KEYS: [&str; 6] = ["curve", "overload", "tr_s", "isd", "tsd_s", "ii"];

/// The protection of a node.
pub(super) struct Protection {
    /// Its family, or "own".
    pub family: String,
    /// Share of the rating left at the temperature around it.
    pub left: f64,
    pub curve: Curve,
}

pub(super) fn read(
    table: &Table<'_>,
    kind: NodeKind,
    current: Option<Current>,
    ambient_celsius: Option<f64>,
    m: &Mistakes,
) -> Option<Protection> {
    let is_table = matches!(kind, NodeKind::Ups | NodeKind::Transformer);
    if table.has("overload") {
        let curve = overload::read(table, is_table, m)?;
        return Some(Protection { family: "own".to_owned(), left: 1.0, curve });
    }
    table.ignore(&["overload"]);
    let fits = |f: &&Family| f.is_table() == is_table;
    let spot = table.get::<String>("curve");
    let at = spot.as_ref().map_or(table.at(), |s| s.at);
    let set = ["tr_s", "isd", "tsd_s", "ii"].map(|key| (key, table.get::<f64>(key)));
    let spot_of = |key: &str| set.iter().find(|(k, _)| *k == key).and_then(|(_, spot)| *spot);
    let number = |key| spot_of(key).map(|s| s.value);
    let settings = Settings {
        amperes: current.map(|c| c.rating.get()),
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
        let remedy = format!(
            "write one of {}; `headroom-controller curves` tells them; or an overload of its data sheet",
            names.join(", ")
        );
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
    let curve = found.curve(&settings.without_unused(&mistakes)).ok()?;
    let left = ambient_celsius.map_or(1.0, |celsius| found.ambient_factor(celsius));
    Some(Protection { family: found.name.clone(), left, curve })
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
pub(super) fn refuse_ir(table: &Table<'_>, current: Option<Current>, m: &Mistakes) {
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
