//! What a parent controller allows this site, and for how long. To the parent the site is one rack with
//! all of its GPUs: what it orders for them adds up, and what is not a GPU comes on top.
//!
//! Safe (start) -- budget --> Held -- lease runs out --> Safe -- budget --> Held ...
//!
//! With a budget comes what is left of it when none follows: that holds before the lease runs out.

use headroom_rack::{Answer, Condition, Generation, Mono, Order, Refusal, Setting, Watts};
use std::collections::BTreeMap;
use std::time::Duration;

/// No lease is longer, as at an agent: a parent that asks for more has lost its mind.
const LONGEST_LEASE: Duration = Duration::from_secs(60);

/// Which bound holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bound {
    /// The parent's, by the Plan of this generation.
    Held(Generation),
    /// The site's safe share: no lease of the parent lives.
    Safe,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Held {
    gpus: Watts,
    generation: Generation,
    until: Mono,
    /// From then on no more than this.
    unheard: Option<(Mono, Watts)>,
}

/// The parent's lease on the site.
#[derive(Debug, Clone, PartialEq)]
pub struct Budget {
    gpus: u32,
    safe: Watts,
    seen: Generation,
    held: Option<Held>,
}

impl Budget {
    /// Of a site of so many GPUs, which may draw `safe` in all, GPUs or not, without a lease.
    pub fn new(gpus: u32, safe: Watts) -> Self {
        Self { gpus, safe, seen: Generation::default(), held: None }
    }

    /// Takes the Orders of one Plan, one for each GPU, with the answers that lie ready, and gives what they add up
    /// to. Of the answers the one to Orders that stay away is kept; a site sees nothing else that the parent does not.
    ///
    /// # Errors
    /// Why not; what was held stays. [`Refusal::UnknownDevice`]: the parent does not count the same GPUs.
    pub fn take(&mut self, orders: &[Order], answers: &[Answer], now: Mono) -> Result<Watts, Refusal> {
        let Some(first) = orders.first() else { return Err(Refusal::Nonsense) };
        let (generation, lease_ms) = (first.generation, first.lease_ms);
        if generation < self.seen {
            return Err(Refusal::OldGeneration);
        }
        let mut left: Vec<bool> = vec![true; self.gpus as usize];
        let mut gpus = Watts::ZERO;
        for order in orders {
            let place = order.device.gpu_index().and_then(|i| left.get_mut(i as usize));
            let Some(true) = place.map(std::mem::take) else { return Err(Refusal::UnknownDevice) };
            let Setting::PowerLimit(watts) = order.setting else { return Err(Refusal::NotSupported) };
            let sane = watts.is_finite() && watts > Watts::ZERO && order.generation == generation;
            if !sane || order.lease_ms == 0 {
                return Err(Refusal::Nonsense);
            }
            gpus += watts;
        }
        if left.contains(&true) {
            return Err(Refusal::UnknownDevice);
        }
        self.seen = generation;
        let until = now.after(Duration::from_millis(lease_ms.into()).min(LONGEST_LEASE));
        let unheard = unheard(orders, answers).map(|(after, watts)| (now.after(after), watts));
        self.held = Some(Held { gpus, generation, until, unheard });
        Ok(gpus)
    }

    /// What the whole site may draw, with `overhead` for what is not a GPU, and by whom.
    pub fn limit(&self, overhead: Watts, now: Mono) -> (Watts, Bound) {
        match self.live(now) {
            Some(held) => {
                let left = held.unheard.filter(|(from, _)| now >= *from).map_or(held.gpus, |(_, watts)| watts);
                (left + overhead, Bound::Held(held.generation))
            }
            None => (self.safe, Bound::Safe),
        }
    }

    /// When what holds now ends by itself: with its lease, or before that because no Orders came.
    pub fn runs_out(&self, now: Mono) -> Option<Mono> {
        let held = self.live(now)?;
        Some(held.unheard.map(|(from, _)| from).filter(|from| now < *from).unwrap_or(held.until))
    }

    fn live(&self, now: Mono) -> Option<Held> {
        self.held.filter(|held| now < held.until)
    }
}

/// What is left for the GPUs when no Orders come for so long.
fn unheard(orders: &[Order], answers: &[Answer]) -> Option<(Duration, Watts)> {
    let after_ms = answers.iter().find_map(|answer| match answer.when {
        Condition::NoOrders(ms) => Some(ms),
        _ => None,
    })?;
    let ready: BTreeMap<_, _> = answers
        .iter()
        .filter(|answer| answer.when == Condition::NoOrders(after_ms))
        .filter_map(|answer| Some((&answer.order.device, watts(&answer.order)?)))
        .collect();
    let left = |order: &Order| {
        let ordered = watts(order).unwrap_or(Watts::ZERO);
        ready.get(&order.device).map_or(ordered, |ready| ready.min(ordered))
    };
    Some((Duration::from_millis(after_ms.into()), orders.iter().map(left).sum()))
}

