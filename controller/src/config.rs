//! The controller's config file: read strictly, every mistake at once. What the electrical tree
//! says is in `config/tree.rs`; the meaning of a sound tree is `headroom-controller-core`'s.

mod automation;
mod broker;
mod core;
mod document;
mod flex;
mod group;
mod learning;
mod parent;
mod policy;
mod tree;

pub use broker::Broker;
pub use core::{policy as core_policy, topology as core_topology};
pub use document::{Mistake, line_of};
pub use flex::Flex;
pub use learning::Learning;
pub use parent::{Parent, ParentFeed};
use policy::parse_any_policy;
pub use policy::{PolicyFile, parse_policy};
pub use tree::{Cooling, Current, Feed, Node, Rack, Tree, Unit};

use crate::influx::Token;
use document::{Mistakes, Spot, Table};
use headroom_controller_core::Rules;
use headroom_controller_core::automation::Tolerance;
use headroom_rack::{Celsius, Mode, RackId, Watts};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

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

/// How caps are decided.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicySpec {
    /// Priority bands, first is cut last.
    pub bands: Vec<String>,
    /// No GPU is capped below this.
    pub floor_gpu: Watts,
    /// Time until an Order has taken effect.
    pub response: Duration,
    /// Used share of a continuous rating, in (0, 1].
    pub derate: f64,
    /// How fast a rack is let up, in watts per second.
    pub release_watts_per_s: f64,
    /// Highest coolant return temperature.
    pub coolant_limit: Celsius,
    /// Highest temperature of the air at inlets, if it is watched.
    pub inlet_limit: Option<Celsius>,
    /// How long a UPS on battery is to last; zero leaves the battery to itself.
    pub battery_target: Duration,
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

/// The plant that a config is about. Nothing else in it is looked at.
///
/// # Errors
/// [`ConfigError`], with every mistake of the plant.
pub fn load_tree(path: &Path) -> Result<Tree, ConfigError> {
    parse_tree(&path.display().to_string(), &text(path)?, None).map_err(ConfigError::Mistakes)
}

fn text(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })
}

/// Where a config says that its policy file, if it has one, and its record are. Nothing else is looked at.
///
/// # Errors
/// [`ConfigError`] when that cannot be read.
pub fn places(path: &Path) -> Result<(Option<PathBuf>, PathBuf), ConfigError> {
    let text = text(path)?;
    let beside = |name: String| path.parent().unwrap_or(Path::new("")).join(name);
    document::read(&path.display().to_string(), &text, |root, m| {
        root.ignore_rest();
        let own = root.table("policy").get::<String>("file").map(|s| beside(s.value));
        let dir = root.table("record").need::<String>("dir", "\"record\"")?;
        m.is_empty().then(|| (own, PathBuf::from(dir.value)))
    })
    .map_err(ConfigError::Mistakes)
}

/// Where a running controller is spoken to.
#[derive(Debug)]
pub struct Door {
    /// Where its console listens.
    pub listen: SocketAddr,
    /// What it asks of who commands from another machine.
    pub token: Option<Token>,
    /// And of who asks for a training.
    pub learning_token: Option<Token>,
}

/// Where a config says that its controller is spoken to. Nothing else is looked at: who holds a rack by hand needs
/// neither the service's other secrets nor a policy file without mistakes.
///
/// # Errors
/// [`ConfigError`] when that cannot be read.
pub fn door(path: &Path) -> Result<Door, ConfigError> {
    let text = text(path)?;
    document::read(&path.display().to_string(), &text, |root, m| {
        root.ignore_rest();
        let serve = root.table("serve");
        // On this machine, and at a controller that asks for none, no token is needed: a name of one that is not set
        // here is no mistake.
        let token = |table: &Table<'_>| {
            let name = table.get::<String>("token_env")?.value;
            std::env::var(name).ok().filter(|value| !value.is_empty()).map(Token::new)
        };
        let (token, learning_token) = (token(&serve), token(&root.table("learning")));
        serve.ignore_rest();
        Some(Door { listen: listen(&serve, m)?, token, learning_token })
    })
    .map_err(ConfigError::Mistakes)
}

/// Checks the text of a config file; `file` names it in mistakes.
///
/// # Errors
/// [`ConfigError::Mistakes`], with every mistake.
pub fn parse(file: &str, text: &str) -> Result<Config, ConfigError> {
    document::read(file, text, |root, m| read(file, root, None, m)).map_err(ConfigError::Mistakes)
}

