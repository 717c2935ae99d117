//! From TOML text to a [`Config`]. All mistakes at once. What concerns MQTT and TLS is in `parse/`.

mod mqtt;
mod tls;

use super::{
    BusAddress, Config, Control, Gateway, ModbusDevice, Nvml, Parity, SerialLine, Speech, Spool, SpoolDisk, TlsAddress,
};
use crate::profiles::Profiles;
use headroom_agent_core::document::{self, Mistake, Mistakes, Table};
use headroom_rack::{Amperes, Class, DeviceId, NodeId, RackId, Watts};
use std::path::{Path, PathBuf};
use std::time::Duration;

const ID_REMEDY: &str = "use 1 to 64 of a-z, 0-9, '-', '_' and '.', starting with a letter or digit";

/// Other files that the config names.
struct Files<'b> {
    /// Where relative paths start.
    base: &'b Path,
    named: Vec<PathBuf>,
}

impl Files<'_> {
    fn at(&mut self, text: &str) -> PathBuf {
        let path = self.base.join(text);
        self.named.push(path.clone());
        path
    }
}

pub(super) fn config(
    file: &str,
    text: &str,
    base: &Path,
    profiles: impl FnOnce(Option<&Path>) -> Profiles,
) -> Result<Config, Vec<Mistake>> {
    document::read(file, text, |t, m| root(t, m, base, profiles))
}

fn root(
    t: &mut Table<'_>,
    m: &mut Mistakes,
    base: &Path,
    profiles: impl FnOnce(Option<&Path>) -> Profiles,
) -> Option<Config> {
    let site = t.need_text(m, "site", "site = \"demo\"").map(str::to_owned);
    if let Some(site) = site.as_deref().filter(|s| NodeId::new(*s).is_err()) {
        m.add(t.place("site"), format!("`site` is {site:?}"), ID_REMEDY);
    }
    let rack = t.need_text(m, "rack", "rack = \"rack-1\"").map(str::to_owned);
    let rack = rack.and_then(|text| {
        RackId::new(text.as_str()).map_err(|_| m.add(t.place("rack"), format!("`rack` is {text:?}"), ID_REMEDY)).ok()
    });
    let mut files = Files { base, named: Vec::new() };
    let dir = t.text(m, "profiles_dir").map(|d| files.at(d));
    let profiles = profiles(dir.as_deref());
    let uplink = t.flag(m, "uplink").unwrap_or(true);
    if uplink && !t.has("broker") {
        let remedy =
            "[broker] with url = \"mqtt://127.0.0.1:1883\", or uplink = false for /metrics without a controller";
        t.missing(m, "broker", remedy);
    }
    let broker = t.table(m, "broker", |t, m| mqtt::broker(t, m, &mut files));
    let nvml = t.table(m, "nvml", |t, m| {
        let enabled = t.flag(m, "enabled").unwrap_or(true);
        Some(Nvml { enabled, library: t.text(m, "library").map(PathBuf::from) })
    });
    let mut taken = Vec::new();
    let mut lines: Vec<SerialLine> = Vec::new();
    let mut modbus = t.tables(m, "modbus", |t, m| {
        let device = modbus(t, m, &profiles, &mut files, &mut taken)?;
        if let BusAddress::Serial(line) = &device.address {
            if lines.iter().any(|known| known.path == line.path && known != line) {
                let problem = format!("{} has other settings than before", line.path.display());
                m.add(t.place("serial"), problem, "give every device on one line the same baud, parity and stop_bits");
            }
            lines.push(line.clone());
        }
        Some(device)
    });
    let mut mqtt = t.tables(m, "dsx", |t, m| mqtt::dsx(t, m, broker.as_ref(), &mut files, &mut taken));
    mqtt.extend(t.tables(m, "mqtt", |t, m| mqtt::json(t, m, broker.as_ref(), &mut files, &mut taken)));
    let gateway = t.table(m, "dsx_gateway", |t, m| mqtt::gateway(t, m, broker.as_ref(), &mut files));
    for device in &mut mqtt {
        if let Speech::Dsx(dsx) = &mut device.speech {
            dsx.own_heartbeat = gateway.as_ref().map(Gateway::heartbeat);
        }
    }
    let control = t.table(m, "control", control);
    if !uplink && control.is_some_and(|control| control.enabled) {
        let problem = "`control.enabled` without an uplink: nobody could lease the GPUs more than their safe share";
        m.add(t.place("uplink"), problem, "take out uplink = false and name a [broker], or set enabled = false");
    }
    let spool = t.table(m, "spool", |t, m| spool(t, m, base));
    if !uplink && spool.as_ref().is_some_and(|spool| spool.disk.is_some()) {
        let problem = "`spool.dir` without an uplink: there is nobody to keep Snapshots for";
        m.add(t.place("uplink"), problem, "take out uplink = false and name a [broker], or take out [spool] dir");
    }
    if let Some(control) = control.filter(|c| c.enabled) {
        for device in modbus.iter_mut().filter(|d| matches!(d.profile.class, Class::Pdu | Class::Ups)) {
            device.guarded = Some(control.guard_period.max(Duration::from_millis(device.profile.link.fastest_ms)));
        }
    }
    let listen = t.table(m, "serve", |t, m| {
        let listen = t.need_text(m, "listen", "listen = \"127.0.0.1:9100\"")?.to_owned();
        if host_and_port(&listen).is_none() {
            m.add(
                t.place("listen"),
                format!("`serve.listen` is {listen:?}"),
                "write host:port, such as 127.0.0.1:9100",
            );
        }
        Some(listen)
    });
    let in_memory = Spool { snapshots: 600, replay_per_second: 20, disk: None };
    let watches_only =
        Control { enabled: false, safe_gpu: Watts::ZERO, breaker: None, guard_period: Duration::from_millis(100) };
    Some(Config {
        site: site?,
        rack: rack?,
        broker: if uplink { Some(broker?) } else { None },
        nvml: nvml.unwrap_or(Nvml { enabled: true, library: None }),
        modbus,
        mqtt,
        gateway,
        control: control.unwrap_or(watches_only),
        listen,
        spool: spool.unwrap_or(in_memory),
        files: files.named,
    })
}