fn watts(order: &Order) -> Option<Watts> {
    match order.setting {
        Setting::PowerLimit(watts) if watts.is_finite() => Some(watts),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use headroom_rack::DeviceId;
    use proptest::prelude::*;

    fn orders(gpus: u32, watts: f64, counter: u64, lease_ms: u32) -> Vec<Order> {
        let generation = Generation { epoch: 1, counter };
        let setting = Setting::PowerLimit(Watts::new(watts));
        (0..gpus).map(|i| Order { device: DeviceId::gpu(i), setting, generation, lease_ms }).collect()
    }

    fn budget() -> Budget {
        Budget::new(4, Watts::new(2000.0))
    }

    #[test]
    fn the_safe_share_stands_before_the_first_lease_and_after_the_last() {
        let mut budget = budget();
        let overhead = Watts::new(500.0);
        let at = |budget: &Budget, ms| budget.limit(overhead, Mono::from_ms(ms));
        assert_eq!(at(&budget, 0), (Watts::new(2000.0), Bound::Safe));
        assert_eq!(budget.take(&orders(4, 600.0, 7, 5000), &[], Mono::from_ms(1000)), Ok(Watts::new(2400.0)));
        let generation = Generation { epoch: 1, counter: 7 };
        assert_eq!(at(&budget, 5999), (Watts::new(2900.0), Bound::Held(generation)));
        assert_eq!(budget.runs_out(Mono::from_ms(5999)), Some(Mono::from_ms(6000)));
        assert_eq!(at(&budget, 6000), (Watts::new(2000.0), Bound::Safe));
    }

    #[test]
    fn a_plan_that_is_old_or_for_other_gpus_or_makes_no_sense_changes_nothing() {
        let mut budget = budget();
        let now = Mono::from_ms(0);
        budget.take(&orders(4, 600.0, 7, 5000), &[], now).unwrap();
        let before = budget.clone();
        let mut twice = orders(4, 500.0, 8, 5000);
        twice[3] = twice[2].clone();
        let mut clock = orders(4, 500.0, 8, 5000);
        clock[0].setting = Setting::ClockCeilingMhz(1000);
        let mut mixed = orders(4, 500.0, 8, 5000);
        mixed[3].generation.counter = 9;
        for (wrong, why) in [
            (orders(4, 500.0, 6, 5000), Refusal::OldGeneration),
            (orders(3, 500.0, 8, 5000), Refusal::UnknownDevice),
            (orders(5, 500.0, 8, 5000), Refusal::UnknownDevice),
            (twice, Refusal::UnknownDevice),
            (clock, Refusal::NotSupported),
            (mixed, Refusal::Nonsense),
            (orders(4, f64::NAN, 8, 5000), Refusal::Nonsense),
            (orders(4, 500.0, 8, 0), Refusal::Nonsense),
            (vec![], Refusal::Nonsense),
        ] {
            assert_eq!(budget.take(&wrong, &[], now), Err(why));
            assert_eq!(budget, before);
        }
    }

    #[test]
    fn what_was_lent_is_over_before_the_lease_when_no_orders_come() {
        let mut budget = budget();
        let ready = orders(4, 450.0, 7, 5000).into_iter();
        let answers: Vec<Answer> = ready.map(|order| Answer { when: Condition::NoOrders(2000), order }).collect();
        budget.take(&orders(4, 600.0, 7, 5000), &answers, Mono::from_ms(0)).unwrap();
        let at = |budget: &Budget, ms| budget.limit(Watts::new(500.0), Mono::from_ms(ms)).0;
        let runs_out = |budget: &Budget, ms| budget.runs_out(Mono::from_ms(ms)).map(Mono::as_ms);
        assert_eq!((at(&budget, 1999), runs_out(&budget, 1999)), (Watts::new(2900.0), Some(2000)));
        assert_eq!((at(&budget, 2000), runs_out(&budget, 2000)), (Watts::new(2300.0), Some(5000)));
        assert_eq!(at(&budget, 5000), Watts::new(2000.0));
        budget.take(&orders(4, 400.0, 8, 5000), &answers, Mono::from_ms(2500)).unwrap();
        assert_eq!(at(&budget, 4600), Watts::new(2100.0), "it never raises");
    }

    proptest! {
        #[test]
        fn without_a_live_lease_nothing_but_the_safe_share_is_allowed(
            plans in prop::collection::vec((0_u64..2000, 1_u32..90_000, 100.0_f64..800.0), 0..12),
            at in 0_u64..200_000,
        ) {
            let mut budget = budget();
            let (mut now, mut until) = (0, 0);
            for (counter, (wait, lease, watts)) in plans.into_iter().enumerate() {
                now += wait;
                budget.take(&orders(4, watts, counter as u64, lease), &[], Mono::from_ms(now)).unwrap();
                until = now + u64::from(lease.min(60_000));
            }
            let (limit, bound) = budget.limit(Watts::ZERO, Mono::from_ms(now + at));
            prop_assert_eq!(bound == Bound::Safe, now + at >= until);
            prop_assert!(bound != Bound::Safe || limit == Watts::new(2000.0));
        }
    }
}
