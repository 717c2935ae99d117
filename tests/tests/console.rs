//! The console in a real browser: what an operator reads there is what the controller says, it
//! changes as the row does, and the page asks nobody else.

use headroom_tests::http;
use headroom_tests::parts::until;
use headroom_tests::row::Row;
use serde_json::Value;
use std::process::{Command, Stdio};

/// The page as the browser built it, what the browser logged, and every address the page asked for.
struct Page {
    dom: String,
    log: String,
    asked: Vec<String>,
}

/// Opens the page, gives its scripts time to fetch and draw, and takes it down as it stands.
fn open(address: &str) -> Page {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let net = dir.path().join("net.json");
    let output = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--enable-logging=stderr", "--virtual-time-budget=3000", "--dump-dom"])
        .arg(format!("--user-data-dir={}", dir.path().join("profile").display()))
        .arg(format!("--log-net-log={}", net.display()))
        .arg(format!("http://{address}/"))
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|why| panic!("chromium: {why}; install chromium (Debian name) or run ./tests/run"));
    let events: Value =
        std::fs::read_to_string(&net).ok().and_then(|t| serde_json::from_str(&t).ok()).expect("a net log");
    let events = events["events"].as_array().into_iter().flatten();
    let own = format!("http://{address}");
    let asked = events.filter(|e| e["params"]["initiator"].as_str() == Some(&own));
    Page {
        dom: String::from_utf8_lossy(&output.stdout).into_owned(),
        log: String::from_utf8_lossy(&output.stderr).into_owned(),
        asked: asked.filter_map(|e| e["params"]["url"].as_str()).map(str::to_owned).collect(),
    }
}

impl Page {
    /// From the start of an element's attributes on.
    fn element(&self, id: &str) -> &str {
        let mark = format!("data-testid=\"{id}\"");
        self.dom.split_once(&mark).unwrap_or_else(|| panic!("{id} is not on the page")).1
    }

    /// The number an element shows, in the controller's unit.
    fn value(&self, id: &str) -> Option<f64> {
        let attributes = self.element(id).split('>').next()?;
        attributes.split("data-value=\"").nth(1)?.split('"').next()?.parse().ok()
    }

    /// What a person reads in an element whose text has no element of the same name inside.
    fn text(&self, id: &str, end: &str) -> String {
        let inside = self.element(id).split_once('>').map_or("", |(_, rest)| rest);
        let inside = inside.split(end).next().unwrap_or_default();
        let pieces = inside.split('<').enumerate().map(|(i, piece)| match i {
            0 => piece,
            _ => piece.split_once('>').map_or("", |(_, text)| text),
        });
        pieces.collect()
    }
}

fn rack<'a>(state: &'a Value, id: &str) -> &'a Value {
    let racks = state["racks"].as_array().into_iter().flatten();
    racks.into_iter().find(|r| r["id"] == id).unwrap_or(&Value::Null)
}

#[test]
fn a_browser_shows_what_the_controller_says_as_it_changes() {
    let row = Row::start();
    let address = row.console();
    until("rack-1 measured", || rack(&row.state(), "rack-1")["power_watts"].as_f64());
    let calm = open(&address);
    until("rack-3 held", || (rack(&row.state(), "rack-3")["binding"] == true).then_some(()));
    until("the ramp to be over", || (row.plant_s() > 14.0).then_some(()));

    // The load swings between two looks: what is shown must lie among what was said around it.
    let within = |page: &Page, before: &Value, after: &Value, id: &str, pick: &dyn Fn(&Value) -> Option<f64>| {
        let shown = page.value(id).unwrap_or_else(|| panic!("{id} shows no number"));
        let (a, b) = (pick(before).expect("said"), pick(after).expect("said"));
        let slack = 0.15 * a.max(b);
        assert!(shown > a.min(b) - slack && shown < a.max(b) + slack, "{id} shows {shown}, said were {a} and {b}");
        shown
    };
    let node = |id: &'static str, key: &'static str| {
        move |state: &Value| {
            let nodes = state["nodes"].as_array()?;
            nodes.iter().find(|n| n["id"] == id)?[key].as_f64()
        }
    };
    let before = row.state();
    let page = open(&address);
    let after = row.state();
    for feed in ["breaker-a", "breaker-b", "ups-a", "ups-b"] {
        within(&page, &before, &after, &format!("node-{feed}-power"), &node(feed, "power_watts"));
    }
    within(&page, &before, &after, "node-breaker-a-limit", &node("breaker-a", "limit_watts"));
    for id in ["rack-1", "rack-2", "rack-3", "rack-4"] {
        let of = |key: &'static str| move |state: &Value| rack(state, id)[key].as_f64();
        let power = within(&page, &before, &after, &format!("rack-{id}-power"), &of("power_watts"));
        within(&page, &before, &after, &format!("rack-{id}-cap"), &of("gpu_limit_watts"));
        let gpu = page.element(&format!("gpu-{id}-gpu-7")).split('>').next().unwrap_or_default();
        let watts = gpu.split("gpu-7: ").nth(1).and_then(|t| t.split(' ').next()).and_then(|w| w.parse::<f64>().ok());
        assert!(watts.is_some_and(|w| w > 50.0 && w < 800.0), "{gpu}");
        let forecast = page.element(&format!("forecast-{id}")).split('>').next().unwrap_or_default();
        assert!(forecast.contains("in 30 s expected") && forecast.contains(" kW"), "{forecast}");
        if id == "rack-1" {
            let then = calm.value("rack-rack-1-power").expect("a number");
            assert!(power > 1.3 * then, "rack-1 shows {then} W before the ramp and {power} W after it");
        }
    }
    let trips = page.element("node-breaker-a-ttt").split('>').next().unwrap_or_default();
    let seconds = trips.split("data-value=\"").nth(1).and_then(|v| v.split('"').next()).expect("a value");
    assert!(seconds == "never" || seconds.parse::<f64>().is_ok_and(|s| s > 0.0), "{seconds}");
    let reason = page.text("rack-rack-3-reason", "</p>");
    assert!(reason.contains("held to") && reason.contains("breaker-"), "{reason}");
    let events = page.text("events", "</ol>");
    let told = http::json(&address, "/api/events?after=0");
    let cap = told.as_array().into_iter().flatten().find(|e| e["kind"] == "cap").expect("a cap was told");
    let words = cap["text"].as_str().expect("words");
    assert!(events.contains(words), "{words:?} is not among {events:?}");

    for page in [&calm, &page] {
        assert!(!page.log.contains(":CONSOLE"), "the page logged: {}", page.log);
        let own = format!("http://{address}/");
        assert!(page.asked.iter().any(|url| url.contains("/api/state")), "{:?}", page.asked);
        let others: Vec<&String> = page.asked.iter().filter(|url| !url.starts_with(&own)).collect();
        assert!(others.is_empty(), "the page asked {others:?}");
    }
}
