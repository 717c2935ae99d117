//! The controller's config file: read strictly, every mistake at once. What the electrical tree
//! says is in `config/tree.rs`; the meaning of a sound tree is `headroom-controller-core`'s.

mod automation;
mod broker;
mod core;
mod document;
mod door;
mod flex;
mod group;
mod learning;
mod parent;
mod plant;
mod policy;
mod tree;
mod value;

pub use broker::Broker;
pub use core::{policy as core_policy, topology as core_topology};
pub use document::{Mistake, line_of};
pub use door::{Door, door, places};
pub use flex::Flex;
pub use learning::Learning;
pub use parent::{Parent, ParentFeed};
pub use plant::{load_tree, look_at_tree, parse_tree};
pub use policy::{PolicyFile, PolicySpec, parse_policy, read_any_policy, read_policy};
pub use tree::{Cooling, Current, Feed, Node, Rack, Tree, Unit};

use crate::influx::Token;
use document::{Mistakes, Table};
use door::listen;
use headroom_controller_core::Rules;
use headroom_controller_core::automation::Tolerance;
use headroom_rack::Mode;
use plant::{is_whole, plant};
use policy::Place;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use value::{http_url, name, one_of, ranged, secret};

/// The config file of the default row, as `default-config` prints it.
pub const DEFAULT: &str = include_str!("config/default.toml");

/// A sound config.
#[derive(Debug, Clone)]
pub struct Config {
    /// Sparkplug group.
    pub site: String,
    /// This controller's name on the bus.
    pub host: String,
    /// Automatic or advisory.
    pub mode: Mode,
    /// Time between decisions.
    pub period: Duration,
    /// How long an Order holds.
    pub lease_ms: u32,
    /// The broker.
    pub broker: Broker,
    /// The record.
    pub record: crate::record::Options,
    /// Where the console and the interfaces listen.
    pub listen: SocketAddr,
    /// Who has it may command from another machine.
    pub token: Option<Token>,
    /// When the automation stops itself.
    pub automation: Tolerance,
    /// The forecaster.
    pub model: Model,
    /// Trainings on this controller's own record, if any.
    pub learning: Option<Learning>,
    /// The alert webhook, if any.
    pub webhook: Option<Webhook>,
    /// InfluxDB, if any.
    pub influx: Option<crate::influx::Options>,
    /// The load-flexibility partners, if any.
    pub flex: Option<Flex>,
    /// The controller above, if any.
    pub parent: Option<Parent>,
    /// How caps are decided.
    pub policy: PolicySpec,
    /// All of the policy, with what changes by the time of day.
    pub rules: Rules,
    /// What of it can be kept to but should be looked at.
    pub warnings: Vec<Mistake>,
    /// The file it stands in, if it has one of its own.
    pub policy_file: Option<PathBuf>,
    /// That file has mistakes, and the policy is a version that was kept.
    pub refused: Option<Refused>,
    /// The electrical tree above the racks.
    pub nodes: Vec<Node>,
    /// The racks.
    pub racks: Vec<Rack>,
    /// The whole plant, nodes and racks as above, with what cools it.
    pub tree: Tree,
}

/// A policy file that is not taken over at the start.
#[derive(Debug, Clone, PartialEq)]
pub struct Refused {
    /// The version that holds in its place.
    pub version: u64,
    /// What is wrong with the file.
    pub mistakes: Vec<Mistake>,
}

/// Which forecaster is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// False: the reactive baseline only.
    pub enabled: bool,
    /// Directory of another model than the one inside the program.
    pub path: Option<PathBuf>,
}

/// The alert webhook.
#[derive(Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Where alerts go. May carry a secret, never printed.
    pub url: String,
    /// A letter is dead after so many tries.
    pub max_tries: u32,
}

impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Webhook(.., {} tries)", self.max_tries)
    }
}

/// Why there is no config.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the config file {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file has mistakes.
    #[error("{}", listed(.0))]
    Mistakes(Vec<Mistake>),
}

fn listed(mistakes: &[Mistake]) -> String {
    let mut text: String = mistakes.iter().map(|m| format!("{m}\n")).collect();
    let noun = if mistakes.len() == 1 { "mistake" } else { "mistakes" };
    text.push_str(&format!("{} {noun} in the config", mistakes.len()));
    text
}

