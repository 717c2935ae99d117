//! How a plant hangs together: phases, standbys, parents, meters.

use super::check;

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
    for part in ["plant.toml:32: \"b1\" has one phase and \"panel-a\" above it three", "add phases = \"L1\""] {
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
