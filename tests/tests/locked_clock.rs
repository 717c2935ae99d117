//! The second lever, from an Order on the bus to the GPU and back: a locked clock lowers the power, survives
//! a reset of the GPU, and is released on every way out: the lease, SIGTERM, SIGKILL with `safe-share`
//! after it, and the next start.

use headroom_rack::{DeviceId, Generation, RackId, Setting};
use headroom_tests::parts::{Part, Start, until};
use headroom_tests::peer::ask;
use headroom_tests::plant::Plant;
use headroom_tests::program;
use headroom_wire::{Downlink, Kind, topic};
use serde_json::{Value, json};
use std::cell::Cell;
use std::process::Command;

const RACK: &str = r#"
site = "demo"
[breaker]
rating_amperes = 63.0

[[rack]]
id = "rack-1"
gpus = 2
workload = "batch"
level = [[0, 1.0], [600, 1.0]]
"#;
const CEILING_MHZ: u32 = 1200;
/// Longer than the test; the agent holds none longer than a minute.
const LONG_MS: u32 = 60_000;

struct Row {
    plant: Plant,
    config: String,
    counter: Cell<u64>,
}

impl Row {
    /// The safe share is the boards' highest limit: what falls here falls by the clock alone.
    fn start() -> Self {
        let plant = Plant::of(Some(RACK));
        let control = "[control]\nenabled = true\nsafe_gpu_watts = 700\n";
        let spool = format!("[spool]\ndir = \"{}\"\n", plant.dir().join("spool").display());
        let text = plant.racks[0].agent_config(&plant.broker, "") + control + &spool;
        let config = plant.file("agent.toml", &text).display().to_string();
        let row = Self { plant, config, counter: Cell::new(0) };
        row.released("a busy row");
        row
    }

    fn state(&self) -> [(&str, &str); 1] {
        [("HEADROOM_NVML_STATE", self.plant.racks[0].nvml_state.as_str())]
    }

    fn agent(&self) -> Part {
        let log = self.plant.dir().join("agent.log");
        Start::new("headroom-agent", &["run", "--config", &self.config], &self.state(), log).start()
    }

    /// Each Order has a newer generation than the one before, as the controller's have.
    fn order(&self, lease_ms: u32) {
        self.counter.set(self.counter.get() + 1);
        self.order_of(Generation { epoch: 1, counter: self.counter.get() }, lease_ms);
    }

    fn order_of(&self, generation: Generation, lease_ms: u32) {
        let orders = vec![(DeviceId::gpu(0), Setting::ClockCeilingMhz(CEILING_MHZ))];
        let downlink = Downlink { generation, lease_ms, stored: None, held: None, orders, rebirth: false };
        let topic = topic::node("demo", Kind::Command, &RackId::new("rack-1").expect("valid"));
        let hex: String = downlink.encode().iter().map(|byte| format!("{byte:02x}")).collect();
        let (host, port) = self.plant.broker.split_once(':').expect("host and port");
        assert_eq!(ask("mqtt_send.py", &[host, port, &topic, &hex], &[]), json!({"sent": true}));
    }

    /// Orders until the clock obeys: the agent may still be connecting.
    fn lock(&self) {
        until("the locked clock", || {
            self.order(LONG_MS);
            (0..50)
                .any(|_| {
                    std::thread::sleep(std::time::Duration::from_millis(20));
                    is_locked(&self.plant.truth())
                })
                .then_some(())
        });
    }

    fn released(&self, what: &str) {
        self.plant.until(what, |truth| (0..2).all(|gpu| is_full(truth, gpu)));
    }
}

fn value(truth: &Value, gpu: u32, signal: &str) -> f64 {
    truth["rack-1"][format!("gpu-{gpu}")][signal].as_f64().unwrap_or(f64::NAN)
}

/// A third of its range is left at this clock ((1200 / 1980)^2.4), and the limit is untouched.
fn is_locked(truth: &Value) -> bool {
    value(truth, 0, "gpu_sm_clock_mhz") <= f64::from(CEILING_MHZ)
        && value(truth, 0, "gpu_power_watts") < 400.0
        && value(truth, 0, "gpu_limit_enforced_watts") == 700.0
        && is_full(truth, 1)
}

fn is_full(truth: &Value, gpu: u32) -> bool {
    value(truth, gpu, "gpu_sm_clock_mhz") > 1500.0 && value(truth, gpu, "gpu_power_watts") > 600.0
}

#[test]
fn a_locked_clock_lowers_the_power_and_is_released_when_the_lease_ends_and_when_the_agent_stops() {
    let row = Row::start();
    let agent = row.agent();
    row.lock();
    row.order(500);
    row.released("the clock after the lease");
    row.lock();
    assert!(agent.stop());
    row.released("the clock after SIGTERM");
}

#[test]
fn a_locked_clock_outlives_only_a_killed_agent_until_safe_share_or_the_next_start_releases_it() {
    let row = Row::start();
    let agent = row.agent();
    row.lock();
    drop(agent); // By SIGKILL.
    assert!(is_locked(&row.plant.truth()), "nobody is left to release it");
    let safe = Command::new(program("headroom-agent"))
        .args(["safe-share", "--config", &row.config])
        .envs(row.state())
        .output()
        .expect("it starts");
    assert!(safe.status.success(), "{}", String::from_utf8_lossy(&safe.stderr));
    row.released("the clock after safe-share");
    let agent = row.agent();
    row.lock();
    drop(agent);
    let agent = row.agent();
    row.released("the clock at the next start");
    assert!(agent.stop());
}

#[test]
fn an_agent_that_was_killed_goes_on_refusing_what_is_older_than_it_obeyed() {
    let row = Row::start();
    row.counter.set(9);
    let agent = row.agent();
    row.lock();
    let kept = row.plant.dir().join("spool/rack-1/generation");
    let obeyed = format!("1/{}\n", row.counter.get());
    until("the generation on disk", || (std::fs::read_to_string(&kept).ok()? == obeyed).then_some(()));
    drop(agent); // By SIGKILL.
    let agent = row.agent();
    row.released("the clock at the next start");
    let told = || std::fs::read_to_string(row.plant.dir().join("agent.log")).expect("a log");
    until("an old Order to be refused", || {
        row.order_of(Generation { epoch: 1, counter: 9 }, LONG_MS);
        told().contains("an Order older than what was obeyed is refused").then_some(())
    });
    assert!((0..2).all(|gpu| is_full(&row.plant.truth(), gpu)), "it was obeyed:\n{}", told());
    row.lock();
    assert!(agent.stop());
}

#[test]
fn a_gpu_that_comes_back_from_a_reset_is_locked_again_while_the_lease_lasts() {
    let row = Row::start();
    let agent = row.agent();
    row.lock();
    row.plant.fault("gpu_lost", "rack-1/gpu-0", None);
    row.plant.until("a lost GPU", |truth| truth["rack-1"]["gpu-0"]["lost"] == true);
    row.plant.fault("clear", "rack-1/gpu-0", None);
    row.plant.until("a GPU that has forgotten", |truth| is_full(truth, 0));
    // No Order comes any more: it is the agent that remembers.
    row.plant.until("the clock locked again", is_locked);
    assert!(agent.stop());
}