/// Reads and checks a config file.
///
/// # Errors
/// [`ConfigError`], with every mistake of the file.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let text = text(path)?;
    parse(&path.display().to_string(), &text)
}

/// The same with another policy in place of the one in its policy file.
///
/// # Errors
/// [`ConfigError`], with every mistake of the file and of that policy.
pub fn load_under(path: &Path, policy: &Path) -> Result<Config, ConfigError> {
    let text = text(path)?;
    document::read(&path.display().to_string(), &text, |root, m| {
        read(&path.display().to_string(), root, Some(policy), m)
    })
    .map_err(ConfigError::Mistakes)
}

fn text(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })
}

/// Checks the text of a config file; `file` names it in mistakes.
///
/// # Errors
/// [`ConfigError::Mistakes`], with every mistake.
pub fn parse(file: &str, text: &str) -> Result<Config, ConfigError> {
    document::read(file, text, |root, m| read(file, root, None, m)).map_err(ConfigError::Mistakes)
}

fn read(file: &str, root: &Table<'_>, other: Option<&Path>, m: &Mistakes) -> Option<Config> {
    let site = name(root.need("site", "\"demo\""), "site", m);
    let host = match root.get("host") {
        Some(host) => name(Some(host), "host", m),
        None => Some("controller-1".to_owned()),
    };
    let mode = match root.get::<String>("mode") {
        None => Some(Mode::Automatic),
        Some(mode) => one_of(&mode, "mode", &[("automatic", Mode::Automatic), ("advisory", Mode::Advisory)], m),
    };
    let period_ms = ranged(root.get("period_ms"), 1000.0, 100.0, 60_000.0, "period_ms", m);
    let lease_ms = ranged(root.get("lease_ms"), 5000.0, 500.0, 600_000.0, "lease_ms", m);
    if lease_ms < 2.0 * period_ms {
        m.add(
            root.get::<f64>("lease_ms").map_or(0, |s| s.at),
            format!(
                "lease_ms = {lease_ms} is shorter than two periods of {period_ms} ms: one lost message would end it"
            ),
            format!("write lease_ms = {} or more", 5.0 * period_ms),
        );
    }
    let broker = broker::read(&root.table("broker"), m);
    let record = record(&root.table("record"), m);
    let serve = root.table("serve");
    let token = secret(&serve, "token_env", false, m).map(Token::new);
    let listen = listen(&serve, m);
    let automation = automation::read(&root.table("automation"), m);
    let model = model(&root.table("model"), m);
    let learning = learning::read(&root.table("learning"), record.as_ref(), &model, m);
    let alerts = root.table("alerts");
    let webhook = webhook(&alerts.table("webhook"), m);
    alerts.refuse_unknown();
    let influx = influx(&root.table("influx"), m);
    let place = Place::of(file, &root.table("policy"), other, m);
    let tree = plant(file, root, place.bands(), m);
    let flex = flex::read(&root.table("flex"), broker.as_ref(), &tree.nodes, m);
    let parent = parent::read(&root.table("parent"), broker.as_ref(), site.as_deref(), &tree, m);
    let whole = is_whole(&tree, m).then_some(&tree);
    let mut policy = place.policy(whole, m).filter(|_| m.is_empty())?;
    policy.rules.base.lease = Duration::from_millis(lease_ms as u64);
    policy.rules.base.period = Duration::from_millis(period_ms as u64);
    Some(Config {
        site: site?,
        host: host?,
        mode: mode?,
        period: Duration::from_millis(period_ms as u64),
        lease_ms: lease_ms as u32,
        broker: broker?,
        record: record?,
        listen: listen?,
        token,
        automation,
        model,
        learning,
        webhook,
        influx,
        flex,
        parent,
        policy: policy.spec,
        rules: policy.rules,
        warnings: policy.warnings,
        policy_file: place.file(),
        refused: None,
        nodes: tree.nodes.clone(),
        racks: tree.racks.clone(),
        tree,
    })
}

