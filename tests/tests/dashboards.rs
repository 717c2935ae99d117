//! What the dashboards and alert rules ask for is what the programs export; what is in `generated/`
//! is what the source makes.

use headroom_rack::metric::METRICS;
use headroom_rack::{NoData, Signal};
use headroom_tests::parts::until;
use headroom_tests::row::Row;
use headroom_tests::{peer, repository, succeed};
use serde_json::Value;
use std::collections::BTreeSet;
use std::process::Command;

fn generated(name: &str) -> Value {
    let path = repository("dashboards/generated").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|why| panic!("{}: {why}", path.display()))
}

/// Every text anywhere under a key of this name.
fn texts<'a>(value: &'a Value, key: &str, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(fields) => {
            for (name, inside) in fields {
                found.extend(inside.as_str().filter(|_| name == key));
                texts(inside, key, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| texts(item, key, found)),
        _ => {}
    }
}

/// `headroom_...` names in a query.
fn names(query: &str) -> impl Iterator<Item = &str> {
    let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("headroom_"))
}

/// What a row that nothing happens to does not export: nothing is on its way to trip or too warm, and how warm a supply may
/// be is known after half an hour.
const ONLY_WHEN_IT_HAPPENS: &[&str] = &[
    "headroom_node_time_to_trip_seconds",
    "headroom_rack_coolant_limit_seconds",
    "headroom_cooling_supply_advised_celsius",
];

fn expected_later(name: &str) -> bool {
    ONLY_WHEN_IT_HAPPENS.contains(&name) && METRICS.iter().any(|(known, ..)| *known == name)
}

#[test]
fn every_metric_asked_for_is_exported_by_a_running_row() {
    let row = Row::start();
    let counted = |state: &Value, path: &str| state.pointer(path).and_then(Value::as_f64).unwrap_or(0.0);
    until("Receipts and a model's forecasts with what came of them", || {
        let state = row.state();
        let both =
            counted(&state, "/counts/receipts/applied") > 8.0 && counted(&state, "/model/recent/used/outcomes") > 0.0;
        both.then_some(())
    });
    let pages = row.metrics();
    let exported: BTreeSet<&str> = pages
        .iter()
        .flat_map(|page| page.lines().filter_map(|l| l.strip_prefix("# TYPE ")?.split(' ').next()))
        .collect();
    let board = generated("headroom-row.json");
    let mut queries = Vec::new();
    texts(&board, "expr", &mut queries);
    texts(&board, "query", &mut queries);
    assert!(queries.len() > 10, "{queries:?}");
    let rules = std::fs::read_to_string(repository("dashboards/rules/headroom.yaml")).expect("rules");
    let asked: BTreeSet<&str> = queries.iter().flat_map(|q| names(q)).chain(names(&rules)).collect();
    let unknown: Vec<_> = asked.iter().filter(|n| !is_exported(n, &exported) && !expected_later(n)).collect();
    assert!(unknown.is_empty(), "asked for but not exported: {unknown:?}; exported are {exported:#?}");

    // A rule that waits for a word nobody says never fires. Reasons are the language's own words.
    for query in promql() {
        for (label, value) in query
            .split(['{', ','])
            .filter_map(|m| m.split_once("=~\"").or_else(|| m.split_once("!~\"").or_else(|| m.split_once("=\""))))
        {
            for word in value.split('"').next().unwrap_or_default().split('|').filter(|w| *w != ".*") {
                let said = || pages.iter().any(|page| page.contains(&format!("{label}=\"{word}\"")));
                assert!(NoData::from_code(word).is_some() || said(), "nobody says {label}={word}: {query}");
            }
        }
    }

    let lines: Vec<String> = row.influx.texts().iter().flat_map(|t| t.lines().map(str::to_owned)).collect();
    let written: BTreeSet<&str> = lines.iter().filter_map(|l| l.split([',', ' ']).next()).collect();
    assert!(lines.iter().all(|l| l.contains(" value=")), "another field than value");
    let board = generated("headroom-row-flux.json");
    let mut queries = Vec::new();
    texts(&board, "query", &mut queries);
    let asked = queries.iter().flat_map(|q| q.split("_measurement == \"").skip(1)).filter_map(|p| p.split('"').next());
    let asked: BTreeSet<&str> = asked.collect();
    let unknown: Vec<_> = asked.iter().filter(|n| !written.contains(*n) && !expected_later(n)).collect();
    assert!(asked.len() > 15 && unknown.is_empty(), "asked for but not written: {unknown:?}; written are {written:#?}");
}

