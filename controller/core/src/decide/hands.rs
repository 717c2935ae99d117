//! Hands in the decision. A pinned rack keeps its limit: room for it is kept before every band, and it is
//! lowered only where a node above it would be in danger. A rack in advisory mode counts with all that it can
//! take without Orders; what is shown for it is what it would get with them.

use super::Decider;
use super::believe::RackNow;
use crate::allocate::{Ask, Grant};
use crate::fleet::RackBelief;
use crate::hand::{Hand, Hands};
use crate::topology::RackSpec;
use headroom_rack::{NodeId, Watts};

/// What stands over one rack.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Over {
    /// Its budget, whatever the others want.
    pub pin: Option<Watts>,
    /// It gets no Orders.
    pub advised: bool,
    /// It gets no more than its safe share.
    pub safe: bool,
}

impl Decider {
    /// Takes over what people and the automation's own breaker have set.
    pub fn set_hands(&mut self, hands: &Hands) {
        let advised = hands.advised(&self.topology);
        for (memory, spec) in self.racks.iter_mut().zip(self.topology.racks()) {
            memory.over = Over {
                pin: hands.racks.get(&spec.id).and_then(|hand: &Hand| hand.pin),
                advised: advised.contains(&spec.id),
                safe: hands.safe.contains(&spec.id),
            };
        }
        let pin = |node: &crate::NodeSpec| hands.nodes.get(&node.id).and_then(|hand| hand.pin);
        self.pinned = self.topology.nodes().iter().map(pin).collect();
    }

    /// The most that the policy or a person lets flow through a node.
    pub(super) fn most(&self, node: usize) -> Option<Watts> {
        self.capped[node].into_iter().chain(self.pinned[node]).reduce(Watts::min)
    }

    /// What holds a rack where no node does, as a Plan speaks of it: the safe share, a person, the policy.
    pub(super) fn stands(&self, rack: usize, grant: &Grant, gpu: Watts) -> Option<NodeId> {
        let (spec, memory) = (&self.topology.racks()[rack], &self.racks[rack]);
        let word = match (memory.over.pin, grant.bound_by) {
            _ if memory.over.safe && gpu >= spec.safe_gpu => "safe-share",
            (Some(pin), _) if grant.watts + 1.0 >= pin.get() => "pin",
            (_, None) if memory.wanted.ceiling_gpu < spec.gpu_max && gpu >= memory.wanted.ceiling_gpu => "policy",
            _ => return None,
        };
        NodeId::new(word).ok()
    }

    /// The place of a rack in the order of the bands: what is pinned comes before all of them.
    pub(super) fn rank(&self, rack: usize) -> usize {
        self.racks[rack].over.pin.map_or(self.racks[rack].wanted.band + 1, |_| 0)
    }

    /// What the racks take of what there is while some get no Orders; `None`: all get theirs.
    pub(super) fn taken<'t>(&self, asks: &[Ask<'t>], racks: &[RackNow]) -> Option<Vec<Ask<'t>>> {
        let advised = |i: &usize| self.racks[*i].over.advised;
        (0..asks.len()).any(|i| advised(&i)).then(|| {
            let ask = |i: usize| match advised(&i) {
                true => {
                    let floor = asks[i].floor.max(racks[i].taken.get());
                    Ask { floor, demand: floor, ..asks[i].clone() }
                }
                false => asks[i].clone(),
            };
            (0..asks.len()).map(ask).collect()
        })
    }
}

