//! Batteries of which nobody knows how long they last: neither does the UPS tell it nor does the topology.

use super::{GRACE, finding};
use crate::decide::BatteryView;
use headroom_rack::{Finding, Mono, NodeId, Severity};
use std::collections::BTreeMap;

/// The batteries nobody knows.
#[derive(Debug, Clone, Default)]
pub(super) struct Unknown(BTreeMap<NodeId, Seen>);

#[derive(Debug, Clone)]
struct Seen {
    since: Mono,
    on: bool,
    is_wanted: bool,
}

impl Unknown {
    /// Takes in what a decision saw of all.
    pub(super) fn see(&mut self, batteries: &[BatteryView], now: Mono) {
        let unknown = batteries.iter().filter(|b| b.read && b.runtime_s.is_none());
        let seen = unknown.map(|b| {
            let since = self.0.get(&b.node).map_or(now, |seen| seen.since);
            (b.node.clone(), Seen { since, on: b.on, is_wanted: b.target.is_some() })
        });
        self.0 = seen.collect();
    }

    /// What a person should know. A UPS on the mains has a while to tell it first.
    pub(super) fn findings(&self, now: Mono) -> impl Iterator<Item = Finding> {
        let ripe = self.0.iter().filter(move |(_, seen)| seen.on || now.since(seen.since) >= GRACE);
        ripe.map(|(node, seen)| {
            let severity = match (seen.is_wanted, seen.on) {
                (true, true) => Severity::Critical,
                (true, false) => Severity::Warning,
                (false, _) => Severity::Info,
            };
            let what = if seen.is_wanted { "battery_target_s cannot be kept" } else { "its seconds left are not shown" };
            finding(
                "ups_runtime_unknown",
                node.as_str(),
                severity,
                format!("nobody knows how long the battery of {node} lasts"),
                format!("{node} tells no runtime: {what}; add the runtimes of its data sheet to the topology (battery = {{ .. }})"),
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use headroom_rack::Watts;
    use std::time::Duration;

    fn view(on: bool, runtime_s: Option<f64>, target: Option<Duration>) -> BatteryView {
        BatteryView {
            node: NodeId::new("ups-a").unwrap(),
            on,
            read: true,
            load: Watts::new(8000.0),
            told_s: runtime_s,
            counted_s: None,
            runtime_s,
            charge: None,
            target,
        }
    }

    #[test]
    fn a_battery_nobody_knows_is_found_after_a_while_or_at_once_when_it_is_needed() {
        let target = Some(Duration::from_secs(600));
        let severities = |views: &[BatteryView], second: u64, unknown: &mut Unknown| -> Vec<Severity> {
            let now = Mono::from_ms(1000 * second);
            unknown.see(views, now);
            unknown.findings(now).map(|f| f.severity).collect()
        };
        let mut unknown = Unknown::default();
        assert_eq!(severities(&[view(false, None, target)], 1, &mut unknown), []);
        assert_eq!(severities(&[view(false, None, target)], 40, &mut unknown), [Severity::Warning]);
        assert_eq!(severities(&[view(true, None, target)], 41, &mut unknown), [Severity::Critical]);
        assert_eq!(severities(&[view(true, Some(300.0), target)], 42, &mut unknown), []);
        assert_eq!(severities(&[view(true, None, None)], 43, &mut unknown), [Severity::Info]);
    }
}
