//! Writes the configs of the demonstration from what the simulator says it serves. The same files
//! an operator would write; only addresses and the NVML library differ from a real row.

use serde::Deserialize;
use std::fmt::Write;
use std::net::SocketAddr;

/// `inventory.json` of the simulator.
#[derive(Debug, Deserialize)]
pub struct Inventory {
    /// Racks in order.
    pub racks: Vec<Rack>,
    /// The simulator's HTTP server.
    pub http: SocketAddr,
}

/// One rack of the inventory.
#[derive(Debug, Deserialize)]
pub struct Rack {
    /// Its name.
    pub id: String,
    /// The NVML library to load.
    pub nvml_library: String,
    /// The state behind it.
    pub nvml_state: String,
    /// Its Modbus devices.
    pub modbus: Vec<Device>,
}

/// One Modbus device of the inventory.
#[derive(Debug, Deserialize)]
pub struct Device {
    device: String,
    profile: String,
    address: SocketAddr,
    unit: u8,
}

/// The agent's config of one rack; without control it only watches.
pub fn agent(rack: &Rack, broker: &str, control: bool) -> String {
    let mut text = format!(
        "site = \"demo\"\nrack = {:?}\n\n[broker]\nurl = \"mqtt://{broker}\"\n\n[nvml]\nlibrary = {:?}\n\n[serve]\nlisten = \"127.0.0.1:0\"\n",
        rack.id, rack.nvml_library
    );
    if control {
        text.push_str("\n[control]\nenabled = true\nsafe_gpu_watts = 400\nbreaker_amperes = 16.0\n");
    }
    for d in &rack.modbus {
        let _ = write!(
            text,
            "\n[[modbus]]\ndevice = {:?}\nprofile = {:?}\naddress = \"{}\"\nunit = {}\npoll_ms = 500\ntimeout_ms = 500\n",
            d.device, d.profile, d.address, d.unit
        );
    }
    text
}

/// What of the controller's config the demonstration sets.
pub struct Controller<'a> {
    /// The broker's address.
    pub broker: &'a str,
    /// Where the console shall listen.
    pub listen: SocketAddr,
    /// Where alerts go.
    pub hook: SocketAddr,
    /// Whether Orders are sent.
    pub control: bool,
    /// Whether the model may be used.
    pub model: bool,
}

/// The controller's config: its documented default with the demonstration's addresses.
pub fn controller(default: &str, set: &Controller<'_>) -> anyhow::Result<String> {
    let mut config: toml::Table = default.parse()?;
    let mut put = |table: &str, key: &str, value: toml::Value| {
        let entry = config.entry(table).or_insert_with(|| toml::Table::new().into());
        if let Some(table) = entry.as_table_mut() {
            table.insert(key.to_owned(), value);
        }
    };
    put("broker", "url", format!("mqtt://{}", set.broker).into());
    put("serve", "listen", set.listen.to_string().into());
    put("model", "enabled", set.model.into());
    let hook: toml::Table = toml::Table::from_iter([("url".to_owned(), format!("http://{}/hook", set.hook).into())]);
    put("alerts", "webhook", hook.into());
    let mode = if set.control { "automatic" } else { "advisory" };
    config.insert("mode".to_owned(), mode.into());
    Ok(toml::to_string(&config)?)
}
