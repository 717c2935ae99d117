//! What a config means, in words: for `check` and for the log of a reload.

use crate::config::{Config, Speech, Spool};

/// One line about devices and acting, one about the spool.
pub fn summary(config: &Config) -> impl Iterator<Item = String> {
    let first = format!("{}: {} in site {}", config.rack, devices(config), config.site);
    [first, format!("{}: {}", config.rack, spool(config))].into_iter()
}

fn devices(config: &Config) -> String {
    let devices: Vec<_> = config
        .modbus
        .iter()
        .map(|d| format!("{} ({})", d.device, d.profile.name))
        .chain(config.mqtt.iter().map(|d| format!("{} ({})", d.device, speech(&d.speech))))
        .collect();
    let acts =
        if config.control.enabled { format!("safe share {}", config.control.safe_gpu) } else { "watching only".into() };
    let guard = config.control.breaker.filter(|_| config.control.enabled);
    let guard = guard.map_or("guard off".to_owned(), |b| format!("guard at {b} per phase"));
    format!("{} devices [{}], {acts}, {guard}", devices.len(), devices.join(", "))
}

fn speech(speech: &Speech) -> &'static str {
    match speech {
        Speech::Dsx(_) => "DSX",
        Speech::Json(_) => "MQTT",
    }
}

fn spool(config: &Config) -> String {
    let Spool { snapshots, replay_per_second, disk } = &config.spool;
    match disk {
        Some(disk) => format!(
            "spool in {}, at most {:.1} MiB and {} h, replayed at {replay_per_second} Snapshots/s; {snapshots} more in memory while it cannot be written",
            disk.dir.display(),
            disk.max_bytes as f64 / f64::from(1 << 20),
            disk.max_age.as_secs() / 3600,
        ),
        None => format!(
            "spool in memory only, {snapshots} Snapshots (one a second): what an outage leaves unsent is lost when it lasts longer or the agent ends; [spool] dir keeps it on disk"
        ),
    }
}
