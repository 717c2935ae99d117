//! `inventory.json`: where everything of this run can be reached.

use super::ServeError;
use crate::firmware::Device;
use serde::Serialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// One Modbus device.
#[derive(Debug, Clone, Serialize)]
pub struct ModbusEntry {
    /// Its id within the rack.
    pub device: String,
    /// The kind of device.
    pub profile: &'static str,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its Modbus unit.
    pub unit: u8,
    /// Its serial line, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial: Option<LineEntry>,
}

/// A serial line: eight data bits, one stop bit.
#[derive(Debug, Clone, Serialize)]
pub struct LineEntry {
    /// The simulator's end of it.
    pub path: PathBuf,
    /// Bits per second.
    pub baud: u32,
    /// `even` or `none`.
    pub parity: &'static str,
}

impl LineEntry {
    /// The line at `path` with the settings of `device`.
    pub fn new(path: &Path, device: Device) -> Self {
        let settings = device.line();
        Self { path: path.to_owned(), baud: settings.baud, parity: if settings.even { "even" } else { "none" } }
    }
}

/// One rack.
#[derive(Debug, Clone, Serialize)]
pub struct RackEntry {
    /// Its name.
    pub id: String,
    /// Number of GPUs.
    pub gpus: usize,
    /// The library its agent loads as NVML.
    pub nvml_library: PathBuf,
    /// The state behind that library, for `HEADROOM_NVML_STATE`.
    pub nvml_state: PathBuf,
    /// Its devices.
    pub modbus: Vec<ModbusEntry>,
}

/// Everything.
#[derive(Debug, Clone, Serialize)]
pub struct Inventory {
    /// The racks.
    pub racks: Vec<RackEntry>,
    /// The HTTP server.
    pub http: SocketAddr,
}

impl Inventory {
    /// Writes it so that a reader sees all of it or nothing.
    ///
    /// # Errors
    /// [`ServeError::Write`].
    pub fn write(&self, path: &Path) -> Result<(), ServeError> {
        write_json(path, self)
    }
}

/// Writes JSON beside `path` and renames it into place.
///
/// # Errors
/// [`ServeError::Write`].
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<(), ServeError> {
    let failed = |source| ServeError::Write { path: path.to_owned(), source };
    let text = serde_json::to_vec_pretty(value).map_err(|e| failed(e.into()))?;
    let beside: PathBuf = path.with_extension(format!("json.{}.tmp", std::process::id()));
    std::fs::write(&beside, text).and_then(|()| std::fs::rename(&beside, path)).map_err(failed)
}
