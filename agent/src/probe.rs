//! `probe`: reads each configured device once and shows what it said, with unit and quality. For the
//! person who has just wired a rack, as a table, and for programs, as JSON.

use crate::board::Board;
use crate::clock::Clock;
use crate::config::{BusAddress, Config, ModbusDevice};
use crate::{show, source};
use headroom_rack::{DeviceId, Reading, Snapshot};
use nvml_wrapper::Nvml;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// DSX metadata is retained and values are published on change; a second covers most.
const LISTEN: Duration = Duration::from_secs(3);

/// What a probe found.
#[derive(Debug)]
pub struct Found {
    snapshot: Arc<Snapshot>,
    silent: Vec<DeviceId>,
    notes: Vec<String>,
}

/// Reads everything once.
pub async fn run(config: &Config) -> Found {
    let board = Arc::new(Board::new(config.rack.clone(), Clock::start()));
    let stale = Duration::from_secs(3600);
    let mut silent: Vec<DeviceId> = Vec::new();
    let mut notes = Vec::new();
    let mut reads: BTreeMap<BusAddress, Vec<ModbusDevice>> = BTreeMap::new();
    for device in &config.modbus {
        board.declare(&device.device, device.profile.points.iter().map(|p| p.signal), stale);
        reads.entry(device.address.clone()).or_default().push(device.clone());
    }
    // A serial line has room for one who asks.
    let reads: Vec<_> = reads
        .into_iter()
        .map(|(address, devices)| {
            let board = board.clone();
            source::modbus::bus::spawn(&address.clone(), async move {
                let mut bus = source::modbus::bus::ModbusBus::new(address);
                let mut answers = Vec::new();
                for device in devices {
                    let answered = source::modbus::read_once(&mut bus, &device, &board).await;
                    answers.push((device, answered));
                }
                answers
            })
        })
        .collect();
    if config.nvml.enabled {
        match source::nvml::load(config.nvml.library.as_deref()) {
            Ok(nvml) => gpus(&nvml, &board, &mut silent),
            Err(error) => notes.push(format!("GPUs: NVML is not there: {error}")),
        }
    }
    if !config.mqtt.is_empty() {
        let name = format!("headroom-probe-{}-{}", config.site, config.rack);
        source::mqtt::Listeners::new(name, board.clone()).follow(&config.mqtt);
        let until = Instant::now() + LISTEN;
        let waiting = || {
            config.mqtt.iter().any(|d| !board.own_now().devices.get(&d.device).is_some_and(|s| s.is_some_and(|s| s.up)))
        };
        while waiting() && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        let own = board.own_now();
        let quiet = |d: &DeviceId| !own.devices.get(d).is_some_and(|s| s.is_some_and(|s| s.up));
        silent.extend(config.mqtt.iter().map(|d| d.device.clone()).filter(quiet));
    }
    for read in reads {
        for (device, _) in read.await.unwrap_or_default().into_iter().filter(|(_, answered)| !answered) {
            notes.push(format!("{} at {} unit {} does not answer", device.device, device.address, device.unit));
            silent.push(device.device);
        }
    }
    Found { snapshot: board.snapshot(), silent, notes }
}

fn gpus(nvml: &Nvml, board: &Board, silent: &mut Vec<DeviceId>) {
    for index in 0..nvml.device_count().unwrap_or(0) {
        let id = DeviceId::gpu(index);
        board.declare(&id, source::nvml::SIGNALS.iter().copied(), Duration::from_secs(3600));
        match nvml.device_by_index(index) {
            Ok(device) => board.put(&id, source::nvml::readings(&device, board.clock().wall())),
            Err(error) => {
                let none = Reading::none(source::nvml::no_data(&error), board.clock().wall());
                board.put(&id, source::nvml::SIGNALS.iter().map(|signal| (*signal, none)));
                silent.push(id);
            }
        }
    }
}

impl Found {
    /// Whether every device said something.
    pub fn all_answered(&self) -> bool {
        self.silent.is_empty() && self.notes.is_empty()
    }

    /// A line for each signal, and what else there is to say.
    pub fn table(&self) -> String {
        let mut out = show::table(&self.snapshot.readings);
        self.notes.iter().for_each(|note| out.push_str(&format!("{note}\n")));
        out
    }

    /// The same for programs; no value is `null`, and quality says why.
    pub fn json(&self) -> Value {
        let Snapshot { rack, at, readings, .. } = &*self.snapshot;
        let mut json = show::json(rack, *at, readings, |device| json!({"answered": !self.silent.contains(device)}));
        json["notes"] = json!(self.notes);
        json
    }
}
