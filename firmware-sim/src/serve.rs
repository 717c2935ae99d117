//! A running simulator: the plant in real time, and every way to look at it from outside: Modbus
//! TCP and RTU, MQTT, NVML, HTTP. The physics knows nothing of this.

pub mod bench;
pub mod dsx;
pub mod http;
pub mod inventory;
pub mod modbus;
pub mod noisy;
pub mod nvml;
pub mod pace;
pub mod serial;
pub mod summary;
pub mod truth;

use crate::fault::Target;
use crate::firmware::{Device, Fitting};
use crate::nvml_library;
use crate::plant::spec::{Medium, RackSpec};
use crate::plant::{FEEDS, Plant};
use crate::scenario::Scenario;
use crate::trace::STEP_S;
use bench::Bench;
use inventory::{Inventory, LineEntry, ModbusEntry, RackEntry};
use nvml::Panel;
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// How to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// What to run.
    pub scenario: Scenario,
    /// Where inventory, NVML states and summary go; created when absent.
    pub dir: PathBuf,
    /// MQTT broker for the cooling units' DSX topics; none: not published.
    pub broker: Option<(String, u16)>,
    /// Address of the HTTP server; the Modbus servers take its IP and a free port each.
    pub listen: SocketAddr,
    /// Serial lines by device, such as `rack-1/ups-a`; all devices speak TCP besides.
    pub lines: BTreeMap<String, PathBuf>,
}

/// Why it could not run on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A file or folder of the run could not be written.
    #[error("{}: cannot be written", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A server could not listen.
    #[error("{what}: cannot listen on {address}")]
    Listen {
        /// Which server.
        what: String,
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A serial line could not be opened.
    #[error("{device}: serial line {} cannot be opened", path.display())]
    Line {
        /// Whose.
        device: String,
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No simulated device stands for a unit that cools with air.
    #[error(
        "{rack}: cooling = \"air\" has no device on the wire yet; give \"liquid\", or play it with `headroom scenarios`"
    )]
    Air {
        /// Whose.
        rack: String,
    },
    /// The thread of the physics ended by itself.
    #[error("the physics stopped by itself")]
    PhysicsGone,
}

/// Runs until `stop` turns true.
///
/// # Errors
/// [`ServeError`] when something cannot be written, bound or kept running.
pub async fn run(options: Options, mut stop: watch::Receiver<bool>) -> Result<(), ServeError> {
    if let Some(rack) = options.scenario.plant.racks.iter().find(|r| r.medium == Medium::Air) {
        return Err(ServeError::Air { rack: rack.id.clone() });
    }
    let dir = folder(&options.dir)?;
    let mut plant = Plant::new(&options.scenario.plant);
    // Before the first step no circuit has voltage; nobody shall see that.
    plant.step(STEP_S);
    let bench = Arc::new(Bench::new(&plant));
    let nvml_library =
        nvml_library::write_to(&dir).map_err(|source| ServeError::Write { path: dir.clone(), source })?;
    let mut racks = Vec::new();
    let mut panels = Vec::new();
    for (r, rack) in options.scenario.plant.racks.iter().enumerate() {
        let mut modbus = Vec::new();
        for (name, device, target) in devices(r, options.scenario.plant.racks.len(), options.scenario.fitting) {
            let what = format!("{}/{name}", rack.id);
            let listener = listen(&what, options.listen.ip(), 0).await?;
            let address = address_of(&what, &listener)?;
            tokio::spawn(modbus::serve(listener, Arc::clone(&bench), device, target));
            let serial = match options.lines.get(&what) {
                None => None,
                Some(path) => {
                    let failed = |source| ServeError::Line { device: what.clone(), path: path.clone(), source };
                    let line = serial::open(path, device).map_err(failed)?;
                    tokio::spawn(serial::serve(line, path.clone(), Arc::clone(&bench), device, target));
                    Some(LineEntry::new(path, device))
                }
            };
            let (profile, unit) = (device.profile(), device.unit());
            modbus.push(ModbusEntry { device: name, profile, address, unit, serial });
        }
        let nvml_state = dir.join(format!("{}.nvml", rack.id));
        let panel = Panel::create(&nvml_state, r, &plant);
        panels.push(panel.map_err(|source| ServeError::Write { path: nvml_state.clone(), source })?);
        let (id, gpus, nvml_library) = (rack.id.clone(), rack.gpus, nvml_library.clone());
        racks.push(RackEntry { id, gpus, nvml_library, nvml_state, modbus });
    }
    let summary_file = dir.join("plant-summary.json");
    let http_listener = listen("http", options.listen.ip(), options.listen.port()).await?;
    let http_address = address_of("http", &http_listener)?;
    bench.show_drivers(panels.iter().map(Panel::drivers).collect());
    let physics = pace::start(plant, panels, options.scenario.faults.clone(), Arc::clone(&bench));
    tokio::spawn(http::serve(http_listener, Arc::clone(&bench), summary_file.clone()));
    let publisher = options.broker.map(|broker| tokio::spawn(dsx::run(broker, Arc::clone(&bench), stop.clone())));
    Inventory { racks, http: http_address }.write(&dir.join("inventory.json"))?;
    tracing::info!("simulating {} racks; http://{http_address}", options.scenario.plant.racks.len());
    tokio::select! {
        // An error means that whoever could stop us is gone: that is a stop too.
        _ = stop.wait_for(|stop| *stop) => {}
        () = bench.physics_gone() => {}
    }
    let gone = bench.is_physics_gone();
    bench.stop();
    let joined = tokio::task::spawn_blocking(move || physics.join()).await;
    if let Some(publisher) = publisher {
        let _ = tokio::time::timeout(std::time::Duration::from_secs(2), publisher).await;
    }
    summary::write(&bench, &summary_file)?;
    if gone || !matches!(joined, Ok(Ok(()))) { Err(ServeError::PhysicsGone) } else { Ok(()) }
}

