//! Against parts of other projects, none of which shares a line with ours: pymodbus as client and as
//! server, NVIDIA's Python binding, nvitop and gpustat, paho-mqtt and pysparkplug. What both sides of
//! this project agree on by mistake shows here.

#[path = "independent/devices.rs"]
mod devices;
#[path = "independent/sparkplug.rs"]
mod sparkplug;

use headroom_tests::peer::ask;
use headroom_tests::plant::{Device, Rack};
use serde_json::Value;
use std::path::Path;

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// What pymodbus reads from a device.
fn read_device(device: &Device) -> Value {
    let (host, port) = device.address.split_once(':').expect("host and port");
    ask("modbus_devices.py", &[&device.profile, host, port, &device.unit.to_string()], &[])
}

/// Runs one of the scripts as an NVML client on the host of a rack.
fn on_host<T>(rack: &Rack, run: impl FnOnce(&[(&str, &Path)]) -> T) -> T {
    let folder = Path::new(&rack.nvml_library).parent().expect("in a folder");
    run(&[("LD_LIBRARY_PATH", folder), ("HEADROOM_NVML_STATE", Path::new(&rack.nvml_state))])
}
