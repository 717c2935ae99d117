//! The policy file: who comes first, how little and how much a GPU may get, what all may draw together, and
//! what of that changes with the time of day. Read strictly, every mistake at once.

mod bounds;
mod limits;
mod place;
mod plant;
mod time;

pub use limits::PolicySpec;
pub(super) use place::Place;
pub use place::{read_any_policy, read_policy};

use super::Tree;
use super::document::{self, Mistake, Mistakes, Spot, Table};
use super::value::ranged;
use bounds::{Key, Of, Stated, Written};
use headroom_controller_core::{Bounds, Policy, Rule, Rules};
use headroom_rack::{NodeId, RackId, Watts};
use limits::limits;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::str::FromStr;

/// A sound policy file.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicyFile {
    /// The numbers of its base.
    pub spec: PolicySpec,
    /// All of it. The lease is the config's and filled in there.
    pub rules: Rules,
    /// What can be kept to but should be looked at.
    pub warnings: Vec<Mistake>,
    /// What no controller can keep to: such a policy is tried on a record, and never in force.
    pub dangers: Vec<Mistake>,
}

/// Names that must be those of the plant, with where they stand.
#[derive(Default)]
struct Names {
    rules: BTreeSet<String>,
    racks: Vec<Spot<String>>,
    nodes: Vec<Spot<String>>,
    classes: Vec<Spot<String>>,
    orders: Vec<Spot<Vec<String>>>,
}

/// Checks the text of a policy file; with `tree`, also that what it names is there and that floors leave the plant
/// a way to be held.
///
/// # Errors
/// Every mistake.
pub fn parse_policy(file: &str, text: &str, tree: Option<&Tree>) -> Result<PolicyFile, Vec<Mistake>> {
    let policy = parse_any_policy(file, text, tree)?;
    if policy.dangers.is_empty() { Ok(policy) } else { Err(policy.dangers) }
}

/// The same, also for a policy that no controller can keep to.
///
/// # Errors
/// Every mistake.
pub fn parse_any_policy(file: &str, text: &str, tree: Option<&Tree>) -> Result<PolicyFile, Vec<Mistake>> {
    document::read(file, text, |root, m| {
        let policy = read(root, tree, m);
        m.is_empty().then_some(policy)
    })
}

fn read(root: &Table<'_>, tree: Option<&Tree>, m: &Mistakes) -> PolicyFile {
    let (mut names, mut written) = (Names::default(), Written::new("[limits]"));
    let priorities = root.table("priorities");
    let order = priorities.need::<Vec<String>>("order", "[\"training\", \"inference\", \"batch\"]");
    priorities.refuse_unknown();
    let order = order.filter(|o| ordered(o, "order", m));
    let bands = order.as_ref().map_or_else(|| vec!["all".to_owned()], |o| o.value.clone());
    let table = root.table("limits");
    let spec = limits(&table, bands, "[limits]", m);
    table.refuse_unknown();
    written.floor(spec.floor_gpu, table.place("floor_gpu_watts"));
    let clock = root.table("time");
    let offset_minutes = clock.get::<String>("utc_offset").map_or(0, |s| time::offset(&s, m));
    clock.refuse_unknown();
    let target = root.table("target");
    let site = site(&target, &mut written, m);
    target.refuse_unknown();
    let classes = classes(&root.tables("class"), &mut names, &mut written, m);
    let (racks, priorities) = racks(&root.tables("rack"), &mut names, &mut written, m);
    let nodes = nodes(&root.tables("node"), &mut names, &mut written, m);
    let mut rules: Vec<Rule> = Vec::new();
    for table in root.tables("rule") {
        written.rule = Some(rules.len());
        written.rules.push(table.at());
        rules.push(rule(&table, &mut names, &mut written, m));
    }
    names.orders.extend(order.clone());
    check(&names, order.as_ref(), &priorities, tree, m);
    let base = Policy { classes, racks, priorities, nodes, site, ..super::core::base(&spec) };
    let mut policy =
        PolicyFile { spec, rules: Rules { base, rules, offset_minutes }, warnings: Vec::new(), dangers: Vec::new() };
    written.contradictions(&policy.rules, tree, m);
    if m.is_empty() {
        written.never(&policy.rules, m);
    }
    if let Some(tree) = tree {
        (policy.dangers, policy.warnings) = plant::hold(&policy.rules, &written, tree, m);
    }
    if !m.is_empty() {
        // All at once.
        m.adopt(std::mem::take(&mut policy.dangers));
    }
    policy
}

