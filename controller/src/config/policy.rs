//! The policy file: who comes first, how little and how much a GPU may get, what all may draw together, and
//! what of that changes with the time of day. Read strictly, every mistake at once.

use super::document::{self, Mistake, Mistakes, Spot, Table};
use super::{PolicySpec, Tree, limits, one_of, ranged};
use headroom_controller_core::{Bounds, Policy, Rule, Rules, When};
use headroom_rack::{NodeId, RackId, Watts};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

/// A sound policy file.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicyFile {
    /// The numbers of its base.
    pub spec: PolicySpec,
    /// All of it. The lease is the config's and filled in there.
    pub rules: Rules,
}

/// Names that must be those of the plant, with where they stand.
#[derive(Default)]
struct Names {
    racks: Vec<Spot<String>>,
    nodes: Vec<Spot<String>>,
    classes: Vec<Spot<String>>,
    orders: Vec<Spot<Vec<String>>>,
}

/// Checks the text of a policy file; with `tree`, also that what it names is there.
///
/// # Errors
/// Every mistake.
pub fn parse_policy(file: &str, text: &str, tree: Option<&Tree>) -> Result<PolicyFile, Vec<Mistake>> {
    document::read(file, text, |root, m| {
        let policy = read(root, tree, m);
        m.is_empty().then_some(policy)
    })
}

fn read(root: &Table<'_>, tree: Option<&Tree>, m: &Mistakes) -> PolicyFile {
    let mut names = Names::default();
    let priorities = root.table("priorities");
    let order = priorities.need::<Vec<String>>("order", "[\"training\", \"inference\", \"batch\"]");
    priorities.refuse_unknown();
    let order = order.filter(|o| ordered(o, m));
    let bands = order.as_ref().map_or_else(|| vec!["all".to_owned()], |o| o.value.clone());
    let table = root.table("limits");
    let spec = limits(&table, bands, "[limits]", m);
    table.refuse_unknown();
    let time = root.table("time");
    let offset_minutes = time.get::<String>("utc_offset").map_or(0, |s| offset(&s, m));
    time.refuse_unknown();
    let target = root.table("target");
    let site = watts(target.get("site_watts"), "site_watts", m);
    target.refuse_unknown();
    let classes = classes(&root.tables("class"), &mut names, m);
    let (racks, priorities) = racks(&root.tables("rack"), &mut names, m);
    let nodes = nodes(&root.tables("node"), &mut names, m);
    let rules: Vec<Rule> = root.tables("rule").iter().map(|t| rule(t, &mut names, m)).collect();
    names.orders.extend(order.clone());
    check(&names, order.as_ref(), &priorities, tree, m);
    let base = Policy { classes, racks, priorities, nodes, site, ..super::core::base(&spec) };
    PolicyFile { spec, rules: Rules { base, rules, offset_minutes } }
}

/// An order names each band once.
fn ordered(order: &Spot<Vec<String>>, m: &Mistakes) -> bool {
    let mut seen = std::collections::BTreeSet::new();
    let twice = order.value.iter().find(|band| !seen.insert(band.as_str()));
    match twice {
        Some(twice) => {
            m.add(order.at, format!("order names {twice:?} twice"), "name each class once, the most important first")
        }
        None if order.value.is_empty() => m.add(order.at, "order is empty", "name at least one class"),
        None => return true,
    }
    false
}

fn check(
    names: &Names,
    order: Option<&Spot<Vec<String>>>,
    priorities: &BTreeMap<RackId, String>,
    tree: Option<&Tree>,
    m: &Mistakes,
) {
    if let Some(order) = order {
        for class in names.classes.iter().filter(|c| !order.value.contains(&c.value)) {
            let remedy = format!("write one of {}, or add it to order in [priorities]", order.value.join(", "));
            m.add(class.at, format!("no class is named {:?}", class.value), remedy);
        }
        for other in &names.orders {
            let mut both = [order.value.clone(), other.value.clone()];
            both.iter_mut().for_each(|o| o.sort());
            if both[0] != both[1] {
                let remedy = format!("put {} into another order; leave none out", order.value.join(", "));
                m.add(other.at, "this order does not have the classes of [priorities]", remedy);
            }
        }
    }
    let Some(tree) = tree else { return };
    for spot in names.racks.iter().filter(|s| !tree.racks.iter().any(|r| r.id.as_str() == s.value)) {
        m.add(spot.at, format!("no rack is named {:?}", spot.value), "write a rack of the topology");
    }
    for spot in names.nodes.iter().filter(|s| !tree.nodes.iter().any(|n| n.id.as_str() == s.value)) {
        m.add(spot.at, format!("no node is named {:?}", spot.value), "write a node of the topology");
    }
    for rack in order.map_or(&[][..], |_| &tree.racks) {
        let band = priorities.get(&rack.id).unwrap_or(&rack.priority);
        if let Some(order) = order.filter(|o| !o.value.contains(band)) {
            let remedy = "add it to order, or give the rack another priority with [[rack]]";
            m.add(order.at, format!("order has no {band:?}, the priority of rack {:?}", rack.id.as_str()), remedy);
        }
    }
}

