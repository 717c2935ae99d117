//! The agent's config file: TOML in, checked values out, or every mistake at once with its line
//! and what would be right. Nothing here opens a device.

mod parse;

use crate::profiles::{self, Profiles};
use headroom_agent_core::document::Mistake;
use headroom_agent_core::profile::Profile;
use headroom_rack::{Amperes, Class, DeviceId, RackId, Signal, Watts};
use headroom_tls::{BrokerTls, Tls};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Everything an agent is told.
#[derive(Debug, Clone)]
pub struct Config {
    /// Sparkplug group.
    pub site: String,
    /// The rack this agent serves.
    pub rack: RackId,
    /// Where Snapshots go; none: nowhere, what is read is for `/metrics` alone.
    pub broker: Option<Broker>,
    /// The GPUs.
    pub nvml: Nvml,
    /// Devices read over Modbus TCP.
    pub modbus: Vec<ModbusDevice>,
    /// Devices that publish over MQTT by themselves.
    pub mqtt: Vec<MqttDevice>,
    /// Where the rack's own devices are published for the building; none: nowhere.
    pub gateway: Option<Gateway>,
    /// Whether and how the agent acts.
    pub control: Control,
    /// Address for `/metrics` and `/healthz`; none: not served.
    pub listen: Option<String>,
    /// Where Snapshots are kept until the record has stored them.
    pub spool: Spool,
    /// The files and directories it was read from, without the config file itself.
    pub files: Vec<PathBuf>,
}

/// Where Snapshots are kept until the record has stored them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spool {
    /// Snapshots in memory, when there is no disk or it fails.
    pub snapshots: usize,
    /// Historical Snapshots per second after an outage, beside the live ones.
    pub replay_per_second: u32,
    /// On disk; none: a restart of the agent loses what is not stored.
    pub disk: Option<SpoolDisk>,
}

/// The spool on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpoolDisk {
    /// The directory; each rack gets one of its own in it.
    pub dir: PathBuf,
    /// Most bytes on disk.
    pub max_bytes: u64,
    /// Most age by the wall clock.
    pub max_age: Duration,
}

/// An MQTT broker.
#[derive(Clone, PartialEq, Eq)]
pub struct Broker {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// User name and password.
    pub credentials: Option<(String, String)>,
    /// Certificates, when it speaks TLS.
    pub tls: Option<BrokerTls>,
    /// Whether the broker acknowledges each message (QoS 1 in place of 0).
    pub acknowledged: bool,
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Broker({}:{})", self.host, self.port)
    }
}

/// How GPUs are reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nvml {
    /// Whether there are GPUs at all.
    pub enabled: bool,
    /// Path of libnvidia-ml; none: the system's.
    pub library: Option<PathBuf>,
}

/// Where Modbus devices are reached; devices with the same one share a bus.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum BusAddress {
    /// Modbus TCP at `host:port`.
    Tcp(String),
    /// Modbus/TCP Security.
    Tls(TlsAddress),
    /// RTU frames in a TCP stream at `host:port`, as transparent serial servers carry them.
    RtuOverTcp(String),
    /// RTU on a serial line.
    Serial(SerialLine),
}

impl std::fmt::Display for BusAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) | Self::RtuOverTcp(address) => f.write_str(address),
            Self::Tls(tls) => f.write_str(&tls.address),
            Self::Serial(line) => write!(f, "{}", line.path.display()),
        }
    }
}

/// A Modbus device behind TLS (MODBUS/TCP Security Protocol Specification v21).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TlsAddress {
    /// `host:port`; 802 is the registered port (`mbap-s`).
    pub address: String,
    /// The name its certificate must carry.
    pub server_name: String,
    /// Whom to trust and who we are.
    pub tls: Tls,
}

/// A serial line and its settings.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SerialLine {
    /// Such as `/dev/ttyUSB0`.
    pub path: PathBuf,
    /// Bits per second.
    pub baud: u32,
    /// Parity.
    pub parity: Parity,
    /// 1 or 2.
    pub stop_bits: u8,
}

impl SerialLine {
    /// The silence between two frames: 3.5 characters of 11 bits, and 1.75 ms above 19200 bit/s
    /// (Modbus over Serial Line v1.02, 2.5.1.1).
    pub fn gap(&self) -> Duration {
        if self.baud > 19_200 {
            Duration::from_micros(1750)
        } else {
            Duration::from_secs_f64(3.5 * 11.0 / f64::from(self.baud.max(1)))
        }
    }
}

/// Parity of a serial line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Parity {
    /// No parity bit.
    None,
    /// Odd.
    Odd,
    /// Even, the default of Modbus (v1.02, 2.5.1).
    Even,
}

/// A Modbus device.
#[derive(Debug, Clone, PartialEq)]
pub struct ModbusDevice {
    /// Its id in the rack.
    pub device: DeviceId,
    /// Its register map.
    pub profile: Arc<Profile>,
    /// Its bus.
    pub address: BusAddress,
    /// Modbus unit id.
    pub unit: u8,
    /// Time from poll to poll.
    pub poll: Duration,
    /// Time-out of one request.
    pub timeout: Duration,
    /// How often it is read between two polls for what cannot wait: currents for the guard, and what prepared
    /// answers depend on.
    pub guarded: Option<Duration>,
}

