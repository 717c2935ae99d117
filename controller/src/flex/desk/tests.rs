//! The desk against Plans made by hand: two feeds of the default row, times given.

use super::*;
use crate::config;
use crate::flex::message::Wish;
use headroom_rack::{Cap, DeviceId, Generation, LimitKind, Mode, NodeView, Quality};
use serde_json::json;

const RULE: Rule = Rule { threshold: 0.02, after: Duration::from_secs(10), escalate_after: Duration::from_secs(60) };

fn desk() -> Desk {
    desk_from(State::default())
}

fn desk_from(state: State) -> Desk {
    let config = config::parse("d", config::DEFAULT).unwrap();
    let topology = config::core_topology(&config.tree).unwrap();
    let feed = |tag: &str, node: &str| Feed {
        tag: tag.into(),
        group: NodeId::new(format!("feed-{tag}")).unwrap(),
        nodes: vec![NodeId::new(node).unwrap()],
        minimum: Watts::ZERO,
        maximum: Watts::new(30_000.0),
        default: Watts::new(30_000.0),
    };
    let feeds = vec![feed("main-a", "ups-a"), feed("main-b", "ups-b")];
    Desk::new(Options { rule: RULE, feeds, actions: vec!["SHUTDOWN_NODES".into()] }, topology, state)
}

/// Each feed carries `load`; each rack may draw `budget` and would draw 7000 W.
fn plan(load: f64, budget: f64) -> Plan {
    let node = |id: &str| NodeView {
        node: NodeId::new(id).unwrap(),
        power: Watts::new(load),
        quality: Quality::Measured,
        expected: Watts::new(load),
        limit: Watts::new(30_000.0),
        limit_kind: LimitKind::Continuous,
        rating: Watts::new(30_000.0),
        time_to_trip_s: None,
        trip_used: 0.0,
        battery: None,
    };
    let cap = |rack: u32| Cap {
        rack: RackId::new(format!("rack-{rack}")).unwrap(),
        budget: Watts::new(budget),
        gpus: (0..8).map(|g| (DeviceId::gpu(g), Watts::new((budget - 1700.0) / 8.0))).collect(),
        bound_by: NodeId::new("feed-main-a").unwrap(),
        kind: LimitKind::External,
        margin: Watts::ZERO,
        margin_s: None,
        expected: Watts::new(7000.0),
        binding: true,
    };
    Plan {
        generation: Generation::default(),
        at: UnixMs::new(0),
        mode: Mode::Automatic,
        caps: (1..=4).map(cap).collect(),
        nodes: vec![node("ups-a"), node("ups-b")],
    }
}

fn seen(power: f64, limit: f64) -> BTreeMap<RackId, RackSeen> {
    let rack = RackSeen { power: Some(Watts::new(power)), limit: Some(Watts::new(limit)) };
    (1..=4).map(|r| (RackId::new(format!("rack-{r}")).unwrap(), rack)).collect()
}

fn command(name: &str, limit: Option<f64>, end: Option<u64>) -> Command {
    Command {
        by: "acme".into(),
        names: vec![name.into()],
        stale: UnixMs::new(1_000_000),
        again: false,
        wishes: vec![Wish {
            feeds: vec!["main-a".into()],
            limit: limit.map(Watts::new),
            start: None,
            end: end.map(UnixMs::new),
            best_effort: false,
        }],
        correlation: "00000000-0000-4000-8000-000000000001".into(),
        trace: Trace::default(),
    }
}

fn at(s: u64) -> (Mono, UnixMs) {
    (Mono::from_ms(s * 1000), UnixMs::new(s * 1000))
}

