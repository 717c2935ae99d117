//! The rows that are measured, and what their GPUs are seen to be set to.

use crate::driver::{Drivers, Lowered, Place};
use headroom_controller::clock::rfc3339;
use headroom_controller::flex::event::{self, Chance, Envelope, Trace};
use headroom_controller::flex::jws;
use headroom_controller::flex::key::Signer;
use headroom_rack::{DeviceId, UnixMs};
use headroom_tests::parts::until;
use headroom_tests::row::{Row, even, scenario};
use headroom_tests::{http, succeed};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A limit that moved by less has not moved, W.
const MOVED: f64 = 5.0;
/// How long an overload is watched.
const WATCHED: Duration = Duration::from_secs(4);
/// How often the plant is asked what is in force.
const IN_FORCE_EVERY: Duration = Duration::from_millis(20);

/// A full load that two feeds carry and one does not, with a load-flexibility partner.
pub fn steady() -> (Row, Partner) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let partner = Partner::new(dir);
    let config =
        |text: String| even(&text).replace("rating_amperes = 16.0", "rating_amperes = 25.0") + &partner.section();
    let row = Row::of(Some(&scenario(25.0, "level = [[0, 0.95]]")), |_: &Path| String::new(), config);
    (row, partner)
}

/// A load that creeps from low to full within 12 s, again and again, under the breakers of the demonstration.
pub fn creeping() -> Row {
    let level = "level = [[0, 0.1], [8, 0.1], [20, 1.0], [24, 1.0], [25, 0.1], [40, 0.1]]\nrepeat_from_s = 0.0";
    Row::of(Some(&scenario(16.0, level)), |_: &Path| String::new(), |text| even(&text))
}

/// Whoever sends load targets.
pub struct Partner {
    dir: tempfile::TempDir,
    signer: Signer,
    chance: Chance,
}

impl Partner {
    fn new(dir: tempfile::TempDir) -> Self {
        let path = |name: &str| dir.path().join(name).display().to_string();
        for name in ["ours", "acme"] {
            let (key, public) = (path(&format!("{name}.key")), path(&format!("{name}.pem")));
            let curve = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", &key];
            succeed(Command::new("openssl").arg("genpkey").args(curve), "openssl");
            succeed(Command::new("openssl").args(["pkey", "-pubout", "-in", &key, "-out", &public]), "openssl");
        }
        let pem = std::fs::read(dir.path().join("acme.key")).expect("a key");
        Self { signer: Signer::from_pem("acme-1", &pem).expect("a sound key"), chance: Chance::new(), dir }
    }

    fn section(&self) -> String {
        let path = |name: &str| self.dir.path().join(name).display().to_string();
        format!(
            "\n[flex]\nidentifier = \"site-1\"\nkey_id = \"ours-1\"\nkey_file = \"{}\"\n[[flex.feed]]\ntag = \"main\"\n\
             nodes = [\"ups-a\", \"ups-b\"]\n[[flex.isv]]\nidentifier = \"acme\"\nkeys = [{{ kid = \"acme-1\", file = \"{}\" }}]\n",
            path("ours.key"),
            path("acme.pem")
        )
    }

    /// Where its targets go.
    pub fn topic(&self) -> String {
        "grid/v1/isv/acme/loadtarget/set".to_owned()
    }

    /// A signed target in kW, or its release.
    pub fn target(&self, kilowatts: Option<f64>) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as u64;
        let limit = kilowatts.map_or(Value::Null, |value| json!({ "value": value, "unit": "kilowatt" }));
        let targets =
            json!({ "targets": [{ "interval": {}, "load_constraint": limit }], "sent": rfc3339(UnixMs::new(now)) });
        let data = jws::sign(targets.to_string().as_bytes(), &self.signer).expect("it signs");
        let envelope = Envelope {
            id: self.chance.uuid(),
            source: "//grid/v1/isv/acme".to_owned(),
            kind: "grid.loadtarget.set.v1".to_owned(),
            time: UnixMs::new(now),
            correlation: Some(self.chance.uuid()),
            trace: Trace::default(),
            data,
        };
        event::write(&envelope, &self.chance)
    }
}

/// When each GPU was set lower than it was, and when the plant had all of them so.
pub struct Gpus {
    drivers: Drivers,
    lowered: Lowered,
    before: BTreeMap<Place, f64>,
    enforced: BTreeMap<Place, Instant>,
    looked: Instant,
}

impl Gpus {
    /// As they are now.
    pub fn now(row: &Row) -> Self {
        Self::by(row, &row.plant.truth())
    }

    fn by(row: &Row, truth: &Value) -> Self {
        let drivers = Drivers::of(&row.plant.racks);
        let lowered = Lowered::from(&drivers);
        let before = limits(truth).map(|(key, (_, enforced))| (key, enforced)).collect();
        Self { drivers, lowered, before, enforced: BTreeMap::new(), looked: Instant::now() }
    }