impl ModbusDevice {
    /// A value older than this is stale: three polls and two time-outs, at least 2 s.
    pub fn stale_after(&self) -> Duration {
        (self.poll * 3 + self.timeout * 2).max(Duration::from_secs(2))
    }
}

/// The DSX gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gateway {
    /// Broker, when it is another one than the uplink's.
    pub broker: Broker,
    /// Where the rack stands: the beginning of every tag path, such as `hall-2/row-1/rack-1`.
    pub tag_path: String,
    /// Integrations whose heartbeats are watched and echoed.
    pub integrations: Vec<String>,
}

impl Gateway {
    /// The tag path of its own heartbeat.
    pub fn heartbeat(&self) -> String {
        format!("{}/headroom-agent", self.tag_path)
    }
}

/// A device that publishes over MQTT by itself.
#[derive(Debug, Clone, PartialEq)]
pub struct MqttDevice {
    /// Its id in the rack.
    pub device: DeviceId,
    /// Broker, when it is another one than the uplink's.
    pub broker: Broker,
    /// In what form.
    pub speech: Speech,
    /// A value older than this is stale.
    pub stale_after: Duration,
}

/// The form of what a device publishes.
#[derive(Debug, Clone, PartialEq)]
pub enum Speech {
    /// DSX Exchange topics (BMS Event Bus 1.0).
    Dsx(Dsx),
    /// Its own: places in JSON messages.
    Json(Vec<JsonPoint>),
}

/// A device on DSX Exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dsx {
    /// Beginning of the tag path, `site/row/rack/unit`.
    pub topic_prefix: String,
    /// Time between two heartbeats of the building's system; zero: they are not watched.
    pub heartbeat: Duration,
    /// What the building's system calls us; none: we say nothing there.
    pub integration: Option<String>,
    /// Tag path of our own gateway's heartbeat, which says nothing about the building.
    pub own_heartbeat: Option<String>,
}

/// One signal in JSON messages: `raw * factor + offset` in the signal's unit.
#[derive(Debug, Clone, PartialEq)]
pub struct JsonPoint {
    /// What it is.
    pub signal: Signal,
    /// The whole topic.
    pub topic: String,
    /// Where in the message (RFC 6901); empty: the message is the number.
    pub pointer: String,
    /// From the message's unit to the signal's.
    pub factor: f64,
    /// Added after that.
    pub offset: f64,
    /// When it was measured; none: when it came.
    pub time: Option<JsonTime>,
    /// Whether to believe it; none: always.
    pub quality: Option<JsonQuality>,
}

/// Where a message says when it was measured, since 1970 (UTC).
#[derive(Debug, Clone, PartialEq)]
pub struct JsonTime {
    /// Where in the message.
    pub pointer: String,
    /// Milliseconds in its unit: 1 or 1000.
    pub unit_ms: f64,
}

/// Where a message says whether it is to be believed.
#[derive(Debug, Clone, PartialEq)]
pub struct JsonQuality {
    /// Where in the message.
    pub pointer: String,
    /// The values that mean good.
    pub good: Vec<f64>,
}

/// Whether and how the agent acts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Control {
    /// False: the agent only watches and never sets anything.
    pub enabled: bool,
    /// Power limit per GPU without a valid Order.
    pub safe_gpu: Watts,
    /// Rating per phase of the breaker behind each of the rack's PDUs; none: no guard.
    pub breaker: Option<Amperes>,
    /// Tick of the guard.
    pub guard_period: Duration,
}

impl Config {
    /// The devices whose breakers the guard watches.
    pub fn pdus(&self) -> Vec<DeviceId> {
        self.modbus.iter().filter(|d| d.profile.class == Class::Pdu).map(|d| d.device.clone()).collect()
    }

    /// Reads the config file and the profiles it names.
    ///
    /// # Errors
    /// Every mistake of every file, with file and line.
    pub fn load(path: &Path) -> Result<Self, Vec<Mistake>> {
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| {
            vec![Mistake {
                file: file.clone(),
                line: 1,
                problem: format!("the config cannot be read: {error}"),
                remedy: "give the path of a readable file with --config".to_owned(),
            }]
        })?;
        Self::parse(&file, &text, path.parent().unwrap_or(Path::new("")))
    }

    /// Reads config text; relative paths in it start at `base`.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(file: &str, text: &str, base: &Path) -> Result<Self, Vec<Mistake>> {
        let mut of_profiles = Vec::new();
        let load = |dir: Option<&Path>| -> Profiles {
            profiles::load(dir).unwrap_or_else(|found| {
                of_profiles.extend(found);
                // Devices are then checked against the shipped ones, so that all mistakes show.
                profiles::load(None).unwrap_or_default()
            })
        };
        let parsed = parse::config(file, text, base, load);
        match (parsed, of_profiles.is_empty()) {
            (Ok(config), true) => Ok(config),
            (Ok(_), false) => Err(of_profiles),
            (Err(mut found), _) => {
                found.extend(of_profiles);
                Err(found)
            }
        }
    }
}
