//! What `watch` draws: a line for each GPU, the signals of every other device, and trends. Text in,
//! text out: the terminal is elsewhere.

use serde_json::{Map, Value};
use std::collections::{BTreeMap, VecDeque};

/// Values kept of each signal.
const TREND: usize = 24;
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The columns of the GPU table: heading, signal, factor, decimals.
const GPU: &[(&str, &str, f64, usize)] = &[
    ("power W", "gpu_power_watts", 1.0, 0),
    ("limit W", "gpu_limit_enforced_watts", 1.0, 0),
    ("max W", "gpu_limit_max_watts", 1.0, 0),
    ("SM MHz", "gpu_sm_clock_mhz", 1.0, 0),
    ("util %", "gpu_utilization_ratio", 100.0, 0),
    ("°C", "gpu_temperature_celsius", 1.0, 0),
    ("mem °C", "gpu_memory_temperature_celsius", 1.0, 0),
    ("mem GiB", "gpu_memory_used_bytes", 1.0 / (1024.0 * 1024.0 * 1024.0), 1),
    ("Xids", "gpu_xid_events_count", 1.0, 0),
];
const GPU_POWER: &str = "gpu_power_watts";

/// All values with their recent past.
pub struct Picture {
    from: String,
    only: Option<String>,
    now: Value,
    past: BTreeMap<(String, String), VecDeque<f64>>,
}

impl Picture {
    /// An empty one. `from` says where the values come from; `only` names the one device to show.
    pub fn new(from: String, only: Option<String>) -> Self {
        Self { from, only, now: Value::Null, past: BTreeMap::new() }
    }

    /// The newest values, as `/readings` has them.
    pub fn take(&mut self, readings: &Value) {
        for (device, said) in devices(readings) {
            for (signal, reading) in object(&said["signals"]) {
                if let Some(value) = reading["value"].as_f64() {
                    let past = self.past.entry((device.clone(), signal.clone())).or_default();
                    past.push_back(value);
                    past.drain(..past.len().saturating_sub(TREND));
                }
            }
        }
        self.now = readings.clone();
    }

    /// At most `rows` lines of at most `columns` characters.
    pub fn text(&self, columns: usize, rows: usize) -> String {
        let shown: Vec<_> =
            devices(&self.now).filter(|(d, _)| self.only.as_ref().is_none_or(|only| *d == only)).collect();
        let mut lines = vec![format!("{}  {} devices  {}", text_of(&self.now["rack"]), shown.len(), self.from)];
        if let (Some(only), true) = (&self.only, shown.is_empty()) {
            let names: Vec<&str> = devices(&self.now).map(|(d, _)| d.as_str()).collect();
            lines.push(format!("no device is named {only}; there are {}", names.join(", ")));
        }
        let (gpus, others): (Vec<_>, Vec<_>) =
            shown.into_iter().partition(|(_, said)| self.only.is_none() && !said["signals"][GPU_POWER].is_null());
        self.others(&others, &mut lines);
        self.gpus(&gpus, &mut lines);
        if lines.len() > rows {
            let more = lines.len() - rows + 1;
            lines.truncate(rows.saturating_sub(1));
            lines.push(format!("... {more} more lines: a larger terminal, or --device NAME"));
        }
        lines.iter().map(|line| line.chars().take(columns).collect::<String>()).collect::<Vec<_>>().join("\n")
    }

    fn gpus(&self, gpus: &[(&String, &Value)], lines: &mut Vec<String>) {
        if gpus.is_empty() {
            return;
        }
        let heads: String = GPU.iter().map(|(head, ..)| format!("{head:>9}")).collect();
        lines.push(String::new());
        lines.push(format!("{:<9}{:<8}{heads}  power", "GPU", ""));
        for (device, said) in gpus {
            let cells: String = GPU
                .iter()
                .map(|(_, signal, factor, decimals)| match said["signals"][*signal]["value"].as_f64() {
                    Some(value) => format!("{:>9.decimals$}", value * factor),
                    None => format!("{:>9}", "-"),
                })
                .collect();
            let trend = self.trend(device, GPU_POWER);
            lines.push(format!("{device:<9}{:<8}{cells}  {trend}", text_of(&said["state"])));
        }
    }

    fn others(&self, others: &[(&String, &Value)], lines: &mut Vec<String>) {
        for (device, said) in others {
            lines.push(String::new());
            lines.push(format!("{device}  {}", text_of(&said["state"])));
            for (signal, reading) in object(&said["signals"]) {
                let unit = text_of(&reading["unit"]);
                let (value, rest) = match reading["value"].as_f64() {
                    Some(value) => (format!("{value:.3}"), self.trend(device, signal)),
                    None => ("-".to_owned(), text_of(&reading["quality"]).to_owned()),
                };
                lines.push(format!("  {signal:<40}{value:>16} {unit:<6} {rest}"));
            }
        }
    }

    fn trend(&self, device: &str, signal: &str) -> String {
        let Some(past) = self.past.get(&(device.to_owned(), signal.to_owned())) else { return String::new() };
        let (low, high) =
            past.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(*v), high.max(*v)));
        let step = |value: &f64| if high > low { ((value - low) / (high - low) * 7.0).round() as usize } else { 0 };
        past.iter().map(|value| BARS[step(value).min(BARS.len() - 1)]).collect()
    }
}

fn devices(readings: &Value) -> impl Iterator<Item = (&String, &Value)> {
    object(&readings["devices"])
}

fn object(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

fn text_of(value: &Value) -> &str {
    value.as_str().unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn readings(watts: f64) -> Value {
        json!({"rack": "rack-1", "devices": {
            "gpu-0": {"state": "up", "signals": {"gpu_power_watts": {"value": watts, "unit": "W", "quality": "good"}}},
            "pdu-a": {"state": "down", "signals": {"pdu_power_watts": {"value": null, "unit": "W", "quality": "timeout"}}},
        }})
    }

    #[test]
    fn each_gpu_has_a_line_with_its_trend_and_absence_shows_its_reason() {
        let mut picture = Picture::new("here".to_owned(), None);
        [100.0, 300.0, 200.0].into_iter().for_each(|watts| picture.take(&readings(watts)));
        let text = picture.text(usize::MAX, usize::MAX);
        let gpu = text.lines().find(|l| l.starts_with("gpu-0")).unwrap();
        assert!(gpu.contains("      200        -") && gpu.ends_with("▁█▅"), "{gpu}");
        assert!(text.contains("pdu-a  down") && text.contains("- W      timeout"), "{text}");
    }

    #[test]
    fn it_never_grows_beyond_the_terminal_and_one_device_can_be_chosen() {
        let mut picture = Picture::new("here".to_owned(), Some("gpu-0".to_owned()));
        picture.take(&readings(1.0));
        assert!(!picture.text(80, 24).contains("pdu-a"));
        picture.only = Some("ups-7".to_owned());
        assert!(picture.text(80, 24).contains("no device is named ups-7; there are gpu-0, pdu-a"));
        picture.only = None;
        let small = picture.text(20, 3);
        assert_eq!(small.lines().count(), 3);
        assert!(small.lines().all(|l| l.chars().count() <= 20), "{small}");
    }
}
