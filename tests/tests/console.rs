//! The console in a real browser, through a ramp: what an operator reads is what the controller
//! said, to the last digit shown; it changes with the row; the page asks nobody else; and what is
//! no longer known is not shown as if it were.

use headroom_tests::browser::Browser;
use headroom_tests::http;
use headroom_tests::parts::until;
use headroom_tests::row::Row;
use serde_json::Value;
use std::collections::BTreeSet;

/// Keeps what the page was answered, so that each look can be held against it without a race.
const KEEP: &str = "window.served = {count: 0, state: [], history: []};
    const real = window.fetch;
    window.fetch = async (url, ...rest) => {
        const answer = await real(url, ...rest), kind = /\\/api\\/(state|history)/.exec(url);
        if (kind) { const list = served[kind[1]]; list.push(await answer.clone().json()); list.splice(0, list.length - 2); }
        if (kind && kind[1] === 'state') served.count += 1;
        return answer;
    };";

/// What the page shows once it has been answered again, by test id; what it was answered last and
/// the time before, because the last may not be drawn yet.
const LOOK: &str = "new Promise((done) => {
    const before = served.count;
    const wait = setInterval(() => {
        if (served.count === before) return;
        clearInterval(wait);
        const shown = {};
        for (const e of document.querySelectorAll('[data-testid]')) shown[e.dataset.testid] = {
            text: (e.innerText ?? e.textContent).trim(), label: e.getAttribute('aria-label'), hidden: e.classList.contains('hidden'),
            lines: [...e.querySelectorAll('path')].map((p) => p.getAttribute('d')),
        };
        done({shown, states: served.state, histories: served.history});
    }, 20);
})";

struct Look(Value);

impl Look {
    fn text(&self, id: &str) -> &str {
        self.0["shown"][id]["text"].as_str().unwrap_or_else(|| panic!("{id} is not on the page"))
    }

    fn state(&self) -> &Value {
        self.0["states"].as_array().and_then(|s| s.last()).expect("it was answered")
    }

    /// Panics with all it read, unless one of the last answers says the same.
    fn shows(&self, id: &str, answers: &str, shown: &str, said: impl Fn(&Value) -> Option<String>) {
        let said: Vec<String> = self.0[answers].as_array().into_iter().flatten().filter_map(said).collect();
        assert!(said.iter().any(|s| s == shown), "{id} shows {shown:?}, the controller said {said:?}");
    }

    fn agrees(&self) {
        for node in ["breaker-a", "breaker-b"] {
            let id = format!("node-{node}-power");
            self.shows(&id, "states", &squeezed(self.text(&id)), |s| {
                Some(kilowatts(&named(s, "nodes", node)["power_watts"]))
            });
            let id = format!("node-{node}-ttt");
            self.shows(&id, "states", &squeezed(self.text(&id)), |s| {
                Some(span(&named(s, "nodes", node)["time_to_trip_s"]))
            });
        }
        for ups in ["ups-a", "ups-b"] {
            let id = format!("node-{ups}-power");
            let text = squeezed(self.text(&id));
            let power = text.split("of").next().unwrap_or_default();
            self.shows(&id, "states", power, |s| Some(kilowatts(&named(s, "nodes", ups)["power_watts"])));
        }
        let limit = self.text("node-breaker-a-limit").split(" ·").next().unwrap_or_default();
        self.shows("node-breaker-a-limit", "states", &squeezed(limit), |s| {
            Some(format!("limit{}", kilowatts(&named(s, "nodes", "breaker-a")["limit_watts"])))
        });
        for rack in ["rack-1", "rack-2", "rack-3", "rack-4"] {
            let id = format!("rack-{rack}-power");
            self.shows(&id, "states", &squeezed(self.text(&id)), |s| {
                Some(kilowatts(&named(s, "racks", rack)["power_watts"]))
            });
            let id = format!("rack-{rack}-cap");
            self.shows(&id, "states", self.text(&id), |s| {
                let cap = named(s, "racks", rack)["gpu_limit_watts"].as_f64();
                Some(cap.map_or("no Order yet".to_owned(), |w| format!("≤ {} W a GPU", fixed(w, 0))))
            });
            let id = format!("rack-{rack}-reason");
            self.shows(&id, "states", self.text(&id), |s| {
                let reason = named(s, "racks", rack)["reason"].as_str().unwrap_or_default();
                Some(if reason.is_empty() { self.text(&id) } else { reason }.to_owned())
            });
            let id = format!("gpu-{rack}-gpu-7");
            let shown = self.text(&id).lines().next().unwrap_or_default();
            self.shows(&id, "states", shown, |s| {
                named(named(s, "racks", rack), "gpus", "gpu-7")["power_watts"].as_f64().map(|w| fixed(w, 0))
            });
            let id = format!("forecast-{rack}");
            let chart = &self.0["shown"][&id];
            let label = chart["label"].as_str().unwrap_or_default().split(", in ").nth(1).unwrap_or_default();
            self.shows(&id, "histories", label, |h| {
                let last = |key: &str| newest(&h["ahead"][rack][key]).map(|w| fixed(w / 1000.0, 2) + " kW");
                let (middle, most) = (last("p50"), last("p99"));
                let words = |(p, q)| format!("30 s expected {p}, at most {q} in 99 of 100 cases");
                Some(middle.zip(most).map(words).unwrap_or_default())
            });
            let lines = chart["lines"].to_string();
            assert!(!lines.contains("NaN") && !lines.contains("undefined"), "{id} draws {lines}");
        }
    }
}

