//! `battery` of a `[[node]]` of kind "ups": runtimes of its data sheet, or usable energy and Peukert's exponent.

use super::super::document::{Mistakes, Table};
use super::positive;
use headroom_controller_core::battery::{BatteryError, BatterySpec};
use headroom_rack::Watts;

const EXAMPLE: &str = "battery = { runtime = [[10000, 1260], [20000, 540], [30000, 330]] }   # W at the output, s";

pub(super) fn read(table: &Table<'_>, is_ups: bool, m: &Mistakes) -> Option<BatterySpec> {
    let battery = table.table("battery");
    if !battery.is_there() {
        return None;
    }
    if !is_ups {
        m.add(battery.at(), "a battery at a node that is no UPS", "write it at the node of kind = \"ups\"");
    }
    let runtime = battery.get::<Vec<Vec<f64>>>("runtime");
    let number = |key| battery.get::<f64>(key).map(|spot| spot.value);
    let (peukert, capacity) = (number("peukert"), number("capacity").unwrap_or(1.0));
    let energy = battery.has("usable_wh") || battery.has("hours");
    let (at, made) = match (&runtime, energy) {
        (Some(_), true) => {
            battery.ignore(&["usable_wh", "hours"]);
            m.add(
                battery.at(),
                "runtime and usable_wh are both there",
                "keep one of them: the data sheet's runtimes if you have them",
            );
            return finish(&battery, None);
        }
        (None, true) => {
            let wh = positive(&battery, "usable_wh", "3000", m);
            let hours = positive(&battery, "hours", "0.1", m);
            let Some((wh, hours)) = wh.zip(hours) else { return finish(&battery, None) };
            (battery.at(), BatterySpec::from_energy(wh, hours, peukert, capacity))
        }
        (Some(rows), false) => {
            let points: Option<Vec<(Watts, f64)>> = rows
                .value
                .iter()
                .map(|row| match row.as_slice() {
                    [load, seconds] => Some((Watts::new(*load), *seconds)),
                    _ => None,
                })
                .collect();
            let Some(points) = points else {
                m.add(
                    rows.at,
                    "runtime has a row that is no pair",
                    format!("write [watts, seconds] for each, like {EXAMPLE}"),
                );
                return finish(&battery, None);
            };
            (rows.at, BatterySpec::new(points, peukert, capacity))
        }
        (None, false) => {
            if !battery.has("runtime") {
                m.add(battery.at(), "the battery says neither runtime nor usable_wh", format!("write {EXAMPLE}"));
            }
            return finish(&battery, None);
        }
    };
    let made = made.map_err(|wrong| wrong.iter().for_each(|wrong| m.add(at, wrong.to_string(), remedy(wrong)))).ok();
    finish(&battery, made.filter(|_| is_ups))
}

fn finish(battery: &Table<'_>, made: Option<BatterySpec>) -> Option<BatterySpec> {
    battery.refuse_unknown();
    made
}

fn remedy(wrong: &BatteryError) -> String {
    match wrong {
        BatteryError::Nothing => format!("write one point at least, like {EXAMPLE}"),
        BatteryError::Range { what: "peukert", .. } => {
            "write 1.05 to 1.15 for AGM, 1.1 to 1.25 for gel, 1.2 to 1.6 for flooded cells, or leave it out".to_owned()
        }
        BatteryError::Range { what: "capacity", .. } => {
            "write the share of its capacity that an aged battery has left, like 0.8; 1 is a new one".to_owned()
        }
        _ => "write rows of [watts at the output, seconds] from the least load to the greatest".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::parse_tree;

    /// What `topology check` says of a UPS with this battery, in the plant of the example.
    fn said(battery: &str) -> String {
        let plant = include_str!("../../../../deploy/topologies/single-feed.toml");
        let text = plant.replacen("kind = \"ups\"\n", &format!("kind = \"ups\"\n{battery}\n"), 1);
        match parse_tree("plant.toml", &text, None) {
            Ok(tree) => format!("{:?}", tree.nodes[0].battery),
            Err(mistakes) => mistakes.iter().map(|m| format!("{}: {m}\n", m.line)).collect(),
        }
    }

    #[test]
    fn a_battery_is_its_runtimes_or_its_energy() {
        assert!(
            said("battery = { runtime = [[10000, 900], [20000, 360]], capacity = 0.8 }").contains("20000.0, 360.0")
        );
        assert!(said("battery = { usable_wh = 2000, hours = 0.1, peukert = 1.15 }").contains("360.0"));
    }

    #[test]
    fn every_mistake_of_a_battery_is_told_at_once_with_its_line() {
        let text =
            said("battery = { runtime = [[20000, 300], [10000, 600]], peukert = 12, capacity = 80, minuts = 3 }");
        for part in ["loads must rise", "peukert is 12", "capacity is 80", "minuts", "plant.toml:"] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
        for (battery, part) in [
            ("battery = { }", "neither runtime nor usable_wh"),
            ("battery = { runtime = [] }", "no runtime at any load"),
            ("battery = { runtime = [[1000]] }", "no pair"),
            ("battery = { runtime = [[1000, 60]], usable_wh = 3 }", "both there"),
            ("battery = { usable_wh = -3 }", "hours"),
            ("battery = { runtime = \"long\" }", "a list of lists"),
        ] {
            assert!(said(battery).contains(part), "{part} is missing in\n{}", said(battery));
        }
        let plant = "[[node]]\nid = \"b\"\nkind = \"breaker\"\nbattery = { runtime = [[1000, 60]] }\n";
        let mistakes = parse_tree("plant.toml", plant, None).unwrap_err();
        assert!(mistakes.iter().any(|m| m.line == 4 && m.problem.contains("no UPS")), "{mistakes:?}");
    }
}