/// An order names each band once.
fn ordered(order: &Spot<Vec<String>>, key: &str, m: &Mistakes) -> bool {
    let mut seen = BTreeSet::new();
    let twice = order.value.iter().find(|band| !seen.insert(band.as_str()));
    match twice {
        Some(twice) => {
            m.add(order.at, format!("{key} names {twice:?} twice"), "name each class once, the most important first")
        }
        None if order.value.is_empty() => m.add(order.at, format!("{key} is empty"), "name at least one class"),
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

fn site(table: &Table<'_>, written: &mut Written, m: &Mistakes) -> Option<Watts> {
    let spot = table.get("site_watts")?;
    let most = watts(Some(spot), "site_watts", m);
    most.inspect(|watts| written.site(Stated { watts: *watts, at: Some(spot.at) }))
}

/// Floor, ceiling and weight of a class or rack.
fn bounds(table: &Table<'_>, of: Option<Of>, written: &mut Written, m: &Mistakes) -> Bounds {
    let mut gpu = |name: &'static str, key| {
        let spot = table.get::<f64>(name)?;
        let watts = Some(ranged(Some(spot), -1.0, 0.0, 5000.0, name, m)).filter(|w| *w >= 0.0).map(Watts::new)?;
        if let Some(of) = &of {
            written.bound(of.clone(), key, Stated { watts, at: Some(spot.at) });
        }
        Some(watts)
    };
    let (floor_gpu, ceiling_gpu) = (gpu("floor_gpu_watts", Key::Floor), gpu("ceiling_gpu_watts", Key::Ceiling));
    let weight = table.get::<f64>("weight").map(|s| ranged(Some(s), 1.0, 0.001, 1000.0, "weight", m));
    Bounds { floor_gpu, ceiling_gpu, weight }
}

fn classes(tables: &[Table<'_>], names: &mut Names, written: &mut Written, m: &Mistakes) -> BTreeMap<String, Bounds> {
    let mut classes = BTreeMap::new();
    for table in tables {
        let name = table.need::<String>("name", "\"batch\"");
        let bounds = bounds(table, name.as_ref().map(|n| Of::Class(n.value.clone())), written, m);
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

fn racks(tables: &[Table<'_>], names: &mut Names, written: &mut Written, m: &Mistakes) -> Racks {
    let (mut racks, mut priorities) = (BTreeMap::new(), BTreeMap::new());
    for table in tables {
        let name = table.need::<String>("id", "\"rack-1\"");
        let priority = table.get::<String>("priority");
        let bounds = bounds(table, name.as_ref().map(|n| Of::Rack(n.value.clone())), written, m);
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

fn nodes(tables: &[Table<'_>], names: &mut Names, written: &mut Written, m: &Mistakes) -> BTreeMap<NodeId, Watts> {
    let mut nodes = BTreeMap::new();
    for table in tables {
        let name = table.need::<String>("id", "\"ups-a\"");
        let spot = table.need("watts", "20000");
        let most = watts(spot, "watts", m);
        table.refuse_unknown();
        let Some((name, node)) = name.and_then(|n| Some((n.clone(), id::<NodeId>(&n, m)?))) else { continue };
        names.nodes.push(name.clone());
        let Some(watts) = most else { continue };
        written.node(node.clone(), Stated { watts, at: spot.map(|s| s.at) });
        if nodes.insert(node, watts).is_some() {
            m.add(name.at, format!("node {:?} stands here twice", name.value), "keep one of them");
        }
    }
    nodes
}

fn rule(table: &Table<'_>, names: &mut Names, written: &mut Written, m: &Mistakes) -> Rule {
    let name = table.need::<String>("name", "\"night tariff\"");
    // Rules are told apart by their names, in versions and in what is in force.
    if let Some(name) = name.as_ref().filter(|n| !names.rules.insert(n.value.clone())) {
        let remedy = format!("give each rule a name of its own, like \"{} 2\"", name.value);
        m.add(name.at, format!("two rules are named {:?}", name.value), remedy);
    }
    let name = name.map(|n| n.value).unwrap_or_default();
    let active = table.get::<bool>("active").is_none_or(|s| s.value);
    let order = table.get::<Vec<String>>("order").filter(|o| ordered(o, "order", m));
    names.orders.extend(order.clone());
    let site = site(table, written, m);
    let classes = classes(&table.tables("classes"), names, written, m);
    let (racks, priorities) = racks(&table.tables("racks"), names, written, m);
    if !priorities.is_empty() {
        m.add(table.at(), "a rule cannot change the priority of a rack", "change the order, or the bounds of the rack");
    }
    let nodes = nodes(&table.tables("nodes"), names, written, m);
    let when = time::when(&table.table("when"), m);
    table.refuse_unknown();
    Rule { name, active, when, bands: order.map(|o| o.value), site, nodes, classes, racks }
}
