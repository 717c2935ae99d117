//! What the dashboards and alert rules ask for is what the programs export; what is in `generated/`
//! is what the source makes.

use headroom_rack::metric::METRICS;
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

/// What only appears when it happens, and whose name the catalogue vouches for.
fn in_catalogue(name: &str) -> bool {
    METRICS.iter().any(|(known, ..)| *known == name)
}

#[test]
fn every_metric_asked_for_is_exported_by_a_running_row() {
    let row = Row::start();
    let counted = |state: &Value, path: &str| state.pointer(path).and_then(Value::as_f64).unwrap_or(0.0);
    until("Receipts and a model's forecasts", || {
        let state = row.state();
        let both = counted(&state, "/counts/receipts/applied") > 8.0 && counted(&state, "/model/forecasts") > 0.0;
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
    let unknown: Vec<_> = asked.iter().filter(|n| !is_exported(n, &exported) && !in_catalogue(n)).collect();
    assert!(unknown.is_empty(), "asked for but not exported: {unknown:?}; exported are {exported:#?}");
    let seen = asked.iter().filter(|n| is_exported(n, &exported)).count();
    assert!(seen * 10 > asked.len() * 8, "only {seen} of {} seen: {asked:?}", asked.len());

    let lines: Vec<String> = row.influx.texts().iter().flat_map(|t| t.lines().map(str::to_owned)).collect();
    let written: BTreeSet<&str> = lines.iter().filter_map(|l| l.split([',', ' ']).next()).collect();
    assert!(lines.iter().all(|l| l.contains(" value=")), "another field than value");
    let board = generated("headroom-row-flux.json");
    let mut queries = Vec::new();
    texts(&board, "query", &mut queries);
    let asked = queries.iter().flat_map(|q| q.split("_measurement == \"").skip(1)).filter_map(|p| p.split('"').next());
    let asked: BTreeSet<&str> = asked.collect();
    let unknown: Vec<_> = asked.iter().filter(|n| !written.contains(*n) && !in_catalogue(n)).collect();
    assert!(unknown.is_empty(), "asked for but not written: {unknown:?}; written are {written:#?}");
    let seen = asked.iter().filter(|n| written.contains(*n)).count();
    assert!(seen * 10 > asked.len() * 8 && seen > 5, "only {seen} of {} written: {asked:?}", asked.len());
}

/// Counters are typed without their `_total` in OpenMetrics.
fn is_exported(name: &str, exported: &BTreeSet<&str>) -> bool {
    exported.contains(name) || name.strip_suffix("_total").is_some_and(|base| exported.contains(base))
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
