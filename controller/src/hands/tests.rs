//! Commands against the default row.

use super::*;
use crate::config;
use headroom_controller_core::automation::{Stop, Why};

fn desk(set: BTreeMap<String, Setting>) -> Desk {
    let config = config::parse("controller.toml", config::DEFAULT).unwrap();
    let topology = config::core_topology(&config.tree).unwrap();
    Desk::new(&config, &topology, set)
}

fn command(json: serde_json::Value) -> Command {
    serde_json::from_value(json).unwrap()
}

fn pin(at: &str, watts: f64) -> Command {
    command(serde_json::json!({"do": "pin", "at": at, "watts": watts, "by": "kim\n", "note": "fan change"}))
}

#[test]
fn what_is_set_by_hand_reaches_the_decision_and_is_told_with_who_and_why() {
    let mut desk = desk(BTreeMap::new());
    let said = desk.take(&pin("rack-2", 4000.0), UnixMs::new(7)).unwrap();
    assert_eq!(said, "kim pins rack-2 to 4000 W: fan change");
    desk.take(&pin("breaker-a", 9000.0), UnixMs::new(8)).unwrap();
    desk.take(&command(serde_json::json!({"do": "advise", "at": "rack-2"})), UnixMs::new(9)).unwrap();
    let hands = desk.over(&Stops::default());
    let hand = Hand { pin: Some(Watts::new(4000.0)), advisory: true };
    assert_eq!(hands.racks, [(RackId::new("rack-2").unwrap(), hand)].into());
    assert_eq!(hands.nodes.len(), 1);
    assert!(hands.safe.is_empty());
    desk.take(&command(serde_json::json!({"do": "release", "at": "rack-2"})), UnixMs::new(9)).unwrap();
    assert!(desk.over(&Stops::default()).racks.is_empty());
}

#[test]
fn a_command_that_makes_no_sense_says_what_would() {
    let mut desk = desk(BTreeMap::new());
    let mut why = |command: Command| desk.take(&command, UnixMs::new(1)).unwrap_err();
    assert!(why(pin("rack-9", 4000.0)).contains("there are ups-a, ups-b"), "{}", why(pin("rack-9", 4000.0)));
    assert!(why(pin("rack-1", 3000.0)).contains("write 3300 (the floor"), "{}", why(pin("rack-1", 3000.0)));
    assert!(why(pin("breaker-a", 1e6)).contains("to 11520 (its rating)"), "{}", why(pin("breaker-a", 1e6)));
    for nonsense in [f64::NAN, f64::INFINITY, -1.0, 0.0] {
        let asked = Command::Pin { at: "ups-a".into(), watts: nonsense, by: String::new(), note: String::new() };
        assert!(why(asked).contains("cannot be pinned"));
    }
    assert!(why(command(serde_json::json!({"do": "release", "at": "rack-1"}))).contains("nothing is set"));
    let unknown: Result<Command, _> = serde_json::from_value(serde_json::json!({"do": "pin", "at": "x", "wats": 1}));
    assert!(unknown.unwrap_err().to_string().contains("wats"));
}

#[test]
fn what_an_earlier_run_left_is_taken_over_as_far_as_the_plant_still_has_it() {
    let setting =
        Setting { pin_watts: None, advisory: true, by: String::new(), note: String::new(), since: UnixMs::new(1) };
    let kept = desk([("rack-1".to_owned(), setting.clone()), ("gone".to_owned(), setting)].into());
    assert_eq!(kept.set().keys().collect::<Vec<_>>(), ["rack-1"]);
    let stop = Stop { why: Why::Changes, seen: String::new(), since: UnixMs::new(1) };
    let held = Stops { whole: None, racks: [(RackId::new("rack-3").unwrap(), stop.clone())].into() };
    assert_eq!(kept.over(&held).safe.len(), 1);
    assert_eq!(kept.over(&Stops { whole: Some(stop), ..held }).safe.len(), 4);
}
