//! What an operator does every day: change the config while the agent runs, let the service manager
//! watch it, look at the values.

#[path = "played/controller.rs"]
mod controller;
#[path = "played/meter.rs"]
mod meter;

use controller::{Agent, Host, PATIENCE, broker, free_port, live};
use headroom_rack::{DeviceId, Signal};
use headroom_wire::Uplinked;
use std::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

fn devices(of: &[(&str, SocketAddr)]) -> String {
    let device = |(name, address): &(&str, SocketAddr)| {
        format!("[[modbus]]\ndevice='{name}'\nprofile='eastron-sdm630'\naddress='{address}'\npoll_ms=100\n")
    };
    format!("[nvml]\nenabled=false\n{}", of.iter().map(device).collect::<String>())
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn has(uplinked: &Uplinked, device: &str) -> bool {
    let device = DeviceId::new(device).expect("valid");
    live(uplinked).is_some_and(|s| s.reading(&device, Signal::PduVoltageL1).value.is_ok())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_config_restarts_only_what_changed_and_a_bad_one_changes_nothing() {
    let address = free_port();
    broker(address).await;
    let mut host = Host::start(address).await;
    let (first, _, first_connections) = meter::counting(None).await;
    let (second, _, _) = meter::counting(None).await;
    let agent = Agent::start(address, &devices(&[("pdu-a", first)]), &[]);
    host.until(|u| has(u, "pdu-a").then_some(())).await;

    // By itself, once the file has kept still.
    agent.reconfigure(address, &devices(&[("pdu-a", first), ("pdu-b", second)]));
    host.until(|u| (has(u, "pdu-a") && has(u, "pdu-b")).then_some(())).await;

    // A bad file: everything goes on, and says so.
    agent.reconfigure(address, "[[modbus]]\ndevice='pdu-c'\n");
    until("the bad config is not noticed", || agent.metric("headroom_agent_config_refused") == Some(1.0)).await;
    assert!(agent.get("/healthz").is_some_and(|t| t.contains("\"config_refused\":true")));
    host.until(|u| (has(u, "pdu-a") && has(u, "pdu-b")).then_some(())).await;

    // On SIGHUP. A device that is gone is in no birth any more.
    agent.reconfigure(address, &devices(&[("pdu-a", first)]));
    agent.signal("HUP");
    let gone = |u: &Uplinked| match u {
        Uplinked::Birth(s) => !s.devices().iter().any(|d| d.as_str() == "pdu-b"),
        _ => false,
    };
    host.until(|u| gone(u).then_some(())).await;
    until("the good config is not taken", || agent.metric("headroom_agent_config_refused") == Some(0.0)).await;
    assert!(!agent.get("/metrics").expect("served").contains("pdu-b"));
    assert_eq!(first_connections.load(Ordering::Relaxed), 1, "the bus that did not change was left alone");

    // Another address for /metrics and another broker.
    let elsewhere = free_port();
    broker(elsewhere).await;
    let mut other_host = Host::start(elsewhere).await;
    agent.reconfigure(elsewhere, &devices(&[("pdu-a", first)]));
    other_host.until(|u| has(u, "pdu-a").then_some(())).await;
    host.until(|u| matches!(u, Uplinked::Death { current: true }).then_some(())).await;
    assert_eq!(agent.terminate(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_manager_hears_that_it_is_ready_alive_reloading_and_stopping() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    let hear = |wanted: &str| {
        let mut buffer = [0; 1024];
        loop {
            let read = socket.recv(&mut buffer).unwrap_or_else(|_| panic!("{wanted} is not said"));
            if String::from_utf8_lossy(&buffer[..read]).lines().any(|line| line.starts_with(wanted)) {
                return;
            }
        }
    };
    let (meter, _) = meter::meter(None).await;
    let environment = [("NOTIFY_SOCKET", path.to_str().expect("text")), ("WATCHDOG_USEC", "400000")];
    let agent = Agent::start(free_port(), &devices(&[("pdu-a", meter)]), &environment);
    hear("READY=1");
    hear("WATCHDOG=1");
    hear("WATCHDOG=1");
    agent.signal("HUP");
    hear("RELOADING=1");
    hear("READY=1");
    agent.signal("TERM");
    hear("STOPPING=1");
}

#[tokio::test(flavor = "multi_thread")]
async fn watch_shows_the_running_agents_values_or_reads_them_itself() {
    let (meter, _) = meter::meter(None).await;
    let address = free_port();
    let agent = Agent::start(address, &devices(&[("pdu-a", meter)]), &[]);
    until("nothing is read", || agent.get("/readings").is_some_and(|t| t.contains("\"state\":\"up\""))).await;
    let config = agent.dir.path().join("agent.toml");
    let watch = |more: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_headroom-agent"))
            .args(["watch", "--count", "3", "--config"])
            .arg(&config)
            .args(more)
            .output()
            .expect("the program starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let port = std::fs::read_to_string(agent.dir.path().join("port")).expect("served");
    let asked = watch(&["--url", &format!("http://{port}")]);
    assert!(asked.contains(&format!("the agent at {port}")) && asked.contains("100.000 V"), "{asked}");
    // On a terminal: its own screen, given back at the end.
    let script = "import os,pty,sys\npty.spawn(sys.argv[1:])";
    let terminal = Command::new("python3")
        .args(["-c", script, env!("CARGO_BIN_EXE_headroom-agent"), "watch", "--count", "2", "--config"])
        .args([config.to_str().expect("text"), "--url", &port])
        .output()
        .expect("python3 starts");
    let drawn = String::from_utf8_lossy(&terminal.stdout);
    assert!(drawn.starts_with("\x1b[?1049h") && drawn.trim_end().ends_with("\x1b[?1049l"), "{drawn:?}");
    assert!(drawn.contains("100.000 V"), "{drawn:?}");
    // Its port is 0 in the config: nobody to ask there.
    let here = watch(&["--device", "pdu-a"]);
    assert!(here.contains("read here") && here.contains("pdu-a  up") && here.contains("100.000 V"), "{here}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_uplink_what_is_read_is_served_and_nothing_is_missing() {
    let (meter, _) = meter::meter(None).await;
    let agent = Agent::start(None, &devices(&[("pdu-a", meter)]), &[]);
    until("the meter is not served", || agent.metric("headroom_pdu_voltage_l1_volts") == Some(100.0)).await;
    assert!(agent.get("/healthz").is_some_and(|t| t.contains("\"link_up\":null")));
    assert_eq!(agent.terminate(), Some(0));
}
