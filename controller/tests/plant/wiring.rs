//! How a plant hangs together: phases, standbys, parents, meters.

use super::{check, example, line_of};

/// Two feeds with a panel, and on each the lines of a node `b1` or `b2`.
pub(super) fn two_feeds(node: &str, racks: &str) -> String {
    let panel = |side: &str, n: u32| {
        format!(
            "[[node]]\nid = \"panel-{side}\"\nkind = \"pdu\"\nfeed = \"{side}\"\nrating_amperes = 25\nvolts = 230\nphases = 3\n\
             [[node]]\nid = \"b{n}\"\nkind = \"breaker\"\nparent = \"panel-{side}\"\n{node}\n"
        )
    };
    panel("a", 1) + &panel("b", 2) + racks
}

pub(super) fn rack(n: u32, on: [&str; 2], more: &str) -> String {
    format!(
        "[[rack]]\nid = \"rack-{n}\"\npriority = \"training\"\ngpus = 8\noverhead_watts = 1700\ngpu_max_watts = 700\n\
         safe_gpu_watts = 350\nfeeds = [\n{{ node = \"{}\", share = 0.5, meter = \"pdu-a\"{more} }},\n\
         {{ node = \"{}\", share = 0.5, meter = \"pdu-b\"{more} }},\n]\n",
        on[0], on[1]
    )
}

const ONE: &str = "rating_amperes = 32\nvolts = 230\nphases = 1";

#[test]
fn a_cord_on_one_phase_of_three_must_say_on_which() {
    let (code, text) = check(&two_feeds(ONE, &rack(1, ["b1", "b2"], "")));
    assert_eq!(code, Some(2), "{text}");
    for part in ["plant.toml:37: \"b1\" has one phase and \"panel-a\" above it three", "add phases = \"L1\""] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    for phases in ["\"L2\"", "\"L1-L3\"", "[0, 1, 0]"] {
        let (code, text) = check(&two_feeds(ONE, &rack(1, ["b1", "b2"], &format!(", phases = {phases}"))));
        assert_ne!(code, Some(2), "{phases}: {text}");
    }
    for (phases, part) in
        [("[0.5, 0.5, 0]", "spread over L1-L2 and \"b1\" has one phase"), ("\"L1-L2-L3\"", "spread over L1-L2-L3")]
    {
        let (code, text) = check(&two_feeds(ONE, &rack(1, ["b1", "b2"], &format!(", phases = {phases}"))));
        assert!(code == Some(2) && text.contains(part), "{part} is not in\n{text}");
    }
}

#[test]
fn a_node_of_one_phase_is_on_the_same_one_for_all_that_hang_on_it_and_carries_none_of_three() {
    let racks = rack(1, ["b1", "b2"], ", phases = \"L1\"") + &rack(2, ["b1", "b2"], ", phases = \"L2\"");
    let (code, text) = check(&two_feeds(ONE, &racks));
    assert!(code == Some(2) && text.contains("is on L2 and another of \"b1\" on L1"), "{text}");
    let strip = "[[node]]\nid = \"strip\"\nkind = \"rack-pdu\"\nparent = \"b1\"\nrating_amperes = 16\nvolts = 230\n";
    let (code, text) = check(&two_feeds(ONE, &(strip.to_owned() + &rack(1, ["strip", "b2"], ", phases = \"L1\""))));
    assert!(code == Some(2) && text.contains("\"strip\" has three phases and hangs on \"b1\""), "{text}");
    // What is rated in watts has the phases of what feeds it.
    let strip = "[[node]]\nid = \"strip\"\nkind = \"rack-pdu\"\nparent = \"b1\"\nrating_watts = 3000\n";
    let (code, text) = check(&two_feeds(ONE, &(strip.to_owned() + &rack(1, ["strip", "b2"], ", phases = \"L1\""))));
    assert_ne!(code, Some(2), "{text}");
    let one = "feed = \"a\"\nrating_watts = 9000\nphases = 1\n";
    let (code, text) = check(&format!(
        "[[node]]\nid = \"b1\"\nkind = \"ups\"\n{one}{}",
        rack(1, ["b1", "b1"], "").replacen("pdu-b", "pdu-c", 1)
    ));
    assert_eq!(code, Some(1), "nobody needs a phase where there is but one: {text}");
}

/// A block behind a UPS with this standby, and another UPS.
fn block(standby: &str) -> String {
    let block = format!(
        "rating_watts = 1000\n[[node]]\nid = \"block\"\nkind = \"pdu\"\nparent = \"b1\"\nstandby = \"{standby}\"\nrating_watts = 15000\n[[node]]\nid = \"strip\"\nkind = \"rack-pdu\"\nparent = \"block\"\nrating_watts = 15000"
    );
    two_feeds("rating_watts = 15000", "").replacen(
        "rating_watts = 15000",
        &block.replacen("rating_watts = 1000", "rating_watts = 15000", 1),
        1,
    ) + &rack(1, ["strip", "block"], "")
}

#[test]
fn a_standby_is_neither_the_node_itself_nor_above_nor_below_it() {
    for (standby, part) in [
        ("block", "the standby of \"block\" is itself"),
        ("b1", "the standby of \"block\" is above it"),
        ("panel-a", "the standby of \"block\" is above it"),
        ("strip", "the standby of \"block\" is below it"),
    ] {
        let (code, text) = check(&block(standby));
        assert!(code == Some(2) && text.contains(part), "{part} is not in\n{text}");
    }
    let (code, text) = check(&block("b2"));
    assert!(code != Some(2) && !text.contains("alone"), "{text}");
    // The same feed fails as a whole.
    let (_, text) = check(&block("b2").replace("feed = \"b\"", "feed = \"a\""));
    assert!(text.contains("\"rack-1\" hangs on feed \"a\" alone"), "{text}");
}

