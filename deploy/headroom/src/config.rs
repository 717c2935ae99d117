//! Writes the configs of the demonstration from the scenario and from what the simulator says it
//! serves. The same files an operator would write; only addresses and the NVML library differ from a
//! real row.

use anyhow::Context;
use headroom_sim::plant::FEEDS;
use headroom_sim::plant::spec::{PlantSpec, RackSpec};
use headroom_sim::serve::ups_reader;
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
pub fn agent(rack: &Rack, plant: &PlantSpec, broker: &str, control: bool) -> String {
    let mut text = format!(
        "site = {:?}\nrack = {:?}\n\n[broker]\nurl = \"mqtt://{broker}\"\n\n[nvml]\nlibrary = {:?}\n\n[serve]\nlisten = \"127.0.0.1:0\"\n",
        plant.site, rack.id, rack.nvml_library
    );
    if control {
        let rating = plant.breaker.rating_amperes;
        let _ = write!(text, "\n[control]\nenabled = true\nsafe_gpu_watts = 400\nbreaker_amperes = {rating}\n");
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
    /// The row.
    pub plant: &'a PlantSpec,
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

/// The controller's config: its documented default with the scenario's row and the demonstration's
/// addresses.
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
    row(&mut config, set.plant).context("the controller's default config has nodes and racks")?;
    Ok(toml::to_string(&config)?)
}

/// Puts the scenario's racks and ratings in the place of the default's. `None`: there are none.
fn row(config: &mut toml::Table, plant: &PlantSpec) -> Option<()> {
    config.insert("site".to_owned(), plant.site.clone().into());
    for node in config.get_mut("node")?.as_array_mut()?.iter_mut().filter_map(toml::Value::as_table_mut) {
        let feed = node.get("feed")?.as_str()?.to_owned();
        if node.get("kind")?.as_str()? == "ups" {
            let reader = ups_reader(FEEDS.iter().position(|f| *f == feed)?, plant.racks.len());
            node.insert("rating_watts".to_owned(), plant.ups.rating_watts.into());
            node.insert("meter".to_owned(), format!("{}/ups-{feed}", plant.racks.get(reader)?.id).into());
        } else {
            node.insert("rating_amperes".to_owned(), plant.breaker.rating_amperes.into());
            node.insert("volts".to_owned(), plant.volts.into());
        }
    }
    let racks = config.get_mut("rack")?.as_array_mut()?;
    let like = racks.first()?.as_table()?.clone();
    *racks = plant.racks.iter().map(|rack| rack_like(&like, rack, plant).into()).collect();
    Some(())
}

fn rack_like(like: &toml::Table, rack: &RackSpec, plant: &PlantSpec) -> toml::Table {
    let mut table = like.clone();
    // Nobody misses what an idle rack does not do.
    let priority = Some(rack.workload.word()).filter(|word| *word != "idle").unwrap_or("batch");
    let gpus = i64::try_from(rack.gpus).unwrap_or(i64::MAX);
    for (key, value) in [
        ("id", rack.id.clone().into()),
        ("priority", priority.into()),
        ("gpus", gpus.into()),
        ("overhead_watts", rack.overhead_watts.into()),
        ("gpu_max_watts", plant.gpu.max_watts.into()),
    ] {
        table.insert(key.to_owned(), value);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use headroom_sim::scenario::Scenario;

    fn written(plant: &PlantSpec) -> headroom_controller::config::Config {
        let address = SocketAddr::from(([127, 0, 0, 1], 7878));
        let set =
            Controller { plant, broker: "127.0.0.1:1883", listen: address, hook: address, control: true, model: true };
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("controller.toml");
        let text = controller(headroom_controller::config::DEFAULT, &set).expect("the default is TOML");
        std::fs::write(&file, text).expect("a file");
        headroom_controller::config::load(&file).unwrap_or_else(|why| panic!("{why}"))
    }

    #[test]
    fn the_embedded_scenario_is_the_row_of_the_documented_config() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("controller.toml");
        std::fs::write(&file, headroom_controller::config::DEFAULT).expect("a file");
        let documented = headroom_controller::config::load(&file).expect("sound");
        let written = written(&Scenario::load(None).expect("valid").plant);
        assert_eq!(format!("{:?}", written.nodes), format!("{:?}", documented.nodes));
        assert_eq!(format!("{:?}", written.racks), format!("{:?}", documented.racks));
    }

    #[test]
    fn another_row_is_written_as_it_is() {
        let text = "site = \"hall\"\n[breaker]\nrating_amperes = 25\n[[rack]]\nid = \"left\"\ngpus = 2\n\
            workload = \"idle\"\nlevel = [[0, 0.5]]\n";
        let config = written(&Scenario::parse("other.toml", text).expect("valid").plant);
        assert_eq!((config.site.as_str(), config.racks.len(), config.racks[0].gpus), ("hall", 1, 2));
        assert!(format!("{:?}", config.nodes).contains("25"), "{:?}", config.nodes);
    }
}