fn id<T: FromStr<Err: Display>>(spot: &Spot<String>, m: &Mistakes) -> Option<T> {
    spot.value
        .parse()
        .map_err(|why: T::Err| m.add(spot.at, format!("{:?} is not a name", spot.value), why.to_string()))
        .ok()
}

fn watts(spot: Option<Spot<f64>>, key: &str, m: &Mistakes) -> Option<Watts> {
    spot.map(|s| Watts::new(ranged(Some(s), 1.0, 1.0, 1e9, key, m)))
}

/// Floor, ceiling and weight of a class or rack.
fn bounds(table: &Table<'_>, m: &Mistakes) -> Bounds {
    let gpu = |key: &'static str| {
        table.get::<f64>(key).map(|s| (s.at, Watts::new(ranged(Some(s), 0.0, 0.0, 5000.0, key, m))))
    };
    let (floor, ceiling) = (gpu("floor_gpu_watts"), gpu("ceiling_gpu_watts"));
    if let (Some((_, floor)), Some((at, ceiling))) = (floor, ceiling)
        && ceiling < floor
    {
        let problem = format!("ceiling_gpu_watts = {} is below floor_gpu_watts = {}", ceiling.get(), floor.get());
        m.add(at, problem, "let the ceiling be the floor or more");
    }
    let weight = table.get::<f64>("weight").map(|s| ranged(Some(s), 1.0, 0.001, 1000.0, "weight", m));
    Bounds { floor_gpu: floor.map(|f| f.1), ceiling_gpu: ceiling.map(|c| c.1), weight }
}