    /// Watches until every GPU is set lower and that is in force, for so long at most; whether all are.
    pub fn watch(&mut self, row: &Row, most: Duration) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < most {
            let all = self.lowered.look(&self.drivers);
            // The plant steps every 20 ms, and what it says costs it more than a look at the drivers.
            if self.looked.elapsed() > IN_FORCE_EVERY {
                self.looked = Instant::now();
                self.settle(&row.plant.truth());
            }
            if all && self.enforced.len() == self.before.len() {
                return true;
            }
            std::thread::sleep(Duration::from_micros(300));
        }
        false
    }

    fn settle(&mut self, truth: &Value) {
        let now = Instant::now();
        for (key, (_, enforced)) in limits(truth) {
            if self.before.get(&key).is_some_and(|before| enforced < before - MOVED) {
                self.enforced.entry(key).or_insert(now);
            }
        }
    }

    /// When the last of these GPUs, by rack and index, was set, and when that was in force.
    pub fn last(&self, which: impl Fn(&str, u64) -> bool) -> (Option<Instant>, Option<Instant>) {
        let enforced = self.enforced.iter().filter(|((rack, gpu), _)| which(rack, *gpu)).map(|(_, at)| *at);
        (self.lowered.last(&which), enforced.max())
    }

    /// When the first and the last GPU of a rack were set.
    pub fn of(&self, rack: &str) -> Option<(Instant, Instant)> {
        self.lowered.of(rack)
    }
}

fn limits(truth: &Value) -> impl Iterator<Item = (Place, (f64, f64))> + '_ {
    let racks = truth.as_object().into_iter().flatten().filter(|(rack, _)| !rack.starts_with('_'));
    racks.flat_map(|(rack, devices)| {
        let gpus = devices.as_object().into_iter().flatten();
        gpus.filter_map(move |(id, gpu)| {
            let watts = |name: &str| gpu[name].as_f64();
            let both = (watts("gpu_limit_requested_watts")?, watts("gpu_limit_enforced_watts")?);
            Some(((rack.clone(), DeviceId::new(id.as_str()).ok()?.gpu_index()?.into()), both))
        })
    })
}

/// Waits until every limit is high again, every meter answers and the load is back.
pub fn all_back(row: &Row) {
    until("limits, meters and load to be back", || {
        let truth = row.plant.truth();
        let high = limits(&truth).all(|(_, (asked, enforced))| asked > 480.0 && (asked - enforced).abs() < 1.0);
        let watts: f64 =
            ["a", "b"].iter().filter_map(|f| truth["_plant"]["feeds"][format!("breaker-{f}")]["watts"].as_f64()).sum();
        let live =
            row.state()["nodes"].as_array()?.iter().all(|n| n["quality"] == "measured" || n["quality"] == "summed");
        (high && live && watts > 20_000.0).then_some(())
    });
    // What agents and controller remember of the last event is over.
    std::thread::sleep(Duration::from_secs(6));
}

/// Waits until the load is low and nothing is held.
pub fn low(row: &Row) {
    until("a low load", || {
        let truth = row.plant.truth();
        let watts = truth["_plant"]["feeds"]["breaker-a"]["watts"].as_f64()?;
        (watts < 6500.0 && limits(&truth).all(|(_, (asked, _))| asked > 600.0)).then_some(())
    });
}

/// Waits until more flows through a row breaker than the last Plan lets; what was set before.
pub fn over_its_limit(row: &Row, most: Duration) -> Option<(Instant, Gpus)> {
    let begun = Instant::now();
    let mut limit = f64::INFINITY;
    let mut asked_at = begun - Duration::from_secs(1);
    while begun.elapsed() < most {
        if asked_at.elapsed() > Duration::from_millis(100) {
            let state = http::json(&row.console(), "/api/state");
            let nodes = state["nodes"].as_array().into_iter().flatten();
            let of = nodes.filter(|n| n["kind"] == "breaker").filter_map(|n| n["limit_watts"].as_f64());
            limit = of.reduce(f64::min).unwrap_or(f64::INFINITY);
            asked_at = Instant::now();
        }
        let truth = row.plant.truth();
        let feeds =
            ["a", "b"].iter().filter_map(|f| truth["_plant"]["feeds"][format!("breaker-{f}")]["watts"].as_f64());
        if feeds.reduce(f64::max).is_some_and(|watts| watts > limit) {
            return Some((Instant::now(), Gpus::by(row, &truth)));
        }
        // The plant steps every 20 ms.
        std::thread::sleep(Duration::from_millis(5));
    }
    None
}

/// How long an overload is looked at after it began.
pub fn watched() -> Duration {
    WATCHED
}
