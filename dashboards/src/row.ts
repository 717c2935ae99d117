// The dashboard of one row of racks: how many seconds and watts are left, who is held back and
// why, whether the chain of power and cooling is well, whether the control loop is.
import * as dashboard from "@grafana/grafana-foundation-sdk/dashboard";
import { draw, reference, type Panel, type Source } from "./panel.js";
import { series, type Gauge, type Rate, type Slope } from "./query.js";

const rate = (metric: string, by: readonly string[], legend: string): Rate => ({ kind: "rate", metric, by, legend });
const gauge = (metric: string, by: readonly string[], legend: string, pick?: "rack"): Gauge => ({ kind: "gauge", metric, by, legend, ...(pick ? { pick } : {}) });
const slope = (metric: string, by: readonly string[], legend: string, fold: Slope["fold"]): Slope => ({ kind: "slope", metric, by, legend, fold, each: ["rack", "device"], pick: "rack" });

const ofRack = (metric: string, legend: string, fold: "max" | "min" | "sum" | "mean") => series(metric, ["rack"], legend, { fold, each: ["rack", "device"], pick: "rack" });
const ofDevice = (metric: string, legend: string) => series(metric, ["rack", "device"], legend, { pick: "rack" });
const ofNode = (metric: string, legend: string) => series(metric, ["node"], legend, { pick: "node" });

