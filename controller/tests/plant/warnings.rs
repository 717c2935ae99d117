//! What is worth a second look in a plant that can be read.

use super::wiring::{rack, two_feeds};
use super::{check, said, topology};

#[test]
fn the_fullest_phase_is_held_against_the_rating_of_one() {
    let racks: String = (1..=3).map(|n| rack(n, ["panel-a", "panel-b"], ", phases = \"L1\"")).collect();
    let plant = two_feeds("rating_watts = 1000", &racks);
    let (code, text) = check(&plant);
    // 29 A of 25 A; all three phases together carry a third of what they may.
    let part = "\"panel-a\" carries 6.8 kW on L1 with every GPU at its safe share, rated 5.8 kW per phase";
    assert!(code == Some(1) && text.contains(part), "{text}");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("plant.toml");
    std::fs::write(&path, &plant).unwrap();
    let drawn = said(&topology(&["show", path.to_str().unwrap()]));
    let part = "nameplate 190 % on L1, safe 117 % on L1, safe after a loss 235 % on L1";
    assert!(drawn.contains(part), "{drawn}");
}

#[test]
fn the_phase_of_a_standby_that_takes_over_is_held_against_it_as_well() {
    let plant = two_feeds("rating_watts = 1000", &rack(1, ["block", "block"], ", phases = \"L2\""));
    let block =
        "[[node]]\nid = \"block\"\nkind = \"pdu\"\nparent = \"panel-a\"\nstandby = \"b2\"\nrating_watts = 30000\n";
    let (_, text) = check(&(block.to_owned() + &plant).replace("rating_watts = 1000", "rating_watts = 12000"));
    let part = "\"b2\" carries 4.5 kW on L2 with every GPU at its safe share once another feed is lost, rated 4.0 kW per phase";
    assert!(text.contains(part), "{text}");
}
