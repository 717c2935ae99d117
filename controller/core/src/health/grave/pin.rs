//! Pins that are lowered: whoever set one counts on it, and must hear what was stronger and what is left.

use super::{BELOW, Facts, PATIENCE, Sign};
use headroom_rack::{Cap, LimitKind, Mode, Severity, Watts};

/// Limits of GPUs are whole watts: nearer to its pin a rack has what was pinned.
const KEPT: f64 = 0.995;

/// Pinned racks that get less.
pub(super) fn lowered(facts: &Facts<'_>) -> Vec<Sign> {
    // Nothing is sent, so nothing is taken away.
    if facts.plan.mode == Mode::Advisory {
        return Vec::new();
    }
    let pinned = facts.plan.caps.iter().filter_map(|cap| Some((cap, *facts.pins.get(&cap.rack)?)));
    pinned.filter_map(|(cap, pin)| sign(cap, pin)).collect()
}

fn sign(cap: &Cap, pin: Watts) -> Option<Sign> {
    // Where nothing is stronger than the pin, the rack is let up to it slowly, as any other.
    let rises = cap.bound_by.as_str() == "pin" || cap.kind == LimitKind::Device;
    (!rises && cap.budget < pin * KEPT).then(|| Sign {
        kind: "pin_lowered",
        subject: cap.rack.to_string(),
        severity: Severity::Warning,
        patience: PATIENCE,
        words: (cap.budget < pin * BELOW).then(|| words(cap, pin)),
    })
}

fn words(cap: &Cap, pin: Watts) -> (String, String) {
    let by = match cap.bound_by.as_str() {
        "safe-share" => "the automation stopped itself and holds it at its safe share".to_owned(),
        "policy" => "the policy has a lower ceiling for its GPUs".to_owned(),
        by => format!("what lowers it is {by}, {}", cap.kind.words()),
    };
    let (rack, pin, budget) = (&cap.rack, pin.get(), cap.budget.get());
    (
        format!("{rack} is pinned to {pin:.0} W and lowered to {budget:.0} W"),
        format!("{by}: the pin holds again by itself when that is over; release it or pin it lower if it will not be"),
    )
}

#[cfg(test)]
mod tests {
    use crate::topology::tests::row;
    use crate::{Decider, Facts, Fleet, Hand, Hands, Health, Policy};
    use headroom_rack::{
        DeviceId, Finding, Generation, Mode, Mono, RackId, Reading, Severity, Signal, SignalPath, Snapshot, UnixMs,
        Watts,
    };
    use std::collections::BTreeMap;

    /// Four racks that want 700 W a GPU and draw what they may.
    fn heard(limits: &[f64; 4], second: u64) -> Fleet {
        let (at, now) = (UnixMs::new(1000 * second), Mono::from_ms(1000 * second));
        let mut fleet = Fleet::new(&row());
        for (i, limit) in limits.iter().enumerate() {
            let reading = |device, signal, watts| (SignalPath::new(device, signal), Reading::new(watts, at));
            let gpus = (0..8).flat_map(|g| {
                [Signal::GpuPower, Signal::GpuLimitEnforced].map(|signal| reading(DeviceId::gpu(g), signal, *limit))
            });
            let cords = ["pdu-a", "pdu-b"]
                .map(|pdu| reading(DeviceId::new(pdu).unwrap(), Signal::PduPower, (8.0 * limit + 1700.0) / 2.0));
            let (rack, readings) = (rack(i + 1), gpus.chain(cords).collect());
            let receipts = Vec::new();
            fleet.fold(&Snapshot { rack, boot: 1, seq: second, at, historical: false, readings, receipts }, now);
        }
        fleet
    }

    fn rack(number: usize) -> RackId {
        RackId::new(format!("rack-{number}")).unwrap()
    }

    /// What is open of it in each second while rack-4 is pinned to 5700 W and, from 60 to 119 s, the site may draw
    /// 15 kW: at their floors of 3300 W the others leave 5100 W.
    fn run(advisory: bool) -> Vec<Option<Finding>> {
        let topology = row();
        let (mut decider, mut health) = (Decider::new(topology.clone(), Policy::default()), Health::new(&topology));
        let hand = Hand { pin: Some(Watts::new(5700.0)), advisory };
        let hands = Hands { racks: [(rack(4), hand)].into(), ..Hands::default() };
        decider.set_hands(&hands);
        let pins = hands.pins(&hands.advised(&topology));
        let mut limits = [400.0; 4];
        let second = |second| {
            let (now, at) = (Mono::from_ms(1000 * second), UnixMs::new(1000 * second));
            let target = (60..120).contains(&second).then(|| Watts::new(15_000.0));
            decider.set_target(target);
            let fleet = heard(&limits, second);
            let generation = Generation { epoch: 1, counter: second };
            let plan = decider.decide(&fleet, &BTreeMap::new(), now, at, generation, Mode::Automatic);
            limits = std::array::from_fn(|r| plan.caps[r].gpus[0].1.get());
            let policy = decider.policy();
            let (advice, pins) = (&[][..], &pins);
            let facts = Facts { plan: &plan, coolants: &[], advice, fleet: &fleet, policy, site: target, pins };
            health.decided(facts, now);
            health.findings(now, at).into_iter().find(|f| f.kind == "pin_lowered")
        };
        (1..=240).map(second).collect()
    }

    #[test]
    fn whoever_pinned_a_rack_is_told_what_lowers_it_and_to_what_until_it_holds_again() {
        let seen = run(false);
        let open: Vec<usize> = (1..=240).filter(|second| seen[second - 1].is_some()).collect();
        let (first, last) = (open[0], open[open.len() - 1]);
        assert!((60..75).contains(&first) && (145..170).contains(&last), "{first} to {last} s");
        assert_eq!(open, (first..=last).collect::<Vec<_>>());
        let found = seen[99].as_ref().unwrap();
        assert_eq!((found.key.as_str(), found.severity), ("pin_lowered:rack-4", Severity::Warning));
        assert_eq!(found.since, UnixMs::new(1000 * first as u64));
        let budget = found.title.strip_prefix("rack-4 is pinned to 5700 W and lowered to ").unwrap();
        let budget: f64 = budget.strip_suffix(" W").unwrap().parse().unwrap();
        assert!((4800.0..=5100.0).contains(&budget), "{budget}");
        assert!(found.detail.starts_with("what lowers it is site, external target: "), "{}", found.detail);
    }

    #[test]
    fn a_pin_that_is_not_sent_is_not_lowered() {
        assert!(run(true).iter().all(Option::is_none));
    }
}