#[test]
fn one_meter_is_the_meter_of_one_node_and_of_one_cord() {
    let good = std::fs::read_to_string(example("2n")).unwrap();
    let bad = good.replacen("meter = \"rack-2/ups-b\"", "meter = \"rack-1/ups-a\"", 1).replacen(
        "share = 0.5, meter = \"pdu-b\"",
        "share = 0.5, meter = \"pdu-a\"",
        1,
    );
    let (code, text) = check(&bad);
    assert_eq!(code, Some(2), "{text}");
    for (line, part) in [
        (line_of(&good, "rack-2/ups-b"), "meter = \"rack-1/ups-a\" is the meter of another node"),
        (line_of(&good, "meter = \"pdu-b\""), "meter = \"pdu-a\" is the meter of another feed"),
    ] {
        assert!(text.contains(&format!("plant.toml:{line}: {part}")), "{line}: {part} is not in\n{text}");
    }
}

#[test]
fn an_id_used_twice_hides_no_circle() {
    let good = std::fs::read_to_string(example("2n")).unwrap();
    for at in [0, 1] {
        // The first or the second of the two is the one that hangs in a circle.
        let twice = "[[node]]\nid = \"ups-a\"\nkind = \"ups\"\nparent = \"branch-a-1\"\nrating_watts = 60000\n";
        let bad = if at == 0 { format!("{twice}{good}") } else { good.clone() + twice };
        let (code, text) = check(&bad);
        for part in ["\"ups-a\" is used twice", "hang in a circle"] {
            assert!(code == Some(2) && text.contains(part), "{at}: {part} is not in\n{text}");
        }
    }
}

#[test]
fn a_setting_that_would_not_count_is_a_mistake() {
    let good = std::fs::read_to_string(example("2n")).unwrap();
    for (old, new, parts) in [
        ("isd = 4 ", "# ", ["`tsd_s` has no effect on electronic-lsi: without isd", "add isd, the short-time pickup"]),
        (
            "tr_s = 8 ",
            "ir = 0.8\ntr_s = 8 ",
            ["ir = 0.8: the rating of a node is", "write rating_amperes = 64, if In is 80 A"],
        ),
        (
            "curve = \"iec60947-tm\"",
            "curve = \"iec60947-tm\"\ntr_s = 8",
            ["`tr_s` has no effect on iec60947-tm", "remove tr_s"],
        ),
        (
            "curve = \"iec60947-tm\"",
            "curve = \"iec60947-tm\"\nii = 30",
            ["ii = 30 is not a pickup that such coils have", "as a multiple of In"],
        ),
        ("curve = \"iec60898-c\"", "curve = \"iec60898-c\"\nii = 8", ["`ii` has no effect on iec60898-c", "remove ii"]),
        ("curve = \"ups-125-10min-150-60s\"", "isd = 2", ["`isd` has no effect on ups-market", "remove isd"]),
    ] {
        let bad = good.replacen(old, new, 1);
        let (code, text) = check(&bad);
        for part in parts {
            assert!(code == Some(2) && text.contains(part), "{part} is not in\n{text}");
        }
    }
    let (code, text) = check(&good.replacen("curve = \"iec60947-tm\"", "curve = \"iec60947-tm\"\nii = 8", 1));
    assert_eq!(code, Some(0), "{text}");
}

#[test]
fn an_overload_table_of_a_data_sheet_stands_in_for_a_family_and_its_mistakes_are_told() {
    let good = std::fs::read_to_string(example("2n")).unwrap();
    let ups = "curve = \"ups-125-10min-150-60s\" ";
    let with = |new: &str| check(&good.replacen(ups, new, 1));
    let (code, text) = with("overload = [[1.1, 600], [1.25, 60], [1.5, 0.5]] ");
    assert_eq!(code, Some(0), "{text}");
    for (new, part) in [
        ("overload = [[1.1, 600], [1.25]] ", "a row that is no pair"),
        ("overload = [] ", "there is no load in it"),
        ("overload = [[1.25, 600], [1.1, 60], [1.5, 80]] ", "loads must rise: 1.25 comes before 1.1"),
        ("overload = [[1.25, 600], [1.1, 60], [1.5, 80]] ", "seconds must fall: 60 comes before 80"),
        (
            "overload = [[1.1, 600]]\nisd = 2\nambient_celsius = 30\ncurve = \"ups-market\" ",
            "overload and curve, isd are both there",
        ),
        ("overload = [[1.1, 600]]\nambient_celsius = 30 ", "ambient_celsius has no effect beside overload"),
        ("overload = \"long\" ", "a list of lists of numbers"),
    ] {
        let (code, text) = with(new);
        assert!(code == Some(2) && text.contains(part), "{part} is not in\n{text}");
        assert!(!text.contains("is not known"), "{text}");
    }
    let breaker = good.replacen("curve = \"iec60898-c\"\nambient_celsius = 35", "overload = [[5, 0.02]]", 1);
    assert!(check(&breaker).1.contains("no load is borne for 1 s or more"), "{}", check(&breaker).1);
}
