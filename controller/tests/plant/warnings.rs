//! What is worth a second look in a plant that can be read.

use super::wiring::{rack, two_feeds};
use super::{check, example, line_of, said, topology};

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

/// The 2N plant with one thing changed.
fn changed(old: &str, new: &str) -> String {
    let good = std::fs::read_to_string(example("2n")).unwrap();
    assert!(good.contains(old), "{old}");
    good.replacen(old, new, 1)
}

#[test]
fn one_mistake_does_not_hide_the_warnings_unless_the_tree_falls_apart() {
    let plant = changed("meter = \"rack-1/ups-a\"", "metre = \"rack-1/ups-a\"");
    let (code, text) = check(&plant);
    assert_eq!(code, Some(2), "{text}");
    for part in ["`metre` in", "warning: plant.toml:", "\"ups-a\" has no meter", "1 mistake in the topology, 1 warning"]
    {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    let (code, text) = check(&plant.replacen("curve = \"iec60898-c\"", "curve = \"iec60898-x\"", 1));
    assert!(code == Some(2) && text.contains("warnings come when the tree can be built"), "{text}");
}

#[test]
fn a_plant_in_a_file_of_its_own_has_its_warnings_at_its_own_lines() {
    let dir = tempfile::tempdir().unwrap();
    let plant = changed("meter = \"rack-1/ups-a\"", "");
    std::fs::write(dir.path().join("plant.toml"), &plant).unwrap();
    let config = dir.path().join("controller.toml");
    std::fs::write(&config, "site = \"demo\"\n[topology]\nfile = \"plant.toml\"\n").unwrap();
    let text = said(&topology(&["check", config.to_str().unwrap()]));
    let place = format!("plant.toml:{}: \"ups-a\" has no meter", line_of(&plant, "id = \"ups-a\""));
    assert!(text.contains(&place), "{place} is not in\n{text}");
}

#[test]
fn volts_between_lines_cooling_that_is_too_small_and_a_feed_below_another_are_looked_at() {
    for (old, new, part) in [
        (
            "volts = 240 ",
            "volts = 415 ",
            "\"switchboard-a\" has volts = 415 on three phases: volts is phase to neutral",
        ),
        ("volts = 240 ", "volts = 208 ", "write volts = 120, or it is rated 73 % too high"),
        (
            "capacity_watts = 30000",
            "capacity_watts = 300",
            "\"row-cooling\" removes 0.3 kW once its largest unit is lost",
        ),
        (
            "parent = \"busway-b\"",
            "parent = \"busway-b\"\nfeed = \"c\"",
            "\"branch-b-1\" is on feed \"c\" and hangs on \"busway-b\" of feed \"b\"",
        ),
    ] {
        let (code, text) = check(&changed(old, new));
        assert!(code == Some(1) && text.contains(part), "{part} is not in\n{text}");
    }
    for volts in ["277", "347", "230", "120"] {
        let (_, text) = check(&changed("volts = 240 ", &format!("volts = {volts} ")));
        assert!(!text.contains("phase to neutral"), "{volts}: {text}");
    }
    let plant = changed("capacity_watts = 30000", "capacity_watts = 300")
        .replace("capacity_watts = 30000", "capacity_watts = 300");
    assert!(check(&plant).1.contains("removes 0.6 kW and its racks give off 19.6 kW with every GPU at its safe share"));
}

#[test]
fn names_in_the_diagram_have_room_before_the_next_symbol() {
    let long = "dc1-hall2-row03-branch-circuit-breaker-";
    let plant = changed("", "").replace("branch-", long);
    let dir = tempfile::tempdir().unwrap();
    let (path, svg) = (dir.path().join("plant.toml"), dir.path().join("plant.svg"));
    std::fs::write(&path, plant).unwrap();
    topology(&["show", path.to_str().unwrap(), "--svg", svg.to_str().unwrap()]);
    let svg = std::fs::read_to_string(svg).unwrap();
    assert!(svg.contains(&format!("<title>{long}a-1</title>")), "the whole name is a title");
    // Words by row: where each begins, and how much they need.
    let mut words: Vec<(i64, f64, f64)> = Vec::new();
    for text in svg.split("<text x=\"").skip(1).filter(|t| t.contains("paint-order") && t.contains("bold")) {
        let number = |from: &str| from.split('"').next().unwrap().parse::<f64>().unwrap();
        let y = number(text.split("y=\"").nth(1).unwrap());
        let name = text.split('>').nth(1).unwrap().split('<').next().unwrap();
        words.push((y as i64, number(text), name.chars().count() as f64 * 6.5));
    }
    words.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
    assert!(words.len() >= 17);
    for pair in words.windows(2).filter(|w| w[0].0 == w[1].0) {
        assert!(pair[0].1 + pair[0].2 < pair[1].1 - 20.0, "{pair:?}");
    }
}