fn spool(t: &mut Table<'_>, m: &mut Mistakes, base: &Path) -> Option<Spool> {
    let snapshots = t.whole(m, "snapshots", 1, 100_000).unwrap_or(600);
    // The record groups its commits by the second: faster would only wait for acknowledgements.
    let replay = t.whole(m, "replay_per_second", 1, 50).unwrap_or(20);
    let dir = t.text(m, "dir").map(|dir| base.join(dir));
    if dir.is_none() {
        for key in ["max_bytes", "max_age_hours"].into_iter().filter(|key| t.has(key)) {
            m.add(t.place(key), format!("`spool.{key}` without `dir`"), "add dir = \"/var/lib/headroom-agent/spool\"");
        }
    }
    let max_bytes = t.whole(m, "max_bytes", 1 << 16, 1 << 40).unwrap_or(256 << 20);
    let max_age_hours = t.whole(m, "max_age_hours", 1, 24 * 366).unwrap_or(72);
    Some(Spool {
        snapshots: usize::try_from(snapshots).ok()?,
        replay_per_second: u32::try_from(replay).ok()?,
        disk: dir.map(|dir| SpoolDisk { dir, max_bytes, max_age: Duration::from_secs(3600 * max_age_hours) }),
    })
}

fn host_and_port(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok()?;
    (!host.is_empty() && !host.contains(['/', ' '])).then_some((host, port))
}

fn device(t: &mut Table<'_>, m: &mut Mistakes, taken: &mut Vec<DeviceId>) -> Option<DeviceId> {
    let text = t.need_text(m, "device", "device = \"pdu-a\"")?.to_owned();
    let Ok(device) = DeviceId::new(text.as_str()) else {
        m.add(t.place("device"), format!("`device` is {text:?}"), ID_REMEDY);
        return None;
    };
    if device.gpu_index().is_some() {
        m.add(t.place("device"), format!("{device} would be a GPU"), "names of the form gpu-N belong to the GPUs");
    }
    if taken.contains(&device) {
        m.add(t.place("device"), format!("{device} is named twice"), "give each device a name of its own");
    }
    taken.push(device.clone());
    Some(device)
}

fn modbus(
    t: &mut Table<'_>,
    m: &mut Mistakes,
    known: &Profiles,
    files: &mut Files<'_>,
    taken: &mut Vec<DeviceId>,
) -> Option<ModbusDevice> {
    let device = device(t, m, taken);
    let name = t.need_text(m, "profile", "profile = \"eastron-sdm630\"");
    let profile = name.and_then(|n| known.get(n).cloned());
    if let (Some(name), None) = (name, &profile) {
        let names: Vec<_> = known.keys().map(String::as_str).collect();
        let remedy = format!("the profiles are: {}; more come from profiles_dir", names.join(", "));
        m.add(t.place("profile"), format!("no profile is named {name:?}"), remedy);
    }
    let address = bus_address(t, m, files);
    let unit = t.whole(m, "unit", 0, 255).unwrap_or(1);
    let poll_ms = t.whole(m, "poll_ms", 50, 60_000).unwrap_or(500);
    let timeout_ms = t.whole(m, "timeout_ms", 10, 10_000);
    let profile = profile?;
    Some(ModbusDevice {
        device: device?,
        address: address?,
        unit: u8::try_from(unit).ok()?,
        poll: Duration::from_millis(poll_ms),
        timeout: Duration::from_millis(timeout_ms.unwrap_or(profile.link.timeout_ms)),
        guarded: None,
        profile,
    })
}