const sections: readonly (readonly [title: string, panels: readonly Panel[]])[] = [
  ["Headroom", [
    { title: "Time to trip", note: "Seconds until the breaker or UPS trips if the power believed now stays. 'never' means: not at this load. 'no data' means that nobody knows.", kind: "stat", unit: "s", width: 12, height: 6,
      queries: [{ kind: "time_to_trip", legend: "{{node}}" }], steps: [[null, "red"], [10, "orange"], [60, "green"]] },
    { title: "Headroom", note: "Limit less power. The limit is the least of rating, trip accumulator, UPS overload, redundancy and cooling.", kind: "stat", unit: "watt", width: 12, height: 6,
      queries: [{ kind: "difference", of: "headroom_node_limit_watts", less: "headroom_node_power_watts", by: ["node"], pick: "node", legend: "{{node}}" }], steps: [[null, "red"], [0, "orange"], [300, "green"]] },
    { title: "Power against limit: $node", note: "Power believed, power expected while an Order takes to act, the limit in force and the continuous rating.", kind: "lines", unit: "watt", width: 24, height: 9, min: 0, repeat: "node",
      queries: [ofNode("headroom_node_power_watts", "power"), ofNode("headroom_node_expected_watts", "expected"), ofNode("headroom_node_limit_watts", "limit"), ofNode("headroom_node_rating_watts", "rating")] },
    { title: "Used share of the trip accumulator", note: "0 is cold, 1 trips. It cools down slowly: a breaker remembers.", kind: "lines", unit: "percentunit", width: 12, min: 0, max: 1,
      queries: [ofNode("headroom_node_trip_used_ratio", "{{node}}")], steps: [[null, "green"], [0.91, "orange"], [0.95, "red"]] },
    { title: "Seconds to trip, over time", note: "Only where a trip is in sight; a gap means never.", kind: "lines", unit: "s", width: 12, min: 1, logarithmic: true,
      queries: [ofNode("headroom_node_time_to_trip_seconds", "{{node}}")], steps: [[null, "red"], [10, "orange"], [60, "green"]] },
  ]],
  ["Racks", [
    { title: "Rack power", note: "Sum of the rack's inlet meters.", kind: "lines", unit: "watt", width: 12, min: 0, queries: [ofRack("headroom_pdu_power_watts", "{{rack}}", "sum")] },
    { title: "Rack budget", note: "What the controller allows each rack at its inlets, every feed considered.", kind: "lines", unit: "watt", width: 12, min: 0,
      queries: [series("headroom_rack_budget_watts", ["rack"], "{{rack}}", { pick: "rack" })] },
    { title: "Held back", note: "While a rack is held below what it would draw.", kind: "states", unit: "none", width: 12, height: 6,
      queries: [series("headroom_rack_capped", ["rack"], "{{rack}}", { pick: "rack" })], names: { "0": { text: "free", color: "green" }, "1": { text: "capped", color: "orange" } } },
    { title: "Time held by the power cap", note: "Share of the time in which the power cap throttled the clocks, mean of a rack's GPUs.", kind: "lines", unit: "percentunit", width: 12, height: 6, min: 0, max: 1,
      queries: [slope("headroom_gpu_power_capped_seconds", ["rack"], "{{rack}}", "mean")] },
    { title: "GPU power and limit in force", note: "Sum over a rack's GPUs. The limit is the one read back from the boards.", kind: "lines", unit: "watt", width: 12, min: 0,
      queries: [ofRack("headroom_gpu_power_watts", "{{rack}} power", "sum"), ofRack("headroom_gpu_limit_enforced_watts", "{{rack}} limit", "sum")] },
    { title: "Hottest GPU", note: "Highest core temperature of a rack.", kind: "lines", unit: "celsius", width: 6, queries: [ofRack("headroom_gpu_temperature_celsius", "{{rack}}", "max")], steps: [[null, "green"], [83, "orange"], [90, "red"]] },
    { title: "Xid events", note: "Xid events since each agent started.", kind: "lines", unit: "none", width: 6, min: 0, queries: [ofRack("headroom_gpu_xid_events_count", "{{rack}}", "sum")] },
  ]],
  ["Power and cooling", [
    { title: "UPS load", note: "Load of the fullest phase as a share of its rating.", kind: "lines", unit: "percentunit", width: 8, min: 0, queries: [ofDevice("headroom_ups_load_ratio", "{{device}}")], steps: [[null, "green"], [0.8, "orange"], [1, "red"]] },
    { title: "UPS battery", note: "State of charge.", kind: "lines", unit: "percentunit", width: 8, min: 0, max: 1, queries: [ofDevice("headroom_ups_battery_charge_ratio", "{{device}}")] },
    { title: "UPS runtime", note: "On battery at this load: as the UPS tells it, and as it is believed (that or its data sheet, whichever is less).", kind: "lines", unit: "s", width: 8, min: 0,
      queries: [ofDevice("headroom_ups_battery_runtime_seconds", "{{device}} tells"), ofNode("headroom_node_battery_runtime_seconds", "{{node}} believed")] },
    { title: "Current of the PDUs, phase 1 to 3", note: "Per phase: a breaker trips on its fullest one.", kind: "lines", unit: "amp", width: 6, min: 0,
      queries: [ofDevice("headroom_pdu_current_l1_amperes", "{{rack}} {{device}} L1"), ofDevice("headroom_pdu_current_l2_amperes", "{{rack}} {{device}} L2"), ofDevice("headroom_pdu_current_l3_amperes", "{{rack}} {{device}} L3")] },
    { title: "Coolant", note: "Supplied to and returning from the rack, and how warm the supply may be: advised, never set.", kind: "lines", unit: "celsius", width: 6,
      queries: [ofDevice("headroom_cooling_supply_temperature_celsius", "{{rack}} supply"), ofDevice("headroom_cooling_return_temperature_celsius", "{{rack}} return"), gauge("headroom_cooling_supply_advised_celsius", ["cooler"], "{{cooler}} advised at most")] },
    { title: "Seconds until the coolant's limit", note: "Only where it would be there within an hour; a gap means later, never, or not known.", kind: "lines", unit: "s", width: 6, min: 1, logarithmic: true,
      queries: [series("headroom_rack_coolant_limit_seconds", ["rack"], "{{rack}}", { pick: "rack", fold: "min" })], steps: [[null, "red"], [60, "orange"], [300, "green"]] },
    { title: "Coolant flow and pump", note: "A pump that must turn faster for the same flow is wearing out.", kind: "lines", unit: "none", width: 6, min: 0,
      queries: [ofDevice("headroom_cooling_flow_liters_per_minute", "{{rack}} l/min"), ofDevice("headroom_cooling_pump_speed_ratio", "{{rack}} pump speed, share of full")] },
  ]],
  ["Forecasts", [
    { title: "Error of the median", note: "Mean absolute error over some hour, by who forecasts and seconds ahead. 'used' is what decisions are made with.", kind: "lines", unit: "watt", width: 8, min: 0,
      queries: [gauge("headroom_forecast_mae_watts", ["method", "horizon_s"], "{{method}} {{horizon_s}} s")] },
    { title: "Pinball loss", note: "Mean over the quantiles. A model whose loss is above the baseline's is taken out of use.", kind: "lines", unit: "watt", width: 8, min: 0,
      queries: [gauge("headroom_forecast_pinball_watts", ["method", "horizon_s"], "{{method}} {{horizon_s}} s")] },
    { title: "Safety margin", note: "What is added to the upper quantiles so that they cover what they say, whatever the load does.", kind: "lines", unit: "watt", width: 8, min: 0,
      queries: [gauge("headroom_rack_margin_watts", ["rack", "quantile"], "{{rack}} {{quantile}}", "rack")] },
  ]],
  ["Control loop", [
    { title: "Age of what is known", note: "Time since the newest Snapshot of each rack, by the controller's clock.", kind: "lines", unit: "s", width: 8, min: 0,
      queries: [gauge("headroom_rack_age_seconds", ["rack"], "{{rack}}", "rack")], steps: [[null, "green"], [3, "orange"], [5, "red"]] },
    { title: "Orders and Receipts", note: "Orders sent, and what agents did with them.", kind: "lines", unit: "ops", width: 8, min: 0,
      queries: [rate("headroom_orders_total", [], "orders"), rate("headroom_receipts_total", ["outcome"], "{{outcome}}")] },
    { title: "Forecasts by source", note: "The baseline takes over where the model may not speak.", kind: "lines", unit: "ops", width: 8, min: 0, queries: [rate("headroom_forecasts_total", ["source"], "{{source}}")] },
    { title: "Readings", note: "Readings received, and those without a value by reason.", kind: "lines", unit: "ops", width: 8, min: 0,
      queries: [rate("headroom_readings_total", [], "all"), rate("headroom_readings_no_data_total", ["reason"], "no data: {{reason}}")] },
    { title: "Open Findings", note: "Things a person should look at.", kind: "lines", unit: "none", width: 8, min: 0, queries: [gauge("headroom_findings", ["severity"], "{{severity}}")] },
    { title: "Alerts and dropped frames", note: "A dead alert was given up after many tries. A dropped frame was malformed.", kind: "lines", unit: "ops", width: 8, min: 0,
      queries: [rate("headroom_alerts_total", ["result"], "alerts {{result}}"), rate("headroom_frames_dropped_total", ["reason"], "frames dropped: {{reason}}")] },
    { title: "Time of a decision", note: "How long the last decision took.", kind: "lines", unit: "s", width: 6, min: 0, queries: [gauge("headroom_decide_seconds", [], "decide")] },
    { title: "Record", note: "Entries stored durably, and points to InfluxDB by result.", kind: "lines", unit: "ops", width: 6, min: 0,
      queries: [rate("headroom_record_entries_total", [], "entries"), rate("headroom_influx_points_total", ["result"], "InfluxDB {{result}}")] },
    { title: "Devices that answer", note: "As each agent sees its devices.", kind: "states", unit: "none", width: 6,
      queries: [gauge("headroom_agent_device_up", ["rack", "device"], "{{rack}} {{device}}", "rack")], names: { "0": { text: "silent", color: "red" }, "1": { text: "answers", color: "green" } } },
    { title: "Agents: lease and guard", note: "Time left on the lease, 0 at the safe share; guard 1 while the agent itself holds the rack down.", kind: "lines", unit: "none", width: 6, min: 0,
      queries: [gauge("headroom_agent_lease_remaining_seconds", ["rack"], "{{rack}} lease, s", "rack"), gauge("headroom_agent_guard_active", ["rack"], "{{rack}} guard", "rack"), gauge("headroom_agent_spool_snapshots", ["rack"], "{{rack}} Snapshots in the spool", "rack")] },
  ]],
];

