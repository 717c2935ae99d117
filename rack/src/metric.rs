//! Names of the metrics Headroom exports to Prometheus and InfluxDB, in one place so that
//! dashboards and alert rules can be checked against them. Signals are exported as
//! `headroom_<signal name>{rack,device}`.

/// Every metric that is not a signal: name, type, labels, help.
pub const METRICS: &[(&str, &str, &[&str], &str)] = &[
    ("headroom_node_power_watts", "gauge", &["node"], "Power believed to flow through a node."),
    ("headroom_node_limit_watts", "gauge", &["node", "kind"], "Limit of a node and what sets it."),
    ("headroom_node_rating_watts", "gauge", &["node"], "Continuous rating of a node."),
    ("headroom_node_expected_watts", "gauge", &["node"], "Power expected while an Order takes to act."),
    (
        "headroom_node_time_to_trip_seconds",
        "gauge",
        &["node"],
        "Seconds to trip at the present power; absent when it never trips.",
    ),
    ("headroom_node_trip_used_ratio", "gauge", &["node"], "Used share of the trip accumulator."),
    (
        "headroom_node_battery_runtime_seconds",
        "gauge",
        &["node"],
        "Seconds a UPS's battery lasts at the present load, by what it tells or by its data, whichever is less; absent when unknown.",
    ),
    ("headroom_rack_power_watts", "gauge", &["rack"], "Power of a rack."),
    ("headroom_rack_budget_watts", "gauge", &["rack", "bound_by"], "Budget of a rack and what bound it."),
    ("headroom_rack_capped", "gauge", &["rack"], "1 while a rack is held below what it would draw."),
    (
        "headroom_rack_coolant_limit_seconds",
        "gauge",
        &["rack"],
        "Seconds until a rack's coolant, or the air at its inlets, is at its limit; absent when not within an hour or unknown.",
    ),
    (
        "headroom_cooling_supply_advised_celsius",
        "gauge",
        &["cooler"],
        "Warmest supply at which a cooler holds none of its racks back; absent when too little was seen or none is cool enough.",
    ),
    (
        "headroom_cooling_held_watts",
        "gauge",
        &["cooler"],
        "What cooling holds back of what the racks want; absent when too little was seen.",
    ),
    ("headroom_rack_age_seconds", "gauge", &["rack"], "Age of the newest Snapshot by the controller's clock."),
    (
        "headroom_load_target_watts",
        "gauge",
        &["feed", "partner"],
        "Load target in force from a partner outside; absent when there is none.",
    ),
    ("headroom_load_target_feed_watts", "gauge", &["feed"], "Power through a feed that partners set targets for."),
    ("headroom_orders_total", "counter", &[], "Orders sent."),
    ("headroom_receipts_total", "counter", &["outcome"], "Receipts by outcome: applied, clamped, refused, expired."),
    ("headroom_snapshots_total", "counter", &[], "Snapshots received."),
    ("headroom_readings_total", "counter", &[], "Readings received."),
    ("headroom_readings_no_data_total", "counter", &["reason"], "Readings without a value, by reason."),
    ("headroom_frames_dropped_total", "counter", &["reason"], "Malformed or unexpected frames from the bus."),
    ("headroom_forecasts_total", "counter", &["source"], "Forecasts by source: model, baseline."),
    (
        "headroom_forecast_outcomes_total",
        "counter",
        &["method", "horizon_s"],
        "Outcomes that Forecasts were held against, by method (used, mixed, model, baseline, challenger) and seconds ahead.",
    ),
    (
        "headroom_forecast_absolute_error_watts_total",
        "counter",
        &["method", "horizon_s"],
        "Sum of the absolute errors of the median.",
    ),
    (
        "headroom_forecast_pinball_loss_watts_total",
        "counter",
        &["method", "horizon_s"],
        "Sum of the pinball loss, mean over the quantiles.",
    ),
    (
        "headroom_forecast_covered_total",
        "counter",
        &["method", "horizon_s", "quantile"],
        "Outcomes at or below a quantile.",
    ),
    (
        "headroom_forecast_mae_watts",
        "gauge",
        &["method", "horizon_s"],
        "Mean absolute error of the median; an outcome counts 1/e after an hour.",
    ),
    (
        "headroom_forecast_pinball_watts",
        "gauge",
        &["method", "horizon_s"],
        "Mean pinball loss; an outcome counts 1/e after an hour.",
    ),
    (
        "headroom_forecast_coverage_ratio",
        "gauge",
        &["method", "horizon_s", "quantile"],
        "Share of outcomes at or below a quantile; an outcome counts 1/e after an hour.",
    ),
    (
        "headroom_forecast_outside_range",
        "gauge",
        &["rack"],
        "1 while a rack's inputs lie outside the range the model was trained on.",
    ),
    (
        "headroom_rack_margin_watts",
        "gauge",
        &["rack", "quantile"],
        "Safety margin added to a quantile of a rack's Forecast while an Order takes to act.",
    ),
    (
        "headroom_learning_phase",
        "gauge",
        &["phase"],
        "1 for what on-site learning does: rest, training, comparing, shadow.",
    ),
    (
        "headroom_learning_trainings_total",
        "counter",
        &["result"],
        "Trainings by how they ended: failed, rejected, promoted.",
    ),
    ("headroom_model_demotions_total", "counter", &[], "Models taken out of use."),
    ("headroom_loop_lateness_seconds", "gauge", &[], "How late a turn of the control loop began at worst."),
    ("headroom_loop_missed_periods_total", "counter", &[], "Periods that passed without a turn of the control loop."),
    ("headroom_findings", "gauge", &["severity"], "Open Findings."),
    ("headroom_alerts_total", "counter", &["result"], "Alert deliveries by result: delivered, retried, dead."),
    ("headroom_record_entries_total", "counter", &[], "Entries stored durably in the record."),
    ("headroom_influx_points_total", "counter", &["result"], "Points sent to InfluxDB: written, dropped."),
    ("headroom_decide_seconds", "gauge", &[], "Time the last decision took."),
    ("headroom_agent_guard_active", "gauge", &["rack"], "1 while the agent's own guard holds the rack down."),
    ("headroom_agent_lease_remaining_seconds", "gauge", &["rack"], "Time left on the lease, 0 at the safe share."),
    (
        "headroom_agent_device_up",
        "gauge",
        &["rack", "device"],
        "1 while a device answers, 0 while it does not; absent before it was asked.",
    ),
    (
        "headroom_agent_integration_up",
        "gauge",
        &["rack", "integration"],
        "1 while the heartbeat of an integration of the DSX gateway is heard, 0 while it is missing.",
    ),
    (
        "headroom_agent_signal_no_data",
        "gauge",
        &["rack", "device", "signal", "reason"],
        "1 for a signal without a value.",
    ),
    (
        "headroom_agent_config_refused",
        "gauge",
        &["rack"],
        "1 while the config file on disk is refused and an older one runs.",
    ),
    ("headroom_agent_config_reloads_total", "counter", &["rack"], "Changes of the config that were taken over."),
    ("headroom_agent_poll_seconds", "gauge", &["rack", "device"], "Time the last poll of a device took."),
    ("headroom_agent_spool_snapshots", "gauge", &["rack"], "Snapshots not yet acknowledged by the record."),
    ("headroom_agent_snapshots_total", "counter", &["rack"], "Snapshots made since the agent started."),
    (
        "headroom_agent_spool_memory_snapshots",
        "gauge",
        &["rack"],
        "Of the Snapshots in the spool those in memory only, lost if the agent ends.",
    ),
    ("headroom_agent_spool_bytes", "gauge", &["rack"], "Bytes of the Snapshots in the spool on disk."),
    (
        "headroom_agent_spool_dropped_total",
        "counter",
        &["rack"],
        "Snapshots dropped because the spool was full, they were too old or could not be read back.",
    ),
    (
        "headroom_agent_spool_thinned_total",
        "counter",
        &["rack"],
        "Snapshots left out of the oldest half of a full spool, every second one.",
    ),
    ("headroom_agent_spool_failures_total", "counter", &["rack"], "Attempts to write the spool that failed."),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::Signal;

    #[test]
    fn no_metric_takes_the_name_of_a_signal() {
        for (name, kind, _, help) in METRICS {
            let bare = name.strip_prefix("headroom_").expect("every metric carries the prefix");
            assert!(Signal::from_name(bare).is_none(), "{name}");
            assert_eq!(*kind == "counter", name.ends_with("_total"), "{name}");
            assert!(help.ends_with('.'));
        }
    }
}