/// `address` with or without `transport`, or `serial` with its settings.
fn bus_address(t: &mut Table<'_>, m: &mut Mistakes, files: &mut Files<'_>) -> Option<BusAddress> {
    let transport = t.text(m, "transport").map(str::to_owned);
    if t.has("serial") {
        if let Some(other) = transport.as_deref().filter(|t| *t != "rtu") {
            m.add(t.place("transport"), format!("{other:?} with `serial`"), "a serial line speaks rtu: leave it out");
        }
        if t.text(m, "address").is_some() {
            m.add(t.place("address"), "`address` and `serial` both", "give the one the device hangs on");
        }
        return serial_line(t, m).map(BusAddress::Serial);
    }
    let address = t.need_text(m, "address", "address = \"10.0.0.5:502\"").map(str::to_owned);
    if let Some(text) = address.as_deref().filter(|a| host_and_port(a).is_none_or(|(_, port)| port == 0)) {
        m.add(t.place("address"), format!("`address` is {text:?}"), "write host:port, such as 10.0.0.5:502");
    }
    match transport.as_deref() {
        None | Some("tcp") => address.map(BusAddress::Tcp),
        Some("rtu-over-tcp") => address.map(BusAddress::RtuOverTcp),
        Some("tls") => {
            let (server_name, tls) = tls::modbus(t, m, files, address.as_deref())?;
            Some(BusAddress::Tls(TlsAddress { address: address?, server_name, tls }))
        }
        Some("rtu") => {
            m.add(t.place("transport"), "rtu without a line", "add serial = \"/dev/ttyUSB0\" in place of address");
            None
        }
        Some(other) => {
            m.add(t.place("transport"), format!("{other:?} is no transport"), "write tcp, tls, rtu-over-tcp or rtu");
            None
        }
    }
}

fn serial_line(t: &mut Table<'_>, m: &mut Mistakes) -> Option<SerialLine> {
    let path = t.need_text(m, "serial", "serial = \"/dev/ttyUSB0\"").map(PathBuf::from);
    let baud = t.whole(m, "baud", 300, 1_000_000).unwrap_or(19_200);
    let parity = match t.text(m, "parity").map(str::to_owned).as_deref() {
        None | Some("even") => Parity::Even,
        Some("odd") => Parity::Odd,
        Some("none") => Parity::None,
        Some(other) => {
            m.add(t.place("parity"), format!("{other:?} is no parity"), "write even, odd or none");
            Parity::Even
        }
    };
    // A character has eleven bits either way (Modbus over Serial Line v1.02, 2.5.1).
    let usual = if parity == Parity::None { 2 } else { 1 };
    let stop_bits = t.whole(m, "stop_bits", 1, 2).unwrap_or(usual);
    Some(SerialLine { path: path?, baud: u32::try_from(baud).ok()?, parity, stop_bits: u8::try_from(stop_bits).ok()? })
}