/// Reads and checks a topology file: `[[node]]`, `[[rack]]` and `[[cooling]]` alone, or a whole config,
/// of which the rest is not looked at. `bands`: the priorities a rack may have, if they are known.
///
/// # Errors
/// Every mistake.
pub fn parse_tree(file: &str, text: &str, bands: Option<&[String]>) -> Result<Tree, Vec<Mistake>> {
    document::read(file, text, |root, m| {
        let tree = tree_of(file, root, bands, m);
        sound(&tree, m)?;
        Some(tree)
    })
}

/// The same, and the tree also where mistakes leave it whole: those that are about it can then be told with the rest.
pub fn look_at_tree(file: &str, text: &str) -> (Option<Tree>, Vec<Mistake>) {
    document::look(file, text, |root, m| {
        let tree = tree_of(file, root, None, m);
        let hangs_together = sound(&tree, m).is_some() || core::topology(&tree).is_ok();
        (tree.is_whole && hangs_together).then_some(tree)
    })
}

fn tree_of(file: &str, root: &Table<'_>, bands: Option<&[String]>, m: &Mistakes) -> Tree {
    if root.has("site") || root.has("topology") {
        root.ignore_rest();
        return plant(file, root, bands, m);
    }
    tree::read(root, bands, m)
}

/// Whether what is fine entry by entry hangs together.
fn sound(tree: &Tree, m: &Mistakes) -> Option<()> {
    if m.is_empty()
        && let Err(mistakes) = core::topology(tree)
    {
        for why in mistakes {
            let of = why.of().and_then(|name| tree.spots.get(name)).copied().unwrap_or(0);
            m.add(of, format!("the electrical tree is not sound: {why}"), "correct [[node]] and [[rack]]");
        }
    }
    m.is_empty().then_some(())
}

/// The plant: in the config itself, or in the file that `[topology]` names, relative to the config.
fn plant(file: &str, root: &Table<'_>, bands: Option<&[String]>, m: &Mistakes) -> Tree {
    let table = root.table("topology");
    let own = table.get::<String>("file");
    table.refuse_unknown();
    let Some(own) = own else { return tree::read(root, bands, m) };
    for key in ["node", "rack", "cooling"] {
        if root.has(key) {
            m.add(own.at, format!("[[{key}]] stands here and [topology] names a file"), "keep the plant in one place");
        }
    }
    root.ignore(&["node", "rack", "cooling"]);
    let path = Path::new(file).parent().unwrap_or(Path::new("")).join(&own.value);
    let name = path.display().to_string();
    match std::fs::read_to_string(&path) {
        Ok(text) => match parse_tree(&name, &text, bands) {
            Ok(tree) => Tree { file: Some(path), ..tree },
            Err(mistakes) => {
                m.adopt(mistakes);
                Tree::default()
            }
        },
        Err(why) => {
            m.add(own.at, format!("cannot read the topology file {name}: {why}"), "name a file beside the config");
            Tree::default()
        }
    }
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
    let (mut policy, policy_file) = policy(file, &root.table("policy"), other, m);
    // A policy file with mistakes says nothing of the classes there are.
    let bands = Some(&policy.spec.bands[..]).filter(|b| !b.is_empty());
    let tree = plant(file, root, bands, m);
    let flex = flex::read(&root.table("flex"), broker.as_ref(), &tree.nodes, m);
    let parent = parent::read(&root.table("parent"), broker.as_ref(), site.as_deref(), &tree, m);
    sound(&tree, m)?;
    if let Some(path) = other.filter(|_| policy_file.is_some()).or(policy_file.as_deref()) {
        // Once more, now that it is known what it may name.
        policy = read_policy(path, Some(&tree)).map_err(|mistakes| m.adopt(mistakes)).ok()?;
    }
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
        policy_file,
        refused: None,
        nodes: tree.nodes.clone(),
        racks: tree.racks.clone(),
        tree,
    })
}

