//! `discover`: asks every unit id on a bus and says which profiles fit what answers. A profile that
//! knows identity registers fits or not; of the others it says how many signals make sense.

use crate::board::Board;
use crate::clock::Clock;
use crate::config::{BusAddress, ModbusDevice};
use crate::profiles::Profiles;
use crate::source::modbus::bus::{ModbusBus, RegisterBus, Request};
use crate::source::modbus::read_once;
use headroom_agent_core::profile::Profile;
use headroom_agent_core::schedule::Span;
use headroom_rack::{DeviceId, NoData, RackId};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

/// What a gateway answers for a unit it cannot reach (application protocol v1.1b3, chapter 7).
const NOT_BEHIND_THE_GATEWAY: RangeInclusive<u8> = 10..=11;
/// Requests of different kinds that nobody answers before a unit counts as absent: some devices
/// are silent on registers they do not have.
const TRIES: usize = 2;
/// A profile of which fewer signals make sense is not worth telling.
const LEAST: f64 = 0.5;

/// How well a profile fits a unit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fit {
    /// Its identity registers hold what they must.
    Identified,
    /// So many of its signals have a plausible value.
    Plausible {
        /// Signals with a value.
        good: usize,
        /// Signals of the profile.
        of: usize,
    },
}

/// A unit that answers, and what it may be; the best first.
#[derive(Debug)]
pub struct Unit {
    /// Its id.
    pub unit: u8,
    /// Profiles that fit.
    pub fits: Vec<(Arc<Profile>, Fit)>,
}

/// Asks all `units` on a bus; `told` hears of each as soon as it is known.
pub async fn run(
    address: &BusAddress,
    units: RangeInclusive<u8>,
    timeout: Duration,
    profiles: &Profiles,
    mut told: impl FnMut(u8, Option<&Unit>),
) -> Vec<Unit> {
    let mut bus = ModbusBus::new(address.clone());
    let mut found = Vec::new();
    for unit in units {
        let here = is_there(&mut bus, unit, timeout, profiles).await;
        let mut here = if here { Some(Unit { unit, fits: Vec::new() }) } else { None };
        if let Some(here) = &mut here {
            here.fits = fits(&mut bus, address, unit, timeout, profiles).await;
        }
        told(unit, here.as_ref());
        found.extend(here);
    }
    found
}

fn span(profile: &Profile) -> Span {
    let probe = &profile.probe;
    Span { register: probe.cell.register, address: probe.cell.address, count: probe.count }
}

async fn is_there(bus: &mut ModbusBus, unit: u8, timeout: Duration, profiles: &Profiles) -> bool {
    let spans: BTreeSet<Span> = profiles.values().map(|p| span(p)).collect();
    for span in spans.into_iter().take(TRIES) {
        match bus.read(Request { unit, span, timeout, startup: Duration::ZERO }).await {
            Ok(_) => return true,
            Err(NoData::Exception(code)) => return !NOT_BEHIND_THE_GATEWAY.contains(&code),
            // Nothing at all is at the address: no second try will find it.
            Err(NoData::Disconnected) => return false,
            Err(_) => {}
        }
    }
    false
}

async fn fits(
    bus: &mut ModbusBus,
    address: &BusAddress,
    unit: u8,
    timeout: Duration,
    profiles: &Profiles,
) -> Vec<(Arc<Profile>, Fit)> {
    let (Ok(rack), Ok(device)) = (RackId::new("discover"), DeviceId::new(format!("unit-{unit}"))) else {
        return Vec::new();
    };
    let mut fits = Vec::new();
    for profile in profiles.values() {
        // Whoever refuses what every such device has is none.
        if bus.read(Request { unit, span: span(profile), timeout, startup: Duration::ZERO }).await.is_err() {
            continue;
        }
        let board = Board::new(rack.clone(), Clock::start());
        board.declare(&device, profile.points.iter().map(|p| p.signal), Duration::from_secs(3600));
        let asked = ModbusDevice {
            device: device.clone(),
            profile: profile.clone(),
            address: address.clone(),
            unit,
            poll: Duration::from_secs(1),
            timeout,
            guarded: None,
        };
        let answered = read_once(bus, &asked, &board).await;
        let good = board.readings().values().filter(|r| r.value.is_ok()).count();
        let of = profile.points.len();
        match profile.probe.expect.is_empty() {
            false if answered => fits.push((profile.clone(), Fit::Identified)),
            true if good as f64 >= LEAST * of as f64 => fits.push((profile.clone(), Fit::Plausible { good, of })),
            _ => {}
        }
    }
    let share = |fit: &Fit| match fit {
        Fit::Identified => f64::INFINITY,
        // Of two that fit as well, the one that knows more.
        Fit::Plausible { good, of } => *good as f64 / *of as f64 + *of as f64 * 1e-6,
    };
    fits.sort_by(|(_, a), (_, b)| share(b).total_cmp(&share(a)));
    fits
}

/// For people: what was found, and the lines for the config.
pub fn table(found: &[Unit], address: &BusAddress) -> String {
    let mut text = String::new();
    for Unit { unit, fits } in found {
        let _ = writeln!(text, "unit {unit}");
        if fits.is_empty() {
            let _ = writeln!(text, "  answers, and no profile fits");
        }
        for (profile, fit) in fits {
            let why = match fit {
                Fit::Identified => "its identity registers say so".to_owned(),
                Fit::Plausible { good, of } => {
                    format!("{good} of {of} signals make sense; it has no identity registers")
                }
            };
            let _ = writeln!(text, "  {:<24} {why}", profile.name);
        }
    }
    let lines = match address {
        BusAddress::Tcp(address) => format!("address = {address:?}"),
        BusAddress::Tls(tls) => format!("address = {:?}\ntransport = \"tls\"", tls.address),
        BusAddress::RtuOverTcp(address) => format!("address = {address:?}\ntransport = \"rtu-over-tcp\""),
        BusAddress::Serial(line) => format!(
            "serial = {:?}\nbaud = {}\nparity = {:?}\nstop_bits = {}",
            line.path,
            line.baud,
            format!("{:?}", line.parity).to_lowercase(),
            line.stop_bits
        ),
    };
    for (unit, profile) in found.iter().filter_map(|u| Some((u.unit, &u.fits.first()?.0))) {
        let _ = write!(
            text,
            "\n[[modbus]]\ndevice = \"unit-{unit}\"   # your own name for it\nprofile = {:?}\n{lines}\nunit = {unit}\n",
            profile.name
        );
    }
    text
}

/// For programs.
pub fn json(found: &[Unit]) -> Value {
    let fit = |(profile, fit): &(Arc<Profile>, Fit)| match fit {
        Fit::Identified => json!({"profile": profile.name, "identified": true}),
        Fit::Plausible { good, of } => json!({"profile": profile.name, "identified": false, "good": good, "of": of}),
    };
    let unit = |u: &Unit| json!({"unit": u.unit, "fits": u.fits.iter().map(fit).collect::<Vec<_>>()});
    json!({"units": found.iter().map(unit).collect::<Vec<_>>()})
}
