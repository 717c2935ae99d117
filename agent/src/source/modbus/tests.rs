//! Meters that are played behind the trait of the bus: who is asked when something happens beside them.

use super::*;
use crate::clock::Clock;
use crate::config::Config;
use headroom_rack::{DeviceId, RackId};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Every value this meter shows, in watts, volts and amperes alike; 0: it does not answer.
struct Meter {
    shows: Arc<AtomicU32>,
}

impl RegisterBus for Meter {
    async fn read_into(&mut self, request: Request, read: &mut Vec<u16>) -> Result<(), NoData> {
        let shown = self.shows.load(Ordering::Relaxed);
        if shown == 0 {
            tokio::time::sleep(request.timeout).await;
            return Err(NoData::Timeout);
        }
        let bits = (shown as f32).to_bits();
        let words = [(bits >> 16) as u16, bits as u16];
        read.extend((0..request.span.count).map(|n| words[usize::from(n % 2)]));
        Ok(())
    }
}

fn id(device: &str) -> DeviceId {
    DeviceId::new(device).unwrap()
}

/// Two meters; the first one is glanced at every ten seconds only, so that if it is asked sooner there was a reason.
fn rack() -> (Arc<Board>, [Arc<AtomicU32>; 2], watch::Sender<bool>) {
    let mut text = "site='s'\nrack='r'\n[broker]\nurl='mqtt://h'\n".to_owned();
    for (device, port) in [("pdu-a", 1), ("pdu-b", 2)] {
        text += &format!(
            "[[modbus]]\ndevice='{device}'\nprofile='eastron-sdm630'\naddress='h:{port}'\nunit=1\npoll_ms=60000\ntimeout_ms=2000\n"
        );
    }
    let config = Config::parse("agent.toml", &text, Path::new("")).unwrap();
    let board = Arc::new(Board::new(RackId::new("r").unwrap(), Clock::start()));
    let (stop, stopped) = watch::channel(false);
    let meters = [0, 1].map(|n: usize| {
        let mut device = config.modbus[n].clone();
        device.guarded = Some(Duration::from_secs(if n == 0 { 10 } else { 1 }));
        board.declare(&device.device, device.profile.points.iter().map(|p| p.signal), device.stale_after());
        let shows = Arc::new(AtomicU32::new(4000));
        let meter = Meter { shows: Arc::clone(&shows) };
        tokio::spawn(serve(meter, vec![device], Arc::clone(&board), stopped.clone()));
        shows
    });
    (board, meters, stop)
}

async fn until(mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(20), "waited in vain");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_step_at_one_meter_makes_the_other_be_asked_and_its_silence_be_known() {
    let (board, [a, b], _stop) = rack();
    let known = |device: &str| board.value(&id(device), Signal::PduPower).is_some();
    until(|| known("pdu-a") && known("pdu-b")).await;
    b.store(5500, Ordering::Relaxed);
    let begun = Instant::now();
    // The first step teaches it how long a glance takes: it answers.
    until(|| board.value(&id("pdu-a"), Signal::PduPower).is_some_and(|(_, age)| age < begun.elapsed())).await;
    assert!(!board.is_overdue(&id("pdu-a")));
    a.store(0, Ordering::Relaxed);
    b.store(8000, Ordering::Relaxed);
    let begun = Instant::now();
    until(|| board.is_overdue(&id("pdu-a"))).await;
    assert!(begun.elapsed() < Duration::from_secs(2), "before its time-out: {:?}", begun.elapsed());
    assert!(!board.is_overdue(&id("pdu-b")));
    a.store(4000, Ordering::Relaxed);
    board.put(&id("pdu-a"), [(Signal::PduPower, Reading::new(4000.0, board.clock().wall()))]);
    assert!(!board.is_overdue(&id("pdu-a")), "it spoke");
}

#[tokio::test]
async fn a_dead_inlet_is_told_at_once_and_what_it_carried_is_no_longer_said() {
    let (board, _meters, _stop) = rack();
    until(|| board.value(&id("pdu-a"), Signal::PduPower).is_some()).await;
    board.snapshot();
    board.dead(&id("pdu-a"));
    board.news().await;
    let snapshot = board.snapshot();
    let path = headroom_rack::SignalPath::new(id("pdu-a"), Signal::PduPower);
    assert_eq!(snapshot.readings[&path].value, Err(NoData::Timeout));
    assert!(snapshot.value(&id("pdu-a"), Signal::PduPowerL1).is_some(), "only what the controller adds up");
}
