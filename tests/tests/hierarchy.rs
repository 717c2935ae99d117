//! Two controllers in a tree, in real time: the upper one limits the row as one rack of its own, and each
//! survives the other.

use headroom_tests::http;
use headroom_tests::parts::{Part, Start, content, until};
use headroom_tests::row::{Row, steady};
use serde_json::Value;
use std::path::Path;

/// Safe shares of the racks: four of 1,700 W and eight GPUs at 400 W.
const SAFE_WATTS: f64 = 4.0 * (1700.0 + 8.0 * 400.0);
/// What meters and settling may add.
const OVER: f64 = 1.03;

/// The controller above, at the same broker, with one breaker for the whole hall.
struct Campus {
    start: Start,
    part: Option<Part>,
}

impl Campus {
    fn new(row: &Row) -> Self {
        let at = |name: &str| row.plant.dir().join(name).display().to_string();
        let args = ["run", "--config", &at("campus.toml"), "--port-file", &at("campus.port")];
        Self { start: Start::new("headroom-controller", &args, &[], row.plant.dir().join("campus.log")), part: None }
    }

    fn begin(&mut self, row: &Row, rating_watts: f64) {
        let record = row.plant.dir().join("campus-record").display().to_string();
        let text = format!(
            "site = \"campus\"\nhost = \"campus-1\"\n[broker]\nurl = \"mqtt://{}\"\n[record]\ndir = \"{record}\"\n\
             [serve]\nlisten = \"127.0.0.1:0\"\n[policy]\nbands = [\"hall\"]\n\
             [[node]]\nid = \"main\"\nkind = \"breaker\"\nfeed = \"a\"\nrating_watts = {rating_watts}\n\
             [[rack]]\nid = \"hall-1\"\npriority = \"hall\"\ngpus = 32\noverhead_watts = 6800\ngpu_max_watts = 700\n\
             safe_gpu_watts = 400\nfeeds = [{{ node = \"main\", share = 1.0, meter = \"main\" }}]\n",
            row.plant.broker
        );
        row.plant.file("campus.toml", &text);
        let _ = std::fs::remove_file(row.plant.dir().join("campus.port"));
        self.part = Some(self.start.start());
    }

    fn state(row: &Row) -> Value {
        http::json(&content(&row.plant.dir().join("campus.port")), "/api/state")
    }

    /// What the upper controller believes to flow through its breaker.
    fn believed(row: &Row) -> Option<f64> {
        Self::state(row).pointer("/nodes/0/power_watts")?.as_f64()
    }
}

fn parent(row: &Row, key: &str) -> Value {
    row.state()["parent"][key].clone()
}

fn finding(state: &Value, kind: &str) -> bool {
    state["findings"].as_array().into_iter().flatten().any(|f| f["kind"] == kind)
}

#[test]
fn an_upper_controller_limits_a_row_as_one_rack_and_each_survives_the_other() {
    let none = |_: &Path| String::new();
    let mut row = Row::of(Some(&steady()), none, |text| {
        text.replace("rating_amperes = 16.0", "rating_amperes = 63.0")
            + "\n[parent]\nsite = \"campus\"\nrack = \"hall-1\"\n[[parent.feed]]\nmeter = \"main\"\nnodes = [\"ups-a\", \"ups-b\"]\n"
    });
    until("the safe share before there is a parent", || {
        (row.drawn() > 0.8 * SAFE_WATTS && parent(&row, "limit_watts") == SAFE_WATTS).then_some(())
    });
    assert!(row.drawn() < SAFE_WATTS * OVER && parent(&row, "held") == false);
    until("somebody to be told", || finding(&row.state(), "parent_silent").then_some(()));

    // With room above, the row takes what it wants, more than its safe share.
    let mut campus = Campus::new(&row);
    campus.begin(&row, 60_000.0);
    until("a budget", || (parent(&row, "held") == true).then_some(()));
    until("the row to use it", || (row.drawn() > 1.1 * SAFE_WATTS).then_some(()));
    assert!(!finding(&row.state(), "parent_silent"));
    until("the upper controller to see it", || Campus::believed(&row).filter(|w| (w / row.drawn() - 1.0).abs() < 0.05));

    // It dies: its lease runs out, and the row keeps to its safe share by itself.
    drop(campus.part.take());
    until("the end of the lease", || (parent(&row, "held") == false).then_some(()));
    until("the safe share again", || (row.drawn() < SAFE_WATTS * OVER).then_some(()));

    // Back, with less to give than the row wants: its breaker is kept.
    campus.begin(&row, 21_000.0);
    until("a budget again", || (parent(&row, "held") == true).then_some(()));
    let limit = parent(&row, "limit_watts").as_f64().expect("a number");
    assert!(limit < 21_000.0, "{limit}");
    until("the row under it", || (row.drawn() < 21_000.0 && row.drawn() > 0.85 * SAFE_WATTS).then_some(()));

    // The row's controller dies: its agents go to their safe shares, the upper one knows it is gone.
    row.kill("controller");
    until("the agents' safe shares", || row.limits(None).iter().all(|w| (w - 400.0).abs() < 1.0).then_some(()));
    until("the upper one to know", || (Campus::state(&row)["racks"][0]["state"] != "live").then_some(()));
    row.begin("controller");
    until("a budget for the new run", || (parent(&row, "held") == true).then_some(()));
    until("the row under it", || (row.drawn() < 21_000.0).then_some(()));

    assert!(
        campus.part.take().expect("it runs").stop(),
        "{}",
        std::fs::read_to_string(&campus.start.log).unwrap_or_default()
    );
    let (clean, _, plant) = row.end();
    assert!(clean, "{}", row.logs());
    assert_eq!(plant["trips"].as_array().map(Vec::len), Some(0), "{plant:#}");
}