fn events(told: &[Telling]) -> Vec<String> {
    let states = told.iter().filter(|t| t.channel == Channel::PowerState);
    states.map(|t| t.data["feeds"]["main-a"]["event"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_target_is_told_from_its_arrival_to_its_release_and_every_30_s() {
    let mut desk = desk();
    let mut all = Vec::new();
    for s in 0..100 {
        let (now, wall) = at(s);
        if s == 10 {
            assert_eq!(desk.hear(&command("1", Some(9000.0), Some(40_000)), wall).unwrap(), "acme sets main-a 9.0 kW");
        }
        let held = (12..42).contains(&s);
        let load = if held { 9000.0 } else { 12_000.0 };
        let limits = desk.limits(wall);
        assert_eq!(limits[0].1, (10..40).contains(&s).then_some(Watts::new(9000.0)), "at {s} s");
        assert_eq!(limits[1].1, None);
        let told = desk.tell(&plan(load, 4500.0), &seen(6000.0, 500.0), now, wall);
        all.extend(events(&told).into_iter().map(|event| (s, event)));
        for telling in told.iter().filter(|_| (15..40).contains(&s)) {
            assert_eq!(telling.data["feeds"]["main-a"]["targets"][0]["active"], true);
            assert_eq!(telling.correlation.as_deref(), Some("00000000-0000-4000-8000-000000000001"));
        }
    }
    let all: Vec<(u64, &str)> = all.iter().map(|(s, event)| (*s, event.as_str())).collect();
    let expected = [
        (0, "periodic"),
        (10, "target_set"),
        (10, "start_ramp_down"),
        (14, "end_ramp_down"),
        (30, "periodic"),
        (40, "start_ramp_up"),
        (42, "end_ramp_up"),
        (60, "periodic"),
        (90, "periodic"),
    ];
    assert_eq!(all, expected);
}

#[test]
fn the_same_message_is_taken_once_also_after_a_restart() {
    let mut first = desk();
    let (_, wall) = at(1);
    first.hear(&command("1", Some(9000.0), None), wall).unwrap();
    let again = Command { again: true, ..command("1", None, None) };
    assert_eq!(first.hear(&again, wall), Err(None), "the broker's own repetition is nobody's fault");
    let refused = first.hear(&command("1", None, None), wall).unwrap_err().unwrap();
    assert_eq!(refused.why, Why::Replayed);
    first.note(refused, wall);
    assert!(first.findings(wall)[0].key.starts_with("flex_refused:acme:replayed"));
    assert!(first.findings(UnixMs::new(1000 + REMEMBER_REFUSAL)).is_empty());
    let saved: State = serde_json::from_str(&serde_json::to_string(&first.to_save().unwrap()).unwrap()).unwrap();
    assert!(first.to_save().is_none());
    let mut second = desk_from(saved);
    assert_eq!(second.limits(wall)[0].1, Some(Watts::new(9000.0)));
    assert_eq!(second.hear(&command("1", None, None), wall).unwrap_err().unwrap().why, Why::Replayed);
    assert!(second.hear(&command("1", None, None), UnixMs::new(1_000_001)).is_ok(), "the gate refuses it by then");
}

#[test]
fn a_missed_target_is_a_breach_with_one_name_what_to_shed_and_what_was_enforced() {
    let mut desk = desk();
    desk.hear(&command("1", Some(9000.0), Some(80_000)), at(0).1).unwrap();
    let mut told: Vec<(u64, Telling)> = Vec::new();
    for s in 0..90 {
        let (now, wall) = at(s);
        desk.limits(wall);
        let load = if s < 40 { 11_000.0 } else { 9000.0 };
        let mut racks = seen(5500.0, 350.0);
        racks.insert(RackId::new("rack-2").unwrap(), RackSeen::default());
        let now_told = desk.tell(&plan(load, 4500.0), &racks, now, wall);
        told.extend(now_told.into_iter().filter(|t| t.channel != Channel::PowerState).map(|t| (s, t)));
        assert_eq!(desk.findings(wall).len(), usize::from((10..43).contains(&s)), "at {s} s");
    }
    let words: Vec<(u64, Channel, &str)> = told
        .iter()
        .map(|(s, t)| (*s, t.channel, t.data.get("status").or(t.data.get("action")).unwrap().as_str().unwrap()))
        .collect();
    let (breach, enforcement) = (Channel::Breach, Channel::Enforcement);
    let expected = [
        (10, breach, "active"),
        (11, breach, "escalated"),
        (15, enforcement, "applied"),
        (43, breach, "resolved"),
        (43, enforcement, "reverted"),
    ];
    assert_eq!(words, expected);
    let id = &told[0].1.data["breach"]["breach_id"];
    assert!(told.iter().all(|(_, t)| t.data.get("breach").map_or(&t.data["breach_id"], |b| &b["breach_id"]) == id));
    let active = &told[0].1.data;
    assert_eq!((&active["severity"], &active["infrastructure_actions"]), (&json!("critical"), &json!([])));
    assert_eq!(active["shed_hints"][3]["priority"], 4);
    assert_eq!(active["shed_hints"][0]["target_power"], json!({ "value": 4500.0, "unit": "watt" }));
    assert_eq!(told[1].1.data["infrastructure_actions"], json!(["SHUTDOWN_NODES"]));
    let enforced = &told[2].1.data;
    assert_eq!((&enforced["code"], &enforced["results"][1]["code"]), (&json!("partial"), &json!("failed")));
    assert_eq!(enforced["results"][0]["applied_power"]["value"], 4500.0);
    assert!(told[3].1.data.get("shed_hints").is_none() && told[3].1.data["breach"]["resolved_at"].is_string());
}

fn slots(count: u64) -> Command {
    let wish = |i: u64| Wish {
        feeds: vec!["main-a".into()],
        limit: Some(Watts::new(9000.0)),
        start: Some(UnixMs::new((1 + i) * 900_000)),
        end: Some(UnixMs::new((2 + i) * 900_000)),
        best_effort: false,
    };
    Command { wishes: (0..count).map(wish).collect(), ..command(&format!("{count} slots"), None, None) }
}

#[test]
fn a_days_schedule_is_one_message_and_it_is_taken_as_a_whole_or_not_at_all() {
    let (mut desk, (now, wall)) = (desk(), at(1));
    desk.hear(&slots(96), wall).unwrap();
    assert_eq!(desk.to_save().unwrap().schedule.len(), 96);
    let told = desk.tell(&plan(9000.0, 4500.0), &seen(6000.0, 500.0), now, wall);
    assert_eq!(events(&told), ["target_set", "periodic"]);
    assert_eq!(told[0].data["feeds"]["main-a"]["targets"].as_array().unwrap().len(), 96);
    assert_eq!(desk.hear(&slots(600), wall).unwrap_err().unwrap().why, Why::Full);
    assert_eq!(desk.state.schedule.len(), 96);
    assert!(desk.hear(&slots(500), wall).unwrap().ends_with("492 more"));
    let emergency = Command { names: vec!["now".into()], ..command("", Some(5000.0), Some(900_000)) };
    desk.hear(&slots(512), wall).unwrap();
    assert!(desk.hear(&emergency, wall).unwrap().ends_with("the 1 that begin last give way"));
    assert_eq!(desk.limits(wall)[0].1, Some(Watts::new(5000.0)));
}

#[test]
fn after_a_restart_an_unchanged_target_is_no_new_event() {
    let mut first = desk();
    first.hear(&command("1", Some(9000.0), None), at(0).1).unwrap();
    for s in 0..10 {
        first.tell(&plan(9000.0, 4500.0), &seen(6000.0, 500.0), at(s).0, at(s).1);
    }
    let saved = serde_json::to_string(&first.to_save().unwrap()).unwrap();
    let mut second = desk_from(serde_json::from_str(&saved).unwrap());
    let told = second.tell(&plan(9000.0, 4500.0), &seen(6000.0, 500.0), Mono::from_ms(5), at(20).1);
    assert_eq!(events(&told), ["periodic"]);
    let feed = &told[0].data["feeds"]["main-a"];
    assert_eq!(
        (&feed["power_event_start_time"], &feed["in_flight"]),
        (&json!("1970-01-01T00:00:00.000Z"), &json!(false))
    );
}

#[test]
fn a_breach_goes_out_in_the_trace_of_the_target_that_is_missed() {
    let mut desk = desk();
    let trace = |c: char| {
        let json = json!({ "id": c.to_string().repeat(32), "flags": "01", "state": null });
        serde_json::from_value::<Trace>(json).unwrap()
    };
    desk.hear(&Command { trace: trace('a'), ..command("1", Some(9000.0), None) }, at(0).1).unwrap();
    let mut other = Command { by: "small".into(), trace: trace('b'), ..command("2", Some(9000.0), None) };
    other.correlation = "00000000-0000-4000-8000-000000000002".into();
    other.wishes[0].feeds = vec!["main-b".into()];
    desk.hear(&other, at(1).1).unwrap();
    let step = |s| desk.tell(&plan(9500.0, 4500.0), &seen(6000.0, 500.0), at(s).0, at(s).1);
    let told: Vec<Telling> = (2..30).flat_map(step).filter(|t| t.channel != Channel::PowerState).collect();
    assert_eq!(told.len(), 4);
    for telling in told {
        let acme = telling.correlation.as_deref() == Some("00000000-0000-4000-8000-000000000001");
        assert_eq!(telling.trace, trace(if acme { 'a' } else { 'b' }));
    }
}
