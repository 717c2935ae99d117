//! The last minutes at one row per second for the console's charts: nodes, racks, and what was
//! expected of each rack ten seconds before. Memory only; the record keeps everything.

use headroom_rack::{Forecast, NodeId, Plan, RackId, UnixMs, Watts};
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};

/// Rows kept: 15 minutes.
const KEPT: usize = 900;
/// How far ahead the Forecasts that are compared with what came were made, in seconds.
pub const HORIZON_S: u32 = 10;

#[derive(Debug, Clone, Copy, Default)]
struct NodeRow {
    power: f64,
    limit: f64,
    time_to_trip_s: Option<f64>,
}

#[derive(Debug, Clone, Copy, Default)]
struct RackRow {
    power: Option<f64>,
    budget: Option<f64>,
    p50: Option<f64>,
    p99: Option<f64>,
}

#[derive(Debug)]
struct Row {
    at: UnixMs,
    nodes: BTreeMap<NodeId, NodeRow>,
    racks: BTreeMap<RackId, RackRow>,
}

/// What was said for one moment.
#[derive(Debug)]
struct Said {
    for_second: u64,
    rack: RackId,
    p50: f64,
    p99: f64,
}

/// The last minutes.
#[derive(Debug, Default)]
pub struct History {
    rows: VecDeque<Row>,
    said: VecDeque<Said>,
    ahead: BTreeMap<RackId, Ahead>,
}

/// A node's lines.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct NodeLines {
    power: Vec<Option<f64>>,
    limit: Vec<Option<f64>>,
    time_to_trip: Vec<Option<f64>>,
}

/// A rack's lines. `forecast_*` at a time is what was said [`HORIZON_S`] seconds earlier for it.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct RackLines {
    power: Vec<Option<f64>>,
    budget: Vec<Option<f64>>,
    forecast_p50: Vec<Option<f64>>,
    forecast_p99: Vec<Option<f64>>,
}

/// What is expected from now on.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Ahead {
    t: Vec<u64>,
    p50: Vec<f64>,
    p90: Vec<f64>,
    p99: Vec<f64>,
}

/// `/api/history`.
#[derive(Debug, PartialEq, Serialize)]
pub struct Lines {
    t: Vec<u64>,
    nodes: BTreeMap<NodeId, NodeLines>,
    racks: BTreeMap<RackId, RackLines>,
    horizon_s: u32,
    ahead: BTreeMap<RackId, Ahead>,
}

impl History {
    /// Notes a decision; a second one within the same second replaces the first.
    pub fn push(
        &mut self,
        plan: &Plan,
        powers: &BTreeMap<RackId, Option<Watts>>,
        forecasts: &BTreeMap<RackId, Forecast>,
    ) {
        let second = nearest_second(plan.at.get());
        if self.rows.back().is_some_and(|r| nearest_second(r.at.get()) == second) {
            self.rows.pop_back();
        }
        let said: BTreeMap<&RackId, &Said> =
            self.said.iter().filter(|s| s.for_second == second).map(|s| (&s.rack, s)).collect();
        let rack_row = |rack: &RackId| RackRow {
            power: powers.get(rack).copied().flatten().map(Watts::get),
            budget: plan.caps.iter().find(|c| c.rack == *rack).map(|c| c.budget.get()),
            p50: said.get(rack).map(|s| s.p50),
            p99: said.get(rack).map(|s| s.p99),
        };
        let racks = powers.keys().map(|rack| (rack.clone(), rack_row(rack))).collect();
        let node_row = |n: &headroom_rack::NodeView| NodeRow {
            power: n.power.get(),
            limit: n.limit.get(),
            time_to_trip_s: n.time_to_trip_s,
        };
        let nodes = plan.nodes.iter().map(|n| (n.node.clone(), node_row(n))).collect();
        self.rows.push_back(Row { at: plan.at, nodes, racks });
        if self.rows.len() > KEPT {
            self.rows.pop_front();
        }
        self.said.retain(|s| s.for_second > second);
        for (rack, forecast) in forecasts {
            let for_second = nearest_second(forecast.at.get()) + u64::from(HORIZON_S);
            if let Some(at) = forecast.horizons_s.iter().position(|h| *h == HORIZON_S)
                && let (Some(p50), Some(p99)) = (value(forecast, at, 0.5), value(forecast, at, 0.99))
            {
                self.said.retain(|s| !(s.for_second == for_second && s.rack == *rack));
                self.said.push_back(Said { for_second, rack: rack.clone(), p50, p99 });
            }
            self.ahead.insert(rack.clone(), ahead(forecast));
        }
    }

