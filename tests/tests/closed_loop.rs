//! The whole loop over the real protocols: with control nothing trips, without it the row does.

use headroom_tests::demonstration;
use serde_json::Value;

fn number(summary: &Value, path: &str) -> f64 {
    summary.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("{path} missing in {summary:#}"))
}

#[test]
fn an_overload_ramp_is_capped_and_nothing_trips() {
    let (code, summary, story) = demonstration(&["--for", "60s"]);
    assert_eq!(code, Some(0), "{story}\n{summary:#}");
    assert_eq!(number(&summary, "/trips"), 0.0);
    assert_eq!((number(&summary, "/racks"), number(&summary, "/gpus")), (4.0, 32.0));
    assert!(number(&summary, "/receipts/applied") > 500.0, "{summary:#}");
    assert!(number(&summary, "/snapshots") > 150.0, "{summary:#}");
    assert!(number(&summary, "/points_recorded") > 10_000.0, "{summary:#}");
    assert_eq!(summary["gpus_at_safe_limit"], Value::Bool(true));
    for words in ["ramps from", "capped to", "released", "stopped cleanly"] {
        assert!(story.contains(words), "{words:?} missing in\n{story}");
    }
}

#[test]
fn the_same_minute_without_control_trips() {
    let (code, summary, story) = demonstration(&["--for", "60s", "--control", "off"]);
    assert_eq!(code, Some(1), "{story}");
    assert!(number(&summary, "/trips") >= 1.0, "{story}\n{summary:#}");
    assert_eq!(number(&summary, "/orders"), 0.0);
}