function variable(name: "node" | "rack", metric: string, source: Source): dashboard.QueryVariableBuilder {
  const query = source === "prometheus"
    ? `label_values(${metric}, ${name})`
    : { query: `import "influxdata/influxdb/schema"\nschema.measurementTagValues(bucket: v.defaultBucket, measurement: "${metric}", tag: "${name}")`, refId: name };
  return new dashboard.QueryVariableBuilder(name).label(name).query(query).datasource(reference(source)).multi(true).includeAll(true)
    .current({ selected: true, text: "All", value: "$__all" }).refresh(dashboard.VariableRefresh.OnTimeRangeChanged).sort(dashboard.VariableSort.NaturalAsc);
}

/** The dashboard as Grafana's JSON. */
export function row(source: Source): dashboard.Dashboard {
  const suffix = source === "prometheus" ? "" : " (InfluxDB)";
  const board = new dashboard.DashboardBuilder(`Headroom: row${suffix}`).uid(source === "prometheus" ? "headroom-row" : "headroom-row-flux")
    .description("How many watts and how many seconds are left before something trips. Generated from dashboards/src; do not edit by hand.")
    .tags(["headroom"]).readonly().refresh("5s").time({ from: "now-15m", to: "now" }).timezone("browser").tooltip(dashboard.DashboardCursorSync.Crosshair)
    .withVariable(new dashboard.DatasourceVariableBuilder("datasource").label("Data source").type(source).current({ selected: true, text: `Headroom ${source}`, value: `headroom-${source}` }))
    .withVariable(variable("node", "headroom_node_power_watts", source))
    .withVariable(variable("rack", "headroom_rack_budget_watts", source));
  // Ids make links to a panel last; they count over both sources, so that a panel has one id.
  let id = 0;
  for (const [title, panels] of sections) {
    const drawn = panels.map((p) => draw(p, source, ++id)).filter((p) => p !== undefined);
    if (!drawn.length) continue;
    board.withRow(new dashboard.RowBuilder(title).id(1000 + id));
    for (const panel of drawn) board.withPanel(panel);
  }
  return board.build();
}