    /// The last `seconds`.
    pub fn lines(&self, seconds: usize) -> Lines {
        let rows: Vec<&Row> = self.rows.iter().skip(self.rows.len().saturating_sub(seconds)).collect();
        let mut lines = Lines {
            t: rows.iter().map(|r| r.at.get()).collect(),
            nodes: BTreeMap::new(),
            racks: BTreeMap::new(),
            horizon_s: HORIZON_S,
            ahead: self.ahead.clone(),
        };
        for id in rows.last().into_iter().flat_map(|r| r.nodes.keys()) {
            let each = || rows.iter().map(|r| r.nodes.get(id));
            let node = NodeLines {
                power: each().map(|n| n.map(|n| n.power)).collect(),
                limit: each().map(|n| n.map(|n| n.limit)).collect(),
                time_to_trip: each().map(|n| n?.time_to_trip_s).collect(),
            };
            lines.nodes.insert(id.clone(), node);
        }
        for id in rows.last().into_iter().flat_map(|r| r.racks.keys()) {
            let each = || rows.iter().map(|r| r.racks.get(id).copied().unwrap_or_default());
            let rack = RackLines {
                power: each().map(|r| r.power).collect(),
                budget: each().map(|r| r.budget).collect(),
                forecast_p50: each().map(|r| r.p50).collect(),
                forecast_p99: each().map(|r| r.p99).collect(),
            };
            lines.racks.insert(id.clone(), rack);
        }
        lines
    }
}

fn nearest_second(ms: u64) -> u64 {
    (ms + 500) / 1000
}

fn value(forecast: &Forecast, horizon: usize, quantile: f64) -> Option<f64> {
    let q = forecast.quantiles.iter().position(|q| (q - quantile).abs() < 1e-9)?;
    Some(forecast.values.get(horizon)?.get(q)?.get())
}

fn ahead(forecast: &Forecast) -> Ahead {
    let mut ahead = Ahead::default();
    for (i, horizon) in forecast.horizons_s.iter().enumerate() {
        if let (Some(p50), Some(p90), Some(p99)) =
            (value(forecast, i, 0.5), value(forecast, i, 0.9), value(forecast, i, 0.99))
        {
            ahead.t.push(forecast.at.get() + 1000 * u64::from(*horizon));
            ahead.p50.push(p50);
            ahead.p90.push(p90);
            ahead.p99.push(p99);
        }
    }
    ahead
}

#[cfg(test)]
mod tests {
    use super::*;
    use headroom_rack::{Generation, Mode, Source};

    #[test]
    fn a_forecast_is_shown_at_the_second_it_was_made_for() {
        let rack = RackId::new("r").unwrap();
        let mut history = History::default();
        for second in 0..15u64 {
            let at = UnixMs::new(1_000_000 + 1000 * second + 3 * second);
            let plan =
                Plan { generation: Generation::default(), at, mode: Mode::Automatic, caps: vec![], nodes: vec![] };
            let forecast = Forecast {
                rack: rack.clone(),
                at,
                horizons_s: vec![HORIZON_S],
                quantiles: vec![0.5, 0.9, 0.99],
                values: vec![[1.0, 2.0, 3.0].map(|q| Watts::new(100.0 * second as f64 + q)).to_vec()],
                source: Source::Model("m".into()),
            };
            let powers = [(rack.clone(), Some(Watts::new(5.0)))].into();
            history.push(&plan, &powers, &[(rack.clone(), forecast)].into());
        }
        let lines = history.lines(180);
        let racks = &lines.racks[&rack];
        assert_eq!(racks.forecast_p50[9], None);
        assert_eq!(racks.forecast_p50[10], Some(1.0));
        assert_eq!(racks.forecast_p99[14], Some(403.0));
        assert_eq!(lines.ahead[&rack].t, [1_000_000 + 14_042 + 10_000]);
        assert_eq!(history.lines(4).t.len(), 4);
    }
}