fn control(t: &mut Table<'_>, m: &mut Mistakes) -> Option<Control> {
    let enabled = t.flag(m, "enabled").unwrap_or(false);
    if enabled && !t.has("safe_gpu_watts") {
        t.missing(m, "safe_gpu_watts", "safe_gpu_watts = the limit per GPU that is safe without a controller");
    }
    let safe = t.number(m, "safe_gpu_watts", 1.0, 3000.0);
    let breaker = t.number(m, "breaker_amperes", 0.1, 10_000.0);
    let guard_ms = t.whole(m, "guard_period_ms", 20, 1000).unwrap_or(100);
    Some(Control {
        enabled,
        safe_gpu: Watts::new(safe.unwrap_or(0.0)),
        breaker: breaker.map(Amperes::new),
        guard_period: Duration::from_millis(guard_ms),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
site = "demo"
rack = "rack-1"
[broker]
url = "mqtt://127.0.0.1:1883"
[nvml]
library = "/lib/x.so"
[[modbus]]
device = "pdu-a"
profile = "eastron-sdm630"
address = "127.0.0.1:502"
unit = 1
poll_ms = 500
timeout_ms = 500
[[dsx]]
device = "cooling-dsx"
topic_prefix = "demo/row-1/rack-1/cooling"
[control]
enabled = true
safe_gpu_watts = 400
breaker_amperes = 25.0
guard_period_ms = 100
[serve]
listen = "127.0.0.1:0"
"#;

    fn parse(text: &str) -> Result<Config, Vec<Mistake>> {
        Config::parse("agent.toml", text, Path::new(""))
    }

    #[test]
    fn the_documented_config_loads() {
        let config = parse(GOOD).unwrap();
        assert_eq!(config.modbus[0].profile.name, "eastron-sdm630");
        assert_eq!(config.control.safe_gpu, Watts::new(400.0));
        assert_eq!(config.modbus[0].guarded, Some(Duration::from_millis(100)));
        assert_eq!(config.broker.unwrap().port, 1883);
        assert_eq!(config.mqtt[0].broker.port, 1883);
    }

    #[test]
    fn without_a_control_section_the_agent_only_watches() {
        let config = parse("site='s'\nrack='r'\n[broker]\nurl='mqtt://h'\n").unwrap();
        assert!(!config.control.enabled);
    }

    #[test]
    fn without_an_uplink_no_broker_is_needed_and_nothing_is_controlled() {
        let alone = "site='s'\nrack='r'\nuplink=false\n";
        assert!(parse(alone).unwrap().broker.is_none());
        let found = parse(&format!("{alone}[control]\nenabled=true\nsafe_gpu_watts=400\n")).unwrap_err();
        assert!(found[0].problem.contains("without an uplink"), "{}", found[0]);
        let found = parse(&format!("{alone}[spool]\ndir='/var/lib/x'\n")).unwrap_err();
        assert!(found[0].problem.contains("nobody to keep"), "{}", found[0]);
        let found = parse("site='s'\nrack='r'\n").unwrap_err();
        assert!(found[0].remedy.contains("uplink = false"), "{}", found[0]);
    }

    #[test]
    fn a_serial_line_has_the_settings_of_the_standard_and_every_wrong_one_is_named() {
        let serial =
            |more: &str| GOOD.replace("address = \"127.0.0.1:502\"", &format!("serial = \"/dev/ttyS0\"\n{more}"));
        let line = |text: &str| match parse(&serial(text)).unwrap().modbus[0].address.clone() {
            BusAddress::Serial(line) => line,
            other => panic!("{other:?}"),
        };
        let usual = line("");
        assert_eq!((usual.baud, usual.parity, usual.stop_bits), (19_200, Parity::Even, 1));
        assert_eq!(usual.gap().as_micros(), 2005);
        let none = line("parity = \"none\"\nbaud = 115200");
        assert_eq!((none.stop_bits, none.gap().as_micros()), (2, 1750));
        let wrong = serial("transport = \"tcp\"\naddress = \"h:1\"\nparity = \"mark\"\nbaud = 7\nstop_bits = 3");
        let found = parse(&wrong).unwrap_err();
        assert_eq!(found.len(), 5, "{found:#?}");
        let second = "[[modbus]]\ndevice = \"pdu-b\"\nprofile = \"eastron-sdm630\"\nserial = \"/dev/ttyS0\"\nbaud = 9600\n[[dsx]]";
        let found = parse(&serial("").replace("[[dsx]]", second)).unwrap_err();
        assert!(found[0].problem.contains("other settings"), "{}", found[0]);
    }

    #[test]
    fn rtu_needs_a_line_and_an_unknown_transport_is_refused() {
        let with =
            |transport: &str| parse(&GOOD.replace("unit = 1", &format!("unit = 1\ntransport = \"{transport}\"")));
        assert!(matches!(with("rtu-over-tcp").unwrap().modbus[0].address, BusAddress::RtuOverTcp(_)));
        assert!(with("rtu").unwrap_err()[0].remedy.contains("serial ="));
        assert!(with("ascii").unwrap_err()[0].problem.contains("no transport"));
    }

    #[test]
    fn a_device_named_twice_or_like_a_gpu_is_a_mistake() {
        let twice = GOOD.replace("cooling-dsx", "pdu-a");
        assert!(parse(&twice).unwrap_err()[0].problem.contains("twice"));
        assert!(parse(&GOOD.replace("\"pdu-a\"", "\"gpu-3\"")).unwrap_err()[0].problem.contains("GPU"));
    }

    #[test]
    fn the_spool_is_in_memory_without_a_dir_and_its_limits_then_a_mistake() {
        assert_eq!(parse(GOOD).unwrap().spool, Spool { snapshots: 600, replay_per_second: 20, disk: None });
        let disk = SpoolDisk { dir: "/s".into(), max_bytes: 256 << 20, max_age: Duration::from_secs(72 * 3600) };
        assert_eq!(parse(&format!("{GOOD}[spool]\ndir = \"/s\"\n")).unwrap().spool.disk, Some(disk));
        let found = parse(&format!("{GOOD}[spool]\nmax_bytes = 100000\n")).unwrap_err();
        assert!(found[0].problem.contains("`spool.max_bytes` without `dir`"), "{}", found[0]);
    }

    #[test]
    fn control_without_a_safe_share_is_refused() {
        let found = parse(&GOOD.replace("safe_gpu_watts = 400\n", "")).unwrap_err();
        assert!(found[0].problem.contains("`control.safe_gpu_watts` is missing"), "{}", found[0]);
    }
}