/// Counters are typed without their `_total` in OpenMetrics.
fn is_exported(name: &str, exported: &BTreeSet<&str>) -> bool {
    exported.contains(name) || name.strip_suffix("_total").is_some_and(|base| exported.contains(base))
}

/// The labels of a metric.
fn labels(name: &str) -> &'static [&'static str] {
    let own = METRICS.iter().find(|(known, ..)| *known == name).map(|(_, _, labels, _)| *labels);
    let signal = || name.strip_prefix("headroom_").and_then(Signal::from_name).map(|_| &["rack", "device"][..]);
    own.or_else(signal).unwrap_or_else(|| panic!("{name} is no metric and no signal"))
}

/// Every PromQL expression of dashboard and rules, as Prometheus can read it: Grafana's variables filled in.
fn promql() -> Vec<String> {
    let board = generated("headroom-row.json");
    let mut found = Vec::new();
    texts(&board, "expr", &mut found);
    let mut all: Vec<String> = found.iter().map(|q| (*q).to_owned()).collect();
    let rules = std::fs::read_to_string(repository("dashboards/rules/headroom.yaml")).expect("rules");
    all.extend(rules.lines().filter_map(|l| l.trim().strip_prefix("expr: ")).map(str::to_owned));
    all.iter().map(|q| q.replace("$__rate_interval", "1m").replace("$node", ".*").replace("$rack", ".*")).collect()
}

#[test]
fn every_query_is_promql_and_asks_by_labels_that_its_metrics_have() {
    let queries = promql();
    assert!(queries.len() > 50, "{queries:#?}");
    let mut rules = "groups:\n- name: queries\n  rules:\n".to_owned();
    for (i, query) in queries.iter().enumerate() {
        assert!(!query.contains('$'), "a variable that nobody fills: {query}");
        rules += &format!("  - record: query:{i}\n    expr: {}\n", Value::from(query.as_str()));
        // `by (…)` folds what stands to its right up to the next one.
        for piece in query.split(" by (").skip(1) {
            let (by, rest) = piece.split_once(')').expect("a list");
            for name in names(rest) {
                let missing: Vec<_> = by.split(", ").filter(|label| !labels(name).contains(label)).collect();
                assert!(missing.is_empty(), "{name} has no {missing:?}: {query}");
            }
        }
        for (metric, selector) in query.split('}').filter_map(|part| part.split_once('{')) {
            let name = names(metric).last().unwrap_or_else(|| panic!("a selector of nothing: {query}"));
            for matcher in selector.split(',') {
                let label = matcher.split(['=', '!']).next().unwrap_or_default();
                assert!(labels(name).contains(&label), "{name} has no {label}: {query}");
            }
        }
        for name in names(query) {
            labels(name);
        }
    }
    let dir = tempfile::tempdir().expect("a temporary folder");
    let file = dir.path().join("queries.yaml");
    std::fs::write(&file, rules).expect("a file");
    succeed(Command::new("promtool").args(["check", "rules", "--lint=none"]).arg(&file), "prometheus");
}

#[test]
fn panels_have_numbers_of_their_own_and_take_their_source_from_provisioning() {
    let listed = succeed(
        peer::script("yaml_files.py").args([
            repository("dashboards/provisioning/datasources/headroom.yaml"),
            repository("dashboards/provisioning/dashboards/headroom.yaml"),
        ]),
        "PyYAML",
    );
    for name in ["headroom-row.json", "headroom-row-flux.json"] {
        let board = generated(name);
        let mut ids = BTreeSet::new();
        let panels = board["panels"].as_array().expect("panels");
        let inner = panels.iter().flat_map(|p| p["panels"].as_array().into_iter().flatten());
        for panel in panels.iter().chain(inner) {
            let id = panel["id"].as_u64().unwrap_or_else(|| panic!("{name}: no id in {panel}"));
            assert!(ids.insert(id), "{name}: two panels have id {id}");
        }
        assert!(ids.len() > 5, "{name}");
        let mut sources = Vec::new();
        texts(&board, "uid", &mut sources);
        for source in sources.iter().filter(|s| s.starts_with("headroom-") && **s != board["uid"]) {
            assert!(listed.contains(source), "{name}: data source {source} is not provisioned");
        }
    }
    assert!(listed.contains("/var/lib/grafana/dashboards/headroom"), "{listed}");
}

#[test]
fn what_is_generated_is_what_the_source_makes() {
    let at = repository("dashboards");
    assert!(at.join("node_modules").is_dir(), "dashboards/node_modules is missing: ./tests/run sets it up");
    succeed(Command::new("npm").args(["run", "--silent", "check"]).current_dir(at), "nodejs and npm");
}