/// What a rack can take without Orders: each GPU up to the limit that is in force or, once its lease is over,
/// up to the safe share.
pub(super) fn without_orders(spec: &RackSpec, belief: Option<&RackBelief>, overhead: Watts) -> Watts {
    let Some(belief) = belief else { return spec.nameplate() };
    let limit = |limit: Option<Watts>| limit.unwrap_or(spec.gpu_max).max(spec.safe_gpu);
    overhead + belief.gpus.iter().map(|gpu| limit(gpu.limit)).sum()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{decide, fleet_at, gpu};
    use super::*;
    use crate::policy::Policy;
    use crate::topology::tests::row;
    use headroom_rack::{LimitKind, Mode, Mono, Plan, RackId, UnixMs};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn rack(number: usize) -> RackId {
        RackId::new(format!("rack-{number}")).unwrap()
    }

    fn pinned(number: usize, watts: f64) -> Hands {
        let hand = Hand { pin: Some(Watts::new(watts)), advisory: false };
        Hands { racks: [(rack(number), hand)].into(), ..Hands::default() }
    }

    fn advised(numbers: &[usize]) -> Hands {
        let hand = Hand { pin: None, advisory: true };
        Hands { racks: numbers.iter().map(|n| (rack(*n), hand)).collect(), ..Hands::default() }
    }

    /// Decides each second for two minutes about racks that want all they can get.
    fn settled(hands: &Hands, powers: &[f64; 4]) -> Plan {
        let mut decider = Decider::new(row(), Policy::default());
        decider.set_hands(hands);
        let mut limits = [400.0; 4];
        let mut plan = None;
        for second in 1..=120 {
            let now = Mono::from_ms(1000 * second);
            let drawn: [f64; 4] = std::array::from_fn(|r| powers[r].min(limits[r]));
            let made = decide(&mut decider, &fleet_at(&drawn, &limits, now), now);
            let advised = hands.advised(&row());
            limits = std::array::from_fn(|r| if advised.contains(&rack(r + 1)) { 400.0 } else { gpu(&made, r) });
            plan = Some(made);
        }
        plan.unwrap()
    }

    #[test]
    fn a_pinned_rack_stands_at_its_limit_whatever_the_others_want() {
        // Batch comes last, and yet it keeps what a person gave it: 1700 W and 8 times 500 W.
        let plan = settled(&pinned(4, 5700.0), &[700.0; 4]);
        assert_eq!(gpu(&plan, 3), 500.0, "{plan:#?}");
        let idle = settled(&pinned(4, 5700.0), &[100.0, 100.0, 100.0, 700.0]);
        assert_eq!(gpu(&idle, 3), 500.0, "it is not lent more either");
        let free = settled(&Hands::default(), &[700.0; 4]);
        assert!(gpu(&free, 3) < 300.0 && gpu(&free, 0) > gpu(&plan, 0), "{free:#?}");
    }

    #[test]
    fn a_pin_never_loosens_what_protects_a_breaker() {
        let hands = Hands { racks: (1..=4).flat_map(|n| pinned(n, 7300.0).racks).collect(), ..Hands::default() };
        let plan = settled(&hands, &[700.0; 4]);
        for node in &plan.nodes {
            assert!(node.power <= node.rating, "{} carries {} of {}", node.node, node.power, node.rating);
        }
        assert!(gpu(&plan, 0) < 700.0);
    }

    #[test]
    fn a_pinned_node_lets_no_more_through_and_says_who_bound() {
        let hand = Hand { pin: Some(Watts::new(8000.0)), advisory: false };
        let node = NodeId::new("breaker-a").unwrap();
        let hands = Hands { nodes: [(node.clone(), hand)].into(), ..Hands::default() };
        let plan = settled(&hands, &[700.0; 4]);
        let seen = plan.nodes.iter().find(|n| n.node == node).unwrap();
        assert!(seen.power.get() <= 8000.0 + 1.0, "{}", seen.power);
        let cap = &plan.caps[3];
        assert_eq!((cap.bound_by.as_str(), cap.kind), ("breaker-a", LimitKind::External));
    }

    #[test]
    fn racks_in_advisory_mode_count_with_what_they_take_and_are_told_what_they_would_get() {
        let all = settled(&Hands::default(), &[700.0; 4]);
        let plan = settled(&advised(&[4]), &[700.0; 4]);
        // Without Orders the batch rack draws its safe share, more than it would get: the others make room.
        assert!(gpu(&plan, 0) < gpu(&all, 0), "{} and {}", gpu(&plan, 0), gpu(&all, 0));
        assert!(gpu(&plan, 3) < 400.0, "{}", gpu(&plan, 3));
        assert!(plan.nodes.iter().all(|n| n.power <= n.rating));
    }

    #[test]
    fn a_node_in_advisory_mode_takes_every_rack_below_it_along() {
        let hand = Hand { pin: None, advisory: true };
        let hands = Hands { nodes: [(NodeId::new("breaker-b").unwrap(), hand)].into(), ..Hands::default() };
        assert_eq!(hands.advised(&row()).len(), 4);
        assert_eq!(advised(&[2]).advised(&row()), [rack(2)].into());
    }

    #[test]
    fn a_rack_at_its_safe_share_gets_no_more_and_less_where_a_breaker_needs_it() {
        let safe = |powers: &[f64; 4]| settled(&Hands { safe: [rack(1), rack(4)].into(), ..Hands::default() }, powers);
        assert_eq!(gpu(&safe(&[300.0; 4]), 0), 400.0);
        assert!(gpu(&safe(&[700.0; 4]), 3) <= 400.0);
    }

    proptest! {
        /// The sums of a Plan stay below what may flow, whoever has pinned or silenced what.
        #[test]
        fn hands_never_take_more_than_the_nodes_leave(
            pins in prop::array::uniform4(prop::option::of(3300.0..7300.0_f64)),
            silent in prop::array::uniform4(any::<bool>()), powers in prop::array::uniform4(100.0..400.0_f64),
        ) {
            let hand = |r: usize| Hand { pin: pins[r].map(Watts::new), advisory: silent[r] };
            let racks: BTreeMap<RackId, Hand> = (0..4).map(|r| (rack(r + 1), hand(r))).collect();
            let hands = Hands { racks, ..Hands::default() };
            let mut decider = Decider::new(row(), Policy::default());
            decider.set_hands(&hands);
            let now = Mono::from_ms(5000);
            let fleet = fleet_at(&powers, &[400.0; 4], now);
            let plan = decider.decide(
                &fleet, &BTreeMap::new(), now, UnixMs::new(1), super::super::tests::GENERATION, Mode::Automatic,
            );
            for (r, pin) in pins.iter().enumerate() {
                prop_assert!(pin.is_none_or(|pin| plan.caps[r].budget.get() <= pin + 1.0), "{:?}", plan.caps[r]);
            }
            let taken: f64 = (0..4).map(|r| if silent[r] { 4900.0 } else { plan.caps[r].budget.get() } / 2.0).sum();
            let floors: f64 = (0..4).map(|r| if silent[r] { 4900.0 } else { 3300.0 } / 2.0).sum();
            prop_assert!(plan.nodes.iter().all(|n| taken <= (n.rating.get() * 1.05).max(floors + 1.0)), "{taken}");
        }
    }
}