fn classes(tables: &[Table<'_>], names: &mut Names, m: &Mistakes) -> BTreeMap<String, Bounds> {
    let mut classes = BTreeMap::new();
    for table in tables {
        let name = table.need::<String>("name", "\"batch\"");
        let bounds = bounds(table, m);
        table.refuse_unknown();
        let Some(name) = name else { continue };
        names.classes.push(name.clone());
        if classes.insert(name.value.clone(), bounds).is_some() {
            m.add(name.at, format!("class {:?} stands here twice", name.value), "keep one of them");
        }
    }
    classes
}

type Racks = (BTreeMap<RackId, Bounds>, BTreeMap<RackId, String>);

fn racks(tables: &[Table<'_>], names: &mut Names, m: &Mistakes) -> Racks {
    let (mut racks, mut priorities) = (BTreeMap::new(), BTreeMap::new());
    for table in tables {
        let name = table.need::<String>("id", "\"rack-1\"");
        let priority = table.get::<String>("priority");
        let bounds = bounds(table, m);
        table.refuse_unknown();
        let Some((name, rack)) = name.and_then(|n| Some((n.clone(), id::<RackId>(&n, m)?))) else { continue };
        names.racks.push(name.clone());
        if let Some(priority) = priority {
            priorities.insert(rack.clone(), priority.value.clone());
            names.classes.push(priority);
        }
        if racks.insert(rack, bounds).is_some() {
            m.add(name.at, format!("rack {:?} stands here twice", name.value), "keep one of them");
        }
    }
    (racks, priorities)
}

fn nodes(tables: &[Table<'_>], names: &mut Names, m: &Mistakes) -> BTreeMap<NodeId, Watts> {
    let mut nodes = BTreeMap::new();
    for table in tables {
        let name = table.need::<String>("id", "\"ups-a\"");
        let most = watts(table.need("watts", "20000"), "watts", m);
        table.refuse_unknown();
        let Some((name, node)) = name.and_then(|n| Some((n.clone(), id::<NodeId>(&n, m)?))) else { continue };
        names.nodes.push(name);
        nodes.extend(most.map(|watts| (node, watts)));
    }
    nodes
}

fn rule(table: &Table<'_>, names: &mut Names, m: &Mistakes) -> Rule {
    let name = table.need::<String>("name", "\"night tariff\"").map(|n| n.value).unwrap_or_default();
    let active = table.get::<bool>("active").is_none_or(|s| s.value);
    let order = table.get::<Vec<String>>("order").filter(|o| ordered(o, m));
    names.orders.extend(order.clone());
    let site = watts(table.get("site_watts"), "site_watts", m);
    let classes = classes(&table.tables("classes"), names, m);
    let (racks, priorities) = racks(&table.tables("racks"), names, m);
    if !priorities.is_empty() {
        m.add(table.at(), "a rule cannot change the priority of a rack", "change the order, or the bounds of the rack");
    }
    let nodes = nodes(&table.tables("nodes"), names, m);
    let when = when(&table.table("when"), m);
    table.refuse_unknown();
    Rule { name, active, when, bands: order.map(|o| o.value), site, nodes, classes, racks }
}

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

fn when(table: &Table<'_>, m: &Mistakes) -> When {
    let words: Vec<(&str, usize)> = DAYS.iter().enumerate().map(|(i, d)| (*d, i)).collect();
    let days = table.get::<Vec<String>>("days").map(|spot| {
        let mut on = [false; 7];
        for day in &spot.value {
            if let Some(day) = one_of(&Spot { value: day.clone(), at: spot.at }, "days", &words, m) {
                on[day] = true;
            }
        }
        on
    });
    let dates = table.get::<Vec<String>>("dates");
    let dates = dates.map_or_else(Vec::new, |spot| {
        let read = |text: &String| {
            let day = day_of(text);
            if day.is_none() {
                m.add(spot.at, format!("{text:?} is no date"), "write dates like \"2026-12-24\"");
            }
            day
        };
        spot.value.iter().filter_map(read).collect()
    });
    let time = |key: &'static str| {
        let spot = table.get::<String>(key)?;
        let minute = minute_of(&spot.value);
        if minute.is_none() {
            m.add(
                spot.at,
                format!("{key} = {:?} is no time of day", spot.value),
                "write 00:00 to 24:00, like \"22:00\"",
            );
        }
        minute
    };
    let (from, to) = (time("from"), time("to"));
    if from.is_some() != to.is_some() {
        m.add(table.at(), "a rule needs both from and to, or neither", "write from = \"22:00\", to = \"06:00\"");
    }
    table.refuse_unknown();
    When { days, dates, minutes: from.zip(to) }
}

/// Minutes of a time of day, `24:00` at most.
fn minute_of(text: &str) -> Option<i64> {
    let (hour, minute) = text.split_once(':')?;
    let (hour, minute): (i64, i64) = (hour.parse().ok()?, minute.parse().ok()?);
    ((0..24).contains(&hour) && (0..60).contains(&minute) || (hour, minute) == (24, 0)).then_some(hour * 60 + minute)
}

/// Days since 1970-01-01 (civil from days, H. Hinnant, *chrono-compatible low-level date algorithms*).
fn day_of(text: &str) -> Option<i64> {
    let mut parts = text.split('-').map(|p| p.parse::<i64>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    let leap = year % 4 == 0 && year % 100 != 0 || year % 400 == 0;
    let long = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let last = *long.get(usize::try_from(month - 1).ok()?)?;
    if parts.next().is_some() || !(1970..=9999).contains(&year) || !(1..=last).contains(&day) {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    Some(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468)
}

fn offset(spot: &Spot<String>, m: &Mistakes) -> i64 {
    let (sign, rest) = match spot.value.split_at_checked(1) {
        Some(("+", rest)) => (1, rest),
        Some(("-", rest)) => (-1, rest),
        _ => (0, ""),
    };
    match minute_of(rest).filter(|minutes| sign != 0 && *minutes <= 14 * 60) {
        Some(minutes) => sign * minutes,
        None => {
            m.add(
                spot.at,
                format!("utc_offset = {:?} is not known", spot.value),
                "write -12:00 to +14:00, like \"+01:00\"",
            );
            0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_times_of_day_are_read_as_people_write_them() {
        assert_eq!(day_of("1970-01-01"), Some(0));
        assert_eq!(day_of("2026-11-26"), Some(20_783));
        assert_eq!(day_of("2024-02-29"), Some(19_782));
        assert_eq!([day_of("2026-02-29"), day_of("2026-13-01"), day_of("soon"), day_of("2026-1-1-1")], [None; 4]);
        assert_eq!([minute_of("00:00"), minute_of("24:00"), minute_of("6:05")], [Some(0), Some(1440), Some(365)]);
        assert_eq!([minute_of("24:01"), minute_of("12"), minute_of("-1:00")], [None; 3]);
    }
}