/// The Modbus devices an agent of rack `rack` reads: its two meters, its cooling unit, and one UPS
/// per rack as far as there are UPSs (all of them when there is one rack only).
pub fn devices(rack: usize, racks: usize, fitting: Fitting) -> Vec<(String, Device, Target)> {
    let mut list = vec![("cooling".to_owned(), Device::Rpu, Target::Cooling(rack))];
    for (f, feed) in FEEDS.iter().enumerate() {
        list.push((format!("pdu-{feed}"), fitting.meter, Target::Pdu(rack, f)));
        if ups_reader(f, racks) == rack {
            list.push((format!("ups-{feed}"), fitting.ups, Target::Ups(f)));
        }
    }
    list.sort_by(|a, b| a.0.cmp(&b.0));
    list
}

/// Every Modbus device of a scenario by its full name, such as `rack-1/ups-a`.
pub fn device_names(scenario: &Scenario) -> Vec<String> {
    let racks = &scenario.plant.racks;
    let of_rack = |(r, rack): (usize, &RackSpec)| {
        let devices = devices(r, racks.len(), scenario.fitting).into_iter();
        devices.map(|(name, ..)| format!("{}/{name}", rack.id)).collect::<Vec<_>>()
    };
    racks.iter().enumerate().flat_map(of_rack).collect()
}

/// The rack whose agent reads the UPS of feed `feed`.
pub fn ups_reader(feed: usize, racks: usize) -> usize {
    feed.min(racks.saturating_sub(1))
}

fn folder(dir: &Path) -> Result<PathBuf, ServeError> {
    let made = std::fs::create_dir_all(dir).and_then(|()| dir.canonicalize());
    made.map_err(|source| ServeError::Write { path: dir.to_owned(), source })
}

async fn listen(what: &str, ip: IpAddr, port: u16) -> Result<TcpListener, ServeError> {
    let address = SocketAddr::new(ip, port);
    let bound = TcpListener::bind(address).await;
    bound.map_err(|source| ServeError::Listen { what: what.to_owned(), address, source })
}

fn address_of(what: &str, listener: &TcpListener) -> Result<SocketAddr, ServeError> {
    let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
    listener.local_addr().map_err(|source| ServeError::Listen { what: what.to_owned(), address: unknown, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_rack_on_air_is_refused_by_its_name_before_anything_is_written() {
        let mut scenario = Scenario::load(None).expect("valid");
        scenario.plant.racks[2].medium = Medium::Air;
        let dir = std::env::temp_dir().join(format!("headroom-air-{}", std::process::id()));
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let options = Options { scenario, dir: dir.clone(), broker: None, listen, lines: BTreeMap::new() };
        let error = run(options, watch::channel(false).1).await.expect_err("refused").to_string();
        assert!(error.contains("rack-3") && error.contains("liquid") && !dir.exists(), "{error}");
    }
}