fn named<'a>(state: &'a Value, list: &str, id: &str) -> &'a Value {
    state[list].as_array().into_iter().flatten().find(|one| one["id"] == id).unwrap_or(&Value::Null)
}

fn newest(list: &Value) -> Option<f64> {
    list.as_array()?.iter().rev().find_map(Value::as_f64)
}

fn squeezed(text: &str) -> String {
    text.split_whitespace().collect()
}

/// As JavaScript writes a number: half of the last digit goes up.
fn fixed(number: f64, digits: usize) -> String {
    format!("{:.digits$}", number * (1.0 + 1e-12))
}

/// As the page writes power.
fn kilowatts(watts: &Value) -> String {
    watts.as_f64().map_or("notknown".to_owned(), |w| fixed(w / 1000.0, 2) + "kW")
}

/// As the page writes time to trip.
fn span(seconds: &Value) -> String {
    match seconds.as_f64() {
        None => "∞".to_owned(),
        Some(s) if s < 9.95 => fixed(s, 1) + "s",
        Some(s) if s < 99.5 => fixed(s, 0) + "s",
        Some(s) if s < 600.0 => fixed(s / 60.0, 1) + "min",
        Some(s) if s < 5970.0 => fixed(s / 60.0, 0) + "min",
        Some(s) => fixed(s / 3600.0, 1) + "h",
    }
}

#[test]
fn an_open_page_shows_what_the_controller_says_while_a_ramp_comes_and_parts_fall_silent() {
    let mut row = Row::start();
    let address = row.console();
    until("four racks measured", || {
        let state = row.state();
        let racks = state["racks"].as_array()?;
        (racks.len() == 4 && racks.iter().all(|r| r["power_watts"].is_number())).then_some(())
    });
    let mut page = Browser::open(&format!("http://{address}/"), KEEP);
    let look = |page: &mut Browser| Look(page.value(LOOK));
    // The first answer may come before the first drawing.
    until("a page", || {
        page.value("document.querySelector('[data-testid=rack-rack-4-cap]')?.innerText").as_str().map(drop)
    });

    let (mut powers, mut held, mut looks) = (BTreeSet::new(), BTreeSet::new(), 0);
    until("the ramp, a cap with its reason and a forecast on the page", || {
        let look = look(&mut page);
        look.agrees();
        looks += 1;
        powers.insert(squeezed(look.text("node-breaker-a-power")));
        for rack in ["rack-1", "rack-2", "rack-3", "rack-4"] {
            if named(look.state(), "racks", rack)["binding"] == true {
                let reason = look.text(&format!("rack-{rack}-reason"));
                held.extend(reason.contains("held to").then(|| reason.to_owned()));
            }
        }
        let told = look.text("events").contains("capped to") || look.text("events").contains("held to");
        let expected = look.0["shown"]["forecast-rack-1"]["label"].to_string().contains("in 30 s expected");
        (looks >= 15 && told && expected && !held.is_empty() && row.plant_s() > 14.0).then_some(())
    });
    assert!(held.iter().all(|reason| reason.contains("breaker-") || reason.contains("ups-")), "{held:?}");
    let powers: Vec<f64> = powers.iter().filter_map(|p| p.strip_suffix("kW")?.parse().ok()).collect();
    let (least, most) = (powers.iter().copied().fold(f64::MAX, f64::min), powers.iter().copied().fold(0.0, f64::max));
    assert!(powers.len() >= 5 && most > 1.2 * least, "breaker-a shows the ramp as {powers:?}");

    // Caps keep the breaker where it never trips; a meter that says too much shows what would be.
    row.plant.fault("meter_lying", "rack-1/pdu-a", Some(6.0));
    until("seconds to trip on the page", || {
        let look = look(&mut page);
        look.agrees();
        look.text("node-breaker-a-ttt").contains(|c: char| c.is_ascii_digit()).then_some(())
    });

    let events = http::json(&address, "/api/events?after=0");
    let cap = events.as_array().into_iter().flatten().find(|e| e["kind"] == "cap").expect("a cap was told");
    let words = cap["text"].as_str().expect("words");
    assert!(look(&mut page).text("events").contains(words), "{words:?} is not among the events");

    let (asked, complaints) = page.conduct();
    let others: Vec<&String> =
        asked.iter().filter(|u| !u.starts_with(&format!("http://{address}/")) && !u.starts_with("data:")).collect();
    assert!(others.is_empty(), "the page asked {others:?}");
    assert!(asked.len() > 30, "{asked:?}");
    assert!(complaints.is_empty(), "the page logged {complaints:#?}");

    row.kill("rack-2");
    until("a silent rack", || {
        let look = look(&mut page);
        look.text("rack-rack-2-state").starts_with("silent for").then_some(())
    });
    row.kill("controller");
    let lost = "(e => e.classList.contains('hidden') ? '' : e.innerText)(document.querySelector('[data-testid=connection-lost]'))";
    until("a page that says that it is old", || {
        page.value(lost).as_str().filter(|words| words.starts_with("Connection lost")).map(drop)
    });
}
