//! A real Prometheus reads a running row: every panel of the dashboard has an answer that carries the
//! labels of its legend, a row that is well raises no alarm, and one that is not does.

use headroom_tests::parts::{Part, until};
use headroom_tests::row::Row;
use headroom_tests::{repository, succeed};
use serde_json::Value;
use std::net::TcpListener;
use std::process::{Command, Stdio};

struct Prometheus {
    _part: Part,
    _dir: tempfile::TempDir,
    url: String,
}

impl Prometheus {
    /// Scrapes these pages each second, as jobs of the names that the rules know.
    fn start(controller: &str, agents: &[String]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let agents = agents.iter().map(|a| format!("{a:?}")).collect::<Vec<_>>().join(", ");
        let rules = repository("dashboards/rules/headroom.yaml");
        let config = format!(
            "global: {{ scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s }}\n\
             rule_files: [{:?}]\n\
             scrape_configs:\n\
             - {{ job_name: headroom-controller, static_configs: [ targets: [{controller:?}] ] }}\n\
             - {{ job_name: headroom-agent, static_configs: [ targets: [{agents}] ] }}\n",
            rules.display()
        );
        let file = dir.path().join("prometheus.yaml");
        std::fs::write(&file, config).expect("a file");
        let address = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port");
        let log = std::fs::File::create(dir.path().join("log")).expect("a log");
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn();
        let child = child.unwrap_or_else(|why| panic!("prometheus: {why}; install prometheus or run ./tests/run"));
        let mut part = Part::new(child);
        until("Prometheus", || {
            let log = || std::fs::read_to_string(dir.path().join("log")).unwrap_or_default();
            assert!(part.ended().is_none(), "Prometheus ended:\n{}", log());
            std::net::TcpStream::connect(address).ok()
        });
        Self { _part: part, _dir: dir, url: format!("http://{address}") }
    }

    /// Labels and value of each series that answers.
    fn ask(&self, query: &str) -> Vec<(Value, f64)> {
        let mut promtool = Command::new("promtool");
        promtool.args(["query", "instant", "--format=json", &self.url, query]);
        let said = succeed(&mut promtool, "prometheus");
        let all: Vec<Value> = serde_json::from_str(&said).unwrap_or_else(|why| panic!("{why}: {said}"));
        let number = |s: &Value| s["value"][1].as_str().and_then(|text| text.parse().ok()).expect("a number");
        all.iter().map(|s| (s["metric"].clone(), number(s))).collect()
    }

    /// Waits for an answer that has what the legend names.
    fn answers(&self, title: &str, query: &str, legend: &str) {
        let answer = until(&format!("an answer to {query} ({title})"), || {
            Some(self.ask(query)).filter(|answer| !answer.is_empty())
        });
        for (labels, value) in answer {
            assert!(value.is_finite(), "{title}: {query} gives {value}");
            for label in legend.split("{{").skip(1).filter_map(|l| l.split("}}").next()) {
                let filled = labels[label.trim()].as_str().is_some_and(|text| !text.is_empty());
                assert!(filled, "{title}: {legend:?} asks for {label}, and {query} gives {labels}");
            }
        }
    }

    /// Every alarm of the last two minutes.
    fn fired(&self) -> Vec<String> {
        let alerts = self.ask("last_over_time(ALERTS{alertstate=\"firing\"}[2m])");
        alerts.iter().map(|(labels, _)| labels.to_string()).collect()
    }

    fn until_fired(&self, alert: &str, whose: &str) {
        until(&format!("{alert} of {whose:?}"), || {
            self.fired().iter().any(|labels| labels.contains(alert) && labels.contains(whose)).then_some(())
        });
    }
}

/// Title, query and legend of each line of each panel, Grafana's variables filled in.
fn lines() -> Vec<(String, String, String)> {
    let text = std::fs::read_to_string(repository("dashboards/generated/headroom-row.json")).expect("a dashboard");
    let board: Value = serde_json::from_str(&text).expect("JSON");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let filled = |query: &str| {
        let query = query.replace("$__rate_interval", "10s").replace("$node", ".*").replace("$rack", ".*");
        assert!(!query.contains('$'), "a variable that nobody fills: {query}");
        query
    };
    let panels = board["panels"].as_array().expect("panels").iter();
    let targets = panels.flat_map(|p| p["targets"].as_array().into_iter().flatten().map(|t| (text(&p["title"]), t)));
    targets.map(|(title, t)| (title, filled(&text(&t["expr"])), text(&t["legendFormat"]))).collect()
}

#[test]
fn every_panel_has_an_answer_and_alarms_come_when_they_should_and_only_then() {
    let mut row = Row::start();
    let agents: Vec<String> = ["rack-1", "rack-2", "rack-3", "rack-4"].map(|rack| row.agent(rack)).to_vec();
    let prometheus = Prometheus::start(&row.console(), &agents);
    until("five pages that Prometheus can read", || {
        let up = prometheus.ask("up");
        (up.len() == 5 && up.iter().all(|(_, value)| *value == 1.0)).then_some(())
    });
    let lines = lines();
    assert!(lines.len() > 30, "{lines:?}");
    // Seconds to trip are there only while they are counted.
    let (counted, always): (Vec<_>, Vec<_>) =
        lines.iter().partition(|(_, q, _)| q.contains("time_to_trip") && !q.contains(" or "));
    always.into_iter().for_each(|(title, query, legend)| prometheus.answers(title, query, legend));
    // Long enough for each rule that speaks of seconds to be sure of itself.
    until("half a minute of a row that is well", || {
        let seen = prometheus.ask("count_over_time(up{job=\"headroom-controller\"}[2m])");
        seen.first().filter(|(_, scrapes)| *scrapes >= 30.0).map(drop)
    });
    assert_eq!(prometheus.fired(), Vec::<String>::new(), "nothing is wrong");

    row.plant.fault("meter_lying", "rack-1/pdu-a", Some(6.0));
    for (title, query, legend) in counted {
        prometheus.answers(title, &format!("last_over_time(({query})[2m:1s])"), legend);
    }
    row.kill("rack-2");
    prometheus.until_fired("HeadroomAgentSilent", "rack-2");
    row.kill("controller");
    prometheus.until_fired("HeadroomControllerGone", "");
}
