//! The last minutes at one row per second for the console's charts: nodes, racks, and what was
//! expected of each rack ten seconds before. Memory only; the record keeps everything.

use headroom_rack::{Forecast, NodeId, NodeView, Plan, RackId, UnixMs, Watts};
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Rows kept: 15 minutes.
const KEPT: usize = 900;
/// How far ahead the Forecasts that are compared with what came were made, in seconds.
pub const HORIZON_S: u32 = 10;

/// A moment. Numbers are NaN where there is none; single precision is finer than any meter, and a large site
/// has many of them.
#[derive(Debug)]
struct Row {
    at: UnixMs,
    /// Power, limit and time to trip, in the order of the nodes.
    nodes: Vec<[f32; 3]>,
    /// Power, budget, and what was expected at the median and the 99 % quantile, in the order of the racks.
    racks: Vec<[f32; 4]>,
}

/// The last minutes.
#[derive(Debug, Default)]
pub struct History {
    nodes: Vec<NodeId>,
    racks: Vec<RackId>,
    rows: VecDeque<Row>,
    /// By the second it was said for: median and 99 % quantile, in the order of the racks.
    said: BTreeMap<u64, Vec<[f32; 2]>>,
    /// The newest Forecasts.
    ahead: Arc<BTreeMap<RackId, Forecast>>,
}

/// A node's lines.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct NodeLines {
    power: Vec<Option<f32>>,
    limit: Vec<Option<f32>>,
    time_to_trip: Vec<Option<f32>>,
}

/// A rack's lines. `forecast_*` at a time is what was said [`HORIZON_S`] seconds earlier for it.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct RackLines {
    power: Vec<Option<f32>>,
    budget: Vec<Option<f32>>,
    forecast_p50: Vec<Option<f32>>,
    forecast_p99: Vec<Option<f32>>,
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
        forecasts: &Arc<BTreeMap<RackId, Forecast>>,
    ) {
        let second = nearest_second(plan.at.get());
        if self.rows.back().is_some_and(|r| nearest_second(r.at.get()) == second) {
            self.rows.pop_back();
        }
        // Rows of another tree could not be told apart from these.
        if !self.nodes.iter().eq(plan.nodes.iter().map(|n| &n.node)) || !self.racks.iter().eq(powers.keys()) {
            self.rows.clear();
            self.said.clear();
            self.nodes = plan.nodes.iter().map(|n| n.node.clone()).collect();
            self.racks = powers.keys().cloned().collect();
        }
        let said = self.said.get(&second);
        let budgets: BTreeMap<&RackId, f64> = plan.caps.iter().map(|c| (&c.rack, c.budget.get())).collect();
        let rack_row = |(place, (rack, power)): (usize, (&RackId, &Option<Watts>))| {
            let [p50, p99] = said.and_then(|s| s.get(place)).copied().unwrap_or([f32::NAN; 2]);
            [number(power.map(Watts::get)), number(budgets.get(rack).copied()), p50, p99]
        };
        let racks = powers.iter().enumerate().map(rack_row).collect();
        let node_row = |n: &NodeView| [n.power.get() as f32, n.limit.get() as f32, number(n.time_to_trip_s)];
        self.rows.push_back(Row { at: plan.at, nodes: plan.nodes.iter().map(node_row).collect(), racks });
        if self.rows.len() > KEPT {
            self.rows.pop_front();
        }
        self.said.retain(|for_second, _| *for_second > second);
        // All are of one moment.
        if let Some(forecast) = forecasts.values().next() {
            let for_second = nearest_second(forecast.at.get()) + u64::from(HORIZON_S);
            let said = self.racks.iter().map(|rack| forecasts.get(rack).and_then(told).unwrap_or([f32::NAN; 2]));
            self.said.insert(for_second, said.collect());
        }
        self.ahead = Arc::clone(forecasts);
    }

    /// The last `seconds`.
    pub fn lines(&self, seconds: usize) -> Lines {
        let rows: Vec<&Row> = self.rows.iter().skip(self.rows.len().saturating_sub(seconds)).collect();
        let mut lines = Lines {
            t: rows.iter().map(|r| r.at.get()).collect(),
            nodes: BTreeMap::new(),
            racks: BTreeMap::new(),
            horizon_s: HORIZON_S,
            ahead: self.ahead.iter().map(|(rack, forecast)| (rack.clone(), ahead(forecast))).collect(),
        };
        for (place, id) in self.nodes.iter().enumerate() {
            let line = |what: usize| rows.iter().map(|r| known(r.nodes[place][what])).collect();
            let node = NodeLines { power: line(0), limit: line(1), time_to_trip: line(2) };
            lines.nodes.insert(id.clone(), node);
        }
        for (place, id) in self.racks.iter().enumerate() {
            let line = |what: usize| rows.iter().map(|r| known(r.racks[place][what])).collect();
            let rack = RackLines { power: line(0), budget: line(1), forecast_p50: line(2), forecast_p99: line(3) };
            lines.racks.insert(id.clone(), rack);
        }
        lines
    }
}

fn number(value: Option<f64>) -> f32 {
    value.map_or(f32::NAN, |v| v as f32)
}

fn known(value: f32) -> Option<f32> {
    Some(value).filter(|v| !v.is_nan())
}

fn nearest_second(ms: u64) -> u64 {
    (ms + 500) / 1000
}

fn value(forecast: &Forecast, horizon: usize, quantile: f64) -> Option<f64> {
    let q = forecast.quantiles.iter().position(|q| (q - quantile).abs() < 1e-9)?;
    Some(forecast.values.get(horizon)?.get(q)?.get())
}

/// The median and the 99 % quantile [`HORIZON_S`] ahead.
fn told(forecast: &Forecast) -> Option<[f32; 2]> {
    let at = forecast.horizons_s.iter().position(|h| *h == HORIZON_S)?;
    Some([value(forecast, at, 0.5)? as f32, value(forecast, at, 0.99)? as f32])
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
            history.push(&plan, &powers, &Arc::new([(rack.clone(), forecast)].into()));
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
