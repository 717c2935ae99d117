//! The driver of a rack's GPUs is replaced while the agent runs: it loads NVML anew, reads on and can
//! still set limits, without a restart.

use headroom_tests::parts::{Start, content, until};
use headroom_tests::plant::Plant;
use headroom_tests::{http, program};
use std::process::Command;

#[test]
fn a_replaced_driver_is_loaded_anew_and_the_gpus_stay_in_hand() {
    let plant = Plant::start();
    let rack = plant.racks[0].clone();
    let config = |safe: u32| {
        rack.agent_config(&plant.broker, "") + &format!("[control]\nenabled = true\nsafe_gpu_watts = {safe}\n")
    };
    let file = plant.file("agent.toml", &config(400)).display().to_string();
    let (port, log) = (plant.dir().join("agent.port"), plant.dir().join("agent.log"));
    let args = ["run", "--config", &file, "--port-file", &port.display().to_string()];
    let state = [("HEADROOM_NVML_STATE", rack.nvml_state.as_str())];
    let agent = Start::new("headroom-agent", &args, &state, log.clone()).start();
    let address = content(&port);
    let limited_to = |watts: f64| {
        plant.until("the limits", |truth| {
            (0..rack.gpus).all(|g| truth[&rack.id][format!("gpu-{g}")]["gpu_limit_requested_watts"] == watts)
        });
    };
    limited_to(400.0);
    plant.fault("driver_upgraded", &format!("{}/gpu-0", rack.id), Some(105.0));
    let logged = || std::fs::read_to_string(&log).unwrap_or_default();
    until("the new driver", || logged().contains("580.105.08").then_some(()));
    until("readings by the new driver", || {
        let readings = http::json(&address, "/readings");
        (0..rack.gpus)
            .all(|g| readings["devices"][format!("gpu-{g}")]["signals"]["gpu_power_watts"]["value"].is_number())
            .then_some(())
    });
    plant.file("agent.toml", &config(350));
    limited_to(350.0);
    assert!(logged().contains("the driver that NVML was loaded for is gone"), "{}", logged());
    assert!(agent.stop(), "{}", logged());
    // A library that is not there is said once, and nothing else suffers.
    let probe = Command::new(program("headroom-agent")).args(["probe", "--config", &file]).output().expect("it starts");
    assert_eq!(probe.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&probe.stdout).contains("NVML is not there"));
}