/// A name that may stand in a topic.
fn name(spot: Option<Spot<String>>, key: &str, m: &Mistakes) -> Option<String> {
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

fn one_of<T: Copy>(spot: &Spot<String>, key: &str, choices: &[(&str, T)], m: &Mistakes) -> Option<T> {
    let found = choices.iter().find(|(word, _)| *word == spot.value);
    if found.is_none() {
        let words: Vec<String> = choices.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        m.add(spot.at, format!("{key} = {:?} is not known", spot.value), format!("write one of {}", words.join(", ")));
    }
    found.map(|(_, value)| *value)
}

fn ranged(spot: Option<Spot<f64>>, default: f64, low: f64, high: f64, key: &str, m: &Mistakes) -> f64 {
    match spot {
        None => default,
        Some(spot) if (low..=high).contains(&spot.value) => spot.value,
        Some(spot) => {
            m.add(spot.at, format!("{key} = {} is out of range", spot.value), format!("write {low} to {high}"));
            default
        }
    }
}

fn secret(table: &Table<'_>, key: &'static str, need: bool, m: &Mistakes) -> Option<String> {
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

fn listen(table: &Table<'_>, m: &Mistakes) -> Option<SocketAddr> {
    let spot = table.get::<String>("listen");
    table.refuse_unknown();
    let Some(spot) = spot else { return Some(([127, 0, 0, 1], 7878).into()) };
    let address = spot.value.parse().ok();
    if address.is_none() {
        let problem = format!("listen in [serve] is not an address with a port: {:?}", spot.value);
        m.add(spot.at, problem, "write listen = \"127.0.0.1:7878\"");
    }
    address
}

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

fn http_url(spot: Spot<String>, place: &str, m: &Mistakes) -> Option<String> {
    let good = reqwest::Url::parse(&spot.value).is_ok_and(|u| matches!(u.scheme(), "http" | "https"));
    if !good {
        m.add(spot.at, format!("url in {place} is no http or https URL"), "write url = \"https://HOST/PATH\"");
    }
    good.then_some(spot.value)
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

/// The policy: in `[policy]` itself, or in the file that it names, relative to the config, or in `other` in place of that.
fn policy(file: &str, table: &Table<'_>, other: Option<&Path>, m: &Mistakes) -> (PolicyFile, Option<PathBuf>) {
    if let Some(own) = table.get::<String>("file") {
        table.refuse_unknown();
        let path = Path::new(file).parent().unwrap_or(Path::new("")).join(&own.value);
        let found = match read_policy(other.unwrap_or(&path), None) {
            Ok(found) => found,
            Err(mistakes) => {
                m.adopt(mistakes);
                plain(limits(&Table::nothing(m), Vec::new(), "", m))
            }
        };
        return (found, Some(path));
    }
    let default_bands = || ["training", "inference", "batch"].map(str::to_owned).to_vec();
    let bands = match table.get::<Vec<String>>("bands") {
        Some(spot) if spot.value.is_empty() => {
            m.add(spot.at, "bands in [policy] is empty", "name at least one, like bands = [\"all\"]");
            default_bands()
        }
        Some(spot) => spot.value,
        None => default_bands(),
    };
    let spec = limits(table, bands, "[policy]", m);
    table.refuse_unknown();
    (plain(spec), None)
}

/// A policy of these numbers alone.
fn plain(spec: PolicySpec) -> PolicyFile {
    let rules = Rules { base: core::base(&spec), ..Rules::default() };
    PolicyFile { spec, rules, warnings: Vec::new(), dangers: Vec::new() }
}

/// Reads a policy file; with `tree`, also that what it names is there and that the plant can be held under it.
///
/// # Errors
/// Every mistake; one when it cannot be read.
pub fn read_policy(path: &Path, tree: Option<&Tree>) -> Result<PolicyFile, Vec<Mistake>> {
    read_with(path, |file, text| parse_policy(file, text, tree))
}

/// The same, also for a policy under which the plant cannot be held: to be tried, never to be in force.
///
/// # Errors
/// Every mistake; one when it cannot be read.
pub fn read_any_policy(path: &Path, tree: Option<&Tree>) -> Result<PolicyFile, Vec<Mistake>> {
    read_with(path, |file, text| parse_any_policy(file, text, tree))
}

fn read_with(
    path: &Path,
    parse: impl FnOnce(&str, &str) -> Result<PolicyFile, Vec<Mistake>>,
) -> Result<PolicyFile, Vec<Mistake>> {
    let file = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => parse(&file, &text),
        Err(why) => Err(vec![Mistake {
            file,
            line: 1,
            problem: format!("cannot read the policy file: {why}"),
            remedy: "name a file beside the config under [policy] file".to_owned(),
        }]),
    }
}

fn limits(table: &Table<'_>, bands: Vec<String>, place: &str, m: &Mistakes) -> PolicySpec {
    let number = |key, default, low, high| ranged(table.get(key), default, low, high, &format!("{key} in {place}"), m);
    PolicySpec {
        bands,
        floor_gpu: Watts::new(number("floor_gpu_watts", 200.0, 0.0, 5000.0)),
        response: Duration::from_secs_f64(number("response_s", 3.0, 0.5, 60.0)),
        derate: number("derate", 0.95, 0.1, 1.0),
        release_watts_per_s: number("release_watts_per_s", 1000.0, 1.0, 1e6),
        coolant_limit: Celsius::new(number("coolant_limit_celsius", 60.0, 20.0, 90.0)),
        inlet_limit: table
            .has("inlet_limit_celsius")
            .then(|| Celsius::new(number("inlet_limit_celsius", 35.0, 10.0, 60.0))),
        battery_target: Duration::from_secs_f64(number("battery_target_s", 0.0, 0.0, 86_400.0)),
    }
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
