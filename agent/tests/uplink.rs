//! The program against a real broker: Snapshots up, commands down, back-fill after an outage, and
//! the goodbye.

#[path = "played/controller.rs"]
mod controller;

use controller::{Agent, Host, PATIENCE, broker, downlink, free_port, live};
use headroom_rack::{DeviceId, Generation, Outcome, Refusal, Setting, Watts};
use headroom_wire::{Downlink, Stored, Uplinked};
use std::time::{Duration, Instant};

/// One device that nobody answers for, and no GPUs.
fn without_gpus() -> String {
    let address = free_port();
    format!("[nvml]\nenabled=false\n[[modbus]]\ndevice='pdu-a'\nprofile='eastron-sdm630'\naddress='{address}'\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_go_up_receipts_ride_in_them_and_a_clean_stop_says_goodbye() {
    let address = free_port();
    broker(address).await;
    let mut host = Host::start(address).await;
    let agent = Agent::start(address, &without_gpus(), &[]);
    let birth = host.until(|u| if let Uplinked::Birth(s) = u { Some(s.clone()) } else { None }).await;
    assert!(!birth.readings.is_empty(), "the birth names the signals before they were read");
    let first = host.until(live).await;
    let second = host.until(live).await;
    assert_eq!((second.seq, second.boot), (first.seq + 1, first.boot));

    host.command(&downlink(vec![(DeviceId::gpu(0), Setting::PowerLimit(Watts::new(500.0)))])).await;
    let receipt = host.until(|u| live(u)?.receipts.first().cloned()).await;
    assert_eq!(receipt.outcome, Outcome::Refused(Refusal::MonitorOnly));
    assert_eq!(receipt.generation, Generation { epoch: 1, counter: 1 });

    host.command(&Downlink { rebirth: true, ..downlink(vec![]) }).await;
    host.until(|u| matches!(u, Uplinked::Birth(_)).then_some(())).await;

    assert_eq!(agent.terminate(), Some(0));
    let current = host.until(|u| if let Uplinked::Death { current } = u { Some(*current) } else { None }).await;
    assert!(current);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_seen_without_a_broker_is_filled_in_and_forgotten_only_when_stored() {
    let address = free_port();
    let agent = Agent::start(address, &without_gpus(), &[]);
    let until = Instant::now() + PATIENCE;
    while agent.metric("headroom_agent_spool_snapshots").is_none_or(|n| n < 4.0) {
        assert!(Instant::now() < until, "the spool does not fill");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    broker(address).await;
    let mut host = Host::start(address).await;
    let mut seqs = std::collections::BTreeSet::new();
    let mut boot = 0;
    // All Snapshots without a hole, the missed ones marked as historical.
    let (mut history, mut newest) = (0, 0);
    while history < 3 || (1..=newest).any(|seq| !seqs.contains(&seq)) {
        assert!(Instant::now() < until + PATIENCE, "still missing: {seqs:?}");
        let snapshot = match host.next().await {
            Uplinked::Data { snapshot, .. } | Uplinked::Birth(snapshot) => snapshot,
            Uplinked::Death { .. } => continue,
        };
        // As the controller does; what was lost before this host listened is sent again for it.
        let stored = Some(Stored { boot: snapshot.boot, seq: 0 });
        host.command(&Downlink { stored, ..downlink(vec![]) }).await;
        history += u32::from(snapshot.historical);
        newest = newest.max(snapshot.seq);
        boot = snapshot.boot;
        seqs.insert(snapshot.seq);
    }
    let before = agent.metric("headroom_agent_spool_snapshots").expect("metrics are served");
    assert!(before >= f64::from(history), "nothing is forgotten before it is stored");
    let stored = Some(Stored { boot, seq: newest });
    host.command(&Downlink { stored, ..downlink(vec![]) }).await;
    while agent.metric("headroom_agent_spool_snapshots").is_none_or(|n| n >= before) {
        assert!(Instant::now() < until + PATIENCE, "the spool forgets nothing");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // The one device does not answer: nothing is known of the rack, but a restart would not help.
    let health = agent.get("/healthz").expect("it is served");
    assert!(health.starts_with("HTTP/1.1 503") && health.contains("\"health\":\"unknown\""), "{health}");
    assert!(health.contains("\"link_up\":true") && health.contains("\"state\":\"down\""), "{health}");
    assert!(agent.get("/livez").is_some_and(|t| t.starts_with("HTTP/1.1 200")));
    assert_eq!(agent.terminate(), Some(0));
}
