//! The program with GPUs behind a driver library that has only the oldest functions: what it sets
//! and when, by what the driver itself noted.

#[path = "played/controller.rs"]
mod controller;

use controller::{Agent, Host, PATIENCE, broker, downlink, free_port, live};
use headroom_rack::{Clamp, DeviceId, Generation, NoData, Outcome, Refusal, Setting, Signal, Watts};
use headroom_wire::Downlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Compiles the driver. The C compiler is the one that building this project needs anyway.
fn driver(dir: &Path) -> PathBuf {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/driver/sparse.c");
    let library = dir.join("libsparse-ml.so");
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let done = Command::new(&compiler).args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).status();
    assert!(done.is_ok_and(|s| s.success()), "{compiler} compiles {source}");
    library
}

fn config(library: &Path) -> String {
    format!(
        "[nvml]\nlibrary='{}'\n[control]\nenabled=true\nsafe_gpu_watts=400\nbreaker_amperes=25\n",
        library.display()
    )
}

fn set_so_far(log: &Path) -> Vec<String> {
    std::fs::read_to_string(log).unwrap_or_default().lines().map(str::to_owned).collect()
}

fn order(watts: f64, counter: u64, lease_ms: u32) -> Downlink {
    let generation = Generation { epoch: 1, counter };
    let orders = vec![(DeviceId::gpu(0), Setting::PowerLimit(Watts::new(watts)))];
    Downlink { generation, lease_ms, ..downlink(orders) }
}

async fn outcome(host: &mut Host, counter: u64, wanted: impl Fn(&Outcome) -> bool) -> Outcome {
    host.until(|u| {
        let receipts = live(u)?.receipts;
        receipts.iter().find(|r| r.generation.counter == counter && wanted(&r.outcome)).map(|r| r.outcome)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_safe_share_stands_at_the_start_after_a_lost_lease_and_at_the_end() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (library, log) = (driver(dir.path()), dir.path().join("set.log"));
    let address = free_port();
    broker(address).await;
    let mut host = Host::start(address).await;
    let environment = [("SPARSE_NVML_LOG", log.to_str().expect("a path in text"))];
    let agent = Agent::start(address, &config(&library), &environment);
    let until = Instant::now() + PATIENCE;
    while set_so_far(&log).len() < 2 {
        assert!(Instant::now() < until, "no safe share at the start: {:?}", set_so_far(&log));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut first = set_so_far(&log);
    first.sort(); // Each GPU has a hand of its own.
    assert_eq!(first, ["0 400", "1 400"]);

    let any = |_: &Outcome| true;
    host.until(live).await;
    host.command(&order(550.0, 2, 2500)).await;
    assert_eq!(outcome(&mut host, 2, any).await, Outcome::Applied);
    host.command(&order(700.0, 1, 2500)).await;
    assert_eq!(outcome(&mut host, 1, any).await, Outcome::Refused(Refusal::OldGeneration));
    assert_eq!(outcome(&mut host, 2, |o| *o == Outcome::Expired).await, Outcome::Expired);
    let max = Watts::new(700.0);
    host.command(&order(900.0, 3, 60_000)).await;
    assert_eq!(outcome(&mut host, 3, any).await, Outcome::Clamped { to: max, why: Clamp::DeviceMax });
    let mut clock = order(1.0, 4, 60_000);
    clock.orders = vec![(DeviceId::gpu(0), Setting::ClockCeilingMhz(1200))];
    host.command(&clock).await;
    assert_eq!(outcome(&mut host, 4, any).await, Outcome::Refused(Refusal::NotSupported));
    host.command(&order(600.0, 5, 60_000)).await;
    assert_eq!(outcome(&mut host, 5, any).await, Outcome::Applied);

    assert_eq!(agent.terminate(), Some(0));
    let gpu_0: Vec<_> = set_so_far(&log).into_iter().filter(|l| l.starts_with('0')).collect();
    assert_eq!(gpu_0, ["0 400", "0 550", "0 400", "0 700", "0 400", "0 600", "0 400"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_driver_lacks_is_not_supported_and_the_rest_is_read() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let library = driver(dir.path());
    let address = free_port();
    broker(address).await;
    let mut host = Host::start(address).await;
    let agent = Agent::start(address, &config(&library), &[]);
    let gpu = DeviceId::gpu(1);
    let snapshot = host.until(|u| live(u).filter(|s| s.value(&gpu, Signal::GpuPower).is_some())).await;
    assert_eq!(snapshot.value(&gpu, Signal::GpuPower), Some(301.0));
    assert_eq!(snapshot.value(&gpu, Signal::GpuLimitMax), Some(700.0));
    for signal in [Signal::GpuSmClock, Signal::GpuTemperature, Signal::GpuPowerInstant, Signal::GpuXid] {
        assert_eq!(snapshot.reading(&gpu, signal).value, Err(NoData::NotSupported), "{signal}");
    }
    assert_eq!(agent.terminate(), Some(0));
}

#[test]
fn the_safe_share_can_be_set_without_the_agent() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (library, log, file) = (driver(dir.path()), dir.path().join("set.log"), dir.path().join("agent.toml"));
    let text = format!("site='s'\nrack='r'\n[broker]\nurl='mqtt://127.0.0.1:1'\n{}", config(&library));
    std::fs::write(&file, text).expect("a file");
    let status = Command::new(env!("CARGO_BIN_EXE_headroom-agent"))
        .args(["safe-share", "--config"])
        .arg(&file)
        .env("SPARSE_NVML_LOG", &log)
        .status();
    assert!(status.is_ok_and(|s| s.success()));
    assert_eq!(set_so_far(&log), ["0 400", "1 400"]);
}
