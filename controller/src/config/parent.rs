//! `[parent]`: the controller above, what it calls this site and its inlets, and what the site keeps to
//! without it.

use super::document::{Mistakes, Table};
use super::value::{name, ranged};
use super::{Broker, Tree, group};
use headroom_rack::{DeviceId, NodeId, RackId, Watts};
use std::collections::{BTreeMap, BTreeSet};

/// The controller above.
#[derive(Debug, Clone, PartialEq)]
pub struct Parent {
    /// The broker it is reached by.
    pub broker: Broker,
    /// Its Sparkplug group.
    pub site: String,
    /// What it calls this site: one of its racks.
    pub rack: RackId,
    /// What this site may draw in all while no lease of the parent lives.
    pub safe: Watts,
    /// Our inlets.
    pub feeds: Vec<ParentFeed>,
}

/// One inlet of this site.
#[derive(Debug, Clone, PartialEq)]
pub struct ParentFeed {
    /// What the parent calls its meter.
    pub meter: DeviceId,
    /// The nodes whose power adds up to it.
    pub nodes: Vec<NodeId>,
}

pub(super) fn read(
    t: &Table<'_>,
    main: Option<&Broker>,
    own_site: Option<&str>,
    tree: &Tree,
    m: &Mistakes,
) -> Option<Parent> {
    if !t.is_there() {
        return None;
    }
    let own = t.table("broker");
    let broker = if own.is_there() { super::broker::read(&own, m) } else { main.cloned() };
    let site = name(t.need("site", "\"campus\""), "site", m);
    let rack = name(t.need("rack", "\"hall-1\""), "rack", m).and_then(|rack| RackId::new(rack).ok());
    let shares: Watts = tree.racks.iter().map(|r| r.overhead + r.safe_gpu * f64::from(r.gpus)).sum();
    let written = t.get::<f64>("safe_watts");
    let at = written.as_ref().map(|s| s.at);
    let safe = ranged(written, shares.get(), 1.0, 1e9, "safe_watts", m);
    if let Some(at) = at.filter(|_| safe < shares.get()) {
        let problem = format!("safe_watts = {safe} is less than the racks' safe shares, {:.0} W in all", shares.get());
        m.add(at, problem, "lower safe_gpu_watts of the racks as well: their agents fall back to that by themselves");
    }
    if site.as_deref().zip(own_site).is_some_and(|(site, own)| site == own) {
        let problem = format!("site = {:?} is this site itself", own_site.unwrap_or_default());
        m.add(t.at(), problem, "name the Sparkplug group of the controller above, another one than `site` at the top");
    }
    let tables = t.tables("feed");
    if tables.is_empty() {
        m.add(t.at(), "[parent] has no feed", "add [[parent.feed]] with meter and nodes, like nodes = [\"ups-a\"]");
    }
    let (mut taken, mut meters) = (BTreeMap::new(), BTreeSet::new());
    let feeds: Vec<_> = tables.iter().filter_map(|t| feed(t, tree, &mut taken, &mut meters, m)).collect();
    t.refuse_unknown();
    Some(Parent { broker: broker?, site: site?, rack: rack?, safe: Watts::new(safe), feeds })
}

fn feed(
    t: &Table<'_>,
    tree: &Tree,
    taken: &mut BTreeMap<String, String>,
    meters: &mut BTreeSet<String>,
    m: &Mistakes,
) -> Option<ParentFeed> {
    let meter = t.need::<String>("meter", "\"pdu-a\"");
    let names = t.need::<Vec<String>>("nodes", "[\"ups-a\"]");
    t.refuse_unknown();
    let (meter, names) = (meter?, names?);
    if !meters.insert(meter.value.clone()) {
        m.add(meter.at, format!("meter {:?} is there twice", meter.value), "give each inlet a meter of its own");
    }
    let id = DeviceId::new(meter.value.clone());
    if let Err(why) = &id {
        m.add(meter.at, format!("meter = {:?} is no name of a device", meter.value), why.to_string());
    }
    let nodes = group::nodes(&meter.value, &names, &tree.nodes, taken, m);
    Some(ParentFeed { meter: id.ok()?, nodes: nodes.iter().map(|n| n.id.clone()).collect() })
}

#[cfg(test)]
mod tests {
    use super::super::{DEFAULT, parse};
    use headroom_rack::Watts;

    #[test]
    fn the_sum_of_the_safe_shares_stands_where_nothing_is_written() {
        let text = format!(
            "{DEFAULT}\n[parent]\nsite = \"campus\"\nrack = \"hall-1\"\n[[parent.feed]]\nmeter = \"pdu-a\"\nnodes = [\"ups-a\"]\n"
        );
        let parent = parse("c.toml", &text).unwrap().parent.unwrap();
        assert_eq!(parent.safe, Watts::new(4.0 * (1700.0 + 8.0 * 400.0)));
        assert_eq!(parent.broker.port, 1883);
        assert!(parse("c.toml", DEFAULT).unwrap().parent.is_none());
        let itself = parse("c.toml", &text.replace("campus", "demo")).unwrap_err().to_string();
        assert!(itself.contains("site = \"demo\" is this site itself"), "{itself}");
    }

    #[test]
    fn every_mistake_of_the_section_is_told() {
        let text = format!(
            "{DEFAULT}\n[parent]\nsite = \"a/b\"\nrack = \"hall 1\"\nsafe_watts = 100\nlease = 3\n\
             [[parent.feed]]\nmeter = \"pdu-a\"\nnodes = [\"ups-a\", \"breaker-a\"]\n\
             [[parent.feed]]\nmeter = \"pdu-a\"\nnodes = [\"ups-x\"]\n"
        );
        let error = parse("c.toml", &text).unwrap_err().to_string();
        for words in [
            "site = \"a/b\" cannot stand in a topic",
            "rack = \"hall 1\" cannot stand in a topic",
            "safe_watts = 100 is less than the racks' safe shares, 19600 W",
            "`lease`",
            "breaker-a hangs on ups-a",
            "meter \"pdu-a\" is there twice",
            "no node is named \"ups-x\"",
        ] {
            assert!(error.contains(words), "{words} is not in\n{error}");
        }
    }
}
