//! Four racks that are left to their own guards: no controller, breakers of their own, and a load that steps
//! over what these carry. For the measurements of how fast a guard is.

use crate::parts::{Part, Start, content};
use crate::plant::{Plant, Rack};
use std::fmt::Write as _;

const RACKS: usize = 4;
/// Behind each of a rack's two meters: low 0.8 of its rating, full 2.1 times it, which trips in under 4 s: an
/// overload that leaves more than 8 s is watched for a while on purpose (agent/core/src/guard.rs).
pub const BREAKER_AMPERES: f64 = 2.4;
/// High enough that only the guard can lower a limit.
pub const SAFE_WATTS: f64 = 700.0;
/// The load is low for long enough that every agent has read its meters and none holds anything.
const STEP_AT_S: f64 = 6.0;
const LOW: f64 = 0.15;

/// The row, whose load steps some seconds from now.
pub fn plant() -> Plant {
    let mut text = "site = \"bench\"\n[breaker]\nrating_amperes = 125.0\n".to_owned();
    for r in 1..=RACKS {
        let _ = write!(
            text,
            "[[rack]]\nid = \"rack-{r}\"\ngpus = 8\nworkload = \"batch\"\nlevel = [[0, {LOW}], [{STEP_AT_S}, {LOW}], [{}, 1.0]]\n",
            STEP_AT_S + 0.02
        );
    }
    Plant::of(Some(&text))
}

/// Agents of these racks of the plant, once all of them serve. They end when dropped.
pub fn agents<'r>(plant: &Plant, racks: impl Iterator<Item = &'r Rack>) -> Vec<Part> {
    let agents: Vec<Part> = racks.map(|rack| agent(plant, rack)).collect();
    plant.racks.iter().for_each(|rack| drop(content(&plant.dir().join(format!("{}.port", rack.id)))));
    agents
}

fn agent(plant: &Plant, rack: &Rack) -> Part {
    let control =
        format!("[control]\nenabled = true\nsafe_gpu_watts = {SAFE_WATTS}\nbreaker_amperes = {BREAKER_AMPERES}\n");
    let config = plant.file(&format!("{}.toml", rack.id), &(rack.agent_config(&plant.broker, "") + &control));
    let (config, port) = (config.display().to_string(), plant.dir().join(format!("{}.port", rack.id)));
    let args = ["run", "--config", &config, "--port-file", &port.display().to_string()];
    let state = [("HEADROOM_NVML_STATE", rack.nvml_state.as_str())];
    Start::new("headroom-agent", &args, &state, plant.dir().join(format!("{}.log", rack.id))).start()
}
