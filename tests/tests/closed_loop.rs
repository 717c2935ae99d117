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

#[test]
fn a_row_of_another_scenario_is_read_and_controlled_too() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("other.toml");
    let racks = ["left", "right"].map(|id| {
        format!("[[rack]]\nid = \"{id}\"\ngpus = 4\nworkload = \"batch\"\nlevel = [[0, 0.1], [2, 0.1], [5, 1.0]]\n")
    });
    let text = format!("site = \"hall\"\n[breaker]\nrating_amperes = 6.0\n{}", racks.concat());
    std::fs::write(&file, text).expect("a file");
    let (code, summary, story) = demonstration(&["--for", "15s", "--scenario", file.to_str().expect("text")]);
    assert_eq!(code, Some(0), "{story}\n{summary:#}");
    assert_eq!((number(&summary, "/racks"), number(&summary, "/gpus")), (2.0, 8.0));
    assert!(number(&summary, "/snapshots") >= 10.0 && number(&summary, "/receipts/applied") > 10.0, "{summary:#}");
    assert!(story.contains("left capped to") || story.contains("right capped to"), "{story}");
}
