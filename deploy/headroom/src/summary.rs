//! Merges what the plant and the controller say of the run into one JSON object.

use serde_json::{Value, json};

/// The run as a whole. The plant is the judge of trips and overloads; the controller tells what it did.
pub fn merge(plant: &Value, controller: &Value, clean: bool) -> Value {
    let times: Vec<f64> =
        plant["overload_to_cap_ms"].as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
    let mut merged = controller.clone();
    for key in ["racks", "gpus", "seconds", "overloads", "overload_seconds", "peak_load_ratio", "lost_work_gpu_seconds"]
    {
        merged[key] = plant[key].clone();
    }
    merged["trips"] = json!(plant["trips"].as_array().map_or(0, Vec::len));
    merged["trip_events"] = plant["trips"].clone();
    merged["overload_to_cap_ms"] = quantiles(times);
    merged["clean_stop"] = json!(clean);
    merged
}

/// p50, p99 and max by the nearest rank; null when there was no overload to cap.
fn quantiles(mut values: Vec<f64>) -> Value {
    values.sort_by(f64::total_cmp);
    let rank = |q: f64| values.get(((values.len() as f64 * q).ceil() as usize).saturating_sub(1)).copied();
    json!({ "p50": rank(0.50), "p99": rank(0.99), "max": values.last(), "n": values.len() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_overload_is_no_number() {
        assert_eq!(quantiles(vec![])["p99"], Value::Null);
        assert_eq!(quantiles(vec![3.0, 1.0, 2.0])["p50"], 2.0);
    }

    #[test]
    fn trips_come_from_the_plant() {
        let plant = json!({"trips": [{"breaker": "breaker-a", "at_s": 50.0}], "overload_to_cap_ms": [900.0]});
        let merged = merge(&plant, &json!({"orders": 7}), true);
        assert_eq!((&merged["trips"], &merged["orders"]), (&json!(1), &json!(7)));
        assert_eq!(merged["overload_to_cap_ms"]["max"], 900.0);
    }
}