fn record(table: &Table<'_>, m: &Mistakes) -> Option<crate::record::Options> {
    let dir = table.need::<String>("dir", "\"record\"");
    let max_bytes = ranged(table.get("max_bytes"), 4.0 * GIB, 16.0 * MIB, 16_384.0 * GIB, "max_bytes in [record]", m);
    let segment_bytes =
        ranged(table.get("segment_bytes"), 64.0 * MIB, MIB, 1024.0 * MIB, "segment_bytes in [record]", m);
    table.refuse_unknown();
    let dir = dir?;
    if dir.value.is_empty() {
        m.add(dir.at, "dir in [record] is empty", "write the directory's path, like dir = \"record\"");
    }
    let defaults = crate::record::Options::new(dir.value);
    // A segment must be a small part of the whole, or dropping the oldest drops most of it.
    let segment_bytes = segment_bytes.min(max_bytes / 4.0) as u64;
    Some(crate::record::Options { max_bytes: max_bytes as u64, segment_bytes, ..defaults })
}

const MIB: f64 = 1_048_576.0;
const GIB: f64 = 1024.0 * MIB;

fn model(table: &Table<'_>, m: &Mistakes) -> Model {
    let enabled = table.get::<bool>("enabled").is_none_or(|s| s.value);
    let path = table.get::<String>("path");
    table.refuse_unknown();
    if let Some(path) = &path
        && !Path::new(&path.value).is_dir()
    {
        let problem = format!("path in [model] is not a directory: {:?}", path.value);
        m.add(path.at, problem, "name a folder with one .onnx and its .manifest.json, or leave the key out");
    }
    Model { enabled, path: path.map(|p| p.value.into()) }
}

fn webhook(table: &Table<'_>, m: &Mistakes) -> Option<Webhook> {
    if !table.is_there() {
        return None;
    }
    let url = table.need::<String>("url", "\"http://127.0.0.1:9095/hook\"");
    let max_tries = ranged(table.get("max_tries"), 12.0, 1.0, 1000.0, "max_tries in [alerts.webhook]", m) as u32;
    table.refuse_unknown();
    Some(Webhook { url: http_url(url?, "[alerts.webhook]", m)?, max_tries })
}

fn influx(table: &Table<'_>, m: &Mistakes) -> Option<crate::influx::Options> {
    if !table.is_there() {
        return None;
    }
    let url = table.need::<String>("url", "\"http://127.0.0.1:8086\"").and_then(|u| http_url(u, "[influx]", m));
    let org = table.need::<String>("org", "\"demo\"");
    let bucket = table.need::<String>("bucket", "\"headroom\"");
    let token = secret(table, "token_env", true, m);
    table.refuse_unknown();
    Some(crate::influx::Options::new(url?, org?.value, bucket?.value, Token::new(token?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use headroom_controller_core::NodeKind;

    #[test]
    fn the_shipped_default_is_sound() {
        let config = parse("default.toml", DEFAULT).unwrap();
        assert_eq!((config.nodes.len(), config.racks.len(), config.lease_ms), (4, 4, 5000));
        assert_eq!(config.broker, Broker { host: "127.0.0.1".into(), port: 1883, login: None, tls: None });
        assert!(config.influx.is_none() && config.webhook.is_none());
    }

    #[test]
    fn a_rating_in_amperes_says_at_which_voltage_its_node_is_rated_and_one_in_watts_does_not() {
        let config = parse("default.toml", DEFAULT).unwrap();
        let topology = core_topology(&config.tree).unwrap();
        let volts = |kind: NodeKind| -> Vec<Option<f64>> {
            let of = topology.nodes().iter().filter(|node| node.kind == kind);
            of.map(|node| node.volts.map(headroom_rack::Volts::get)).collect()
        };
        assert_eq!((volts(NodeKind::Breaker), volts(NodeKind::Ups)), (vec![Some(240.0); 2], vec![None; 2]));
    }

    #[test]
    fn five_mistakes_are_five_lines() {
        let text = DEFAULT
            .replace("period_ms = 1000", "period_ms = \"fast\"")
            .replace("mqtt://", "amqp://")
            .replace("derate = 0.95", "derate = 95")
            .replace("parent = \"ups-b\"", "parent = \"ups-c\"")
            .replace("priority = \"batch\"", "priorty = \"batch\"");
        let Err(ConfigError::Mistakes(found)) = parse("c.toml", &text) else { panic!("it was accepted") };
        let text = listed(&found);
        for word in ["period_ms", "amqp://", "derate", "ups-c", "did you mean `priority`"] {
            assert!(text.contains(word), "{word} is not in:\n{text}");
        }
        // The misspelt key counts twice: it is unknown, and the right one is missing.
        assert_eq!(found.len(), 6, "{text}");
    }
}
