//! Which setting is in force for each GPU, and why. Orders come in with generation and lease,
//! effective settings go out.
//!
//! Safe (start) -- Order --> Held -- lease runs out --> Safe -- Order --> Held ... -- stop --> Safe
//!
//! An answer lies ready beside what is held: while its condition holds and its lease runs, nothing above it
//! is in force. One of them is for Orders that stay away: it comes before the lease runs out.
//!
//! In Safe every GPU is at the safe share with its clock released. The lease runs by the agent's
//! own monotonic clock from the moment the Order arrived. Knows no driver: bounds are arguments.

use crate::condition::Conditions;
use headroom_rack::{Answer, Clamp, Condition, DeviceId, Generation, Mono, Order, Refusal, Setting, Signal, Watts};
use std::collections::BTreeMap;
use std::time::Duration;

/// No lease is longer: a controller that asks for more has lost its mind, not its connection.
const LONGEST_LEASE: Duration = Duration::from_secs(60);

/// What a board accepts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounds {
    /// The lowest power limit.
    pub min: Watts,
    /// The highest power limit.
    pub max: Watts,
}

/// What is to be in force for one GPU.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Effective {
    /// Power limit, inside the board's bounds.
    pub limit: Watts,
    /// Highest SM clock in MHz; 0 is no ceiling.
    pub clock_ceiling_mhz: u32,
    /// The Order behind it; `None` at the safe share.
    pub generation: Option<Generation>,
    /// Why the limit is another one than asked.
    pub clamp: Option<Clamp>,
}

#[derive(Debug, Clone, Copy)]
struct Held {
    limit: Option<Watts>,
    clock_ceiling_mhz: Option<u32>,
    generation: Generation,
    until: Mono,
}

/// An Order that was not taken.
#[derive(Debug, Clone, PartialEq)]
pub struct Refused {
    /// The device it was for.
    pub device: DeviceId,
    /// Its generation.
    pub generation: Generation,
    /// Why.
    pub why: Refusal,
}

/// The state of one rack.
#[derive(Debug, Clone)]
pub struct Failsafe {
    safe: Watts,
    enabled: bool,
    stopped: bool,
    seen: Generation,
    /// When the last Order that was taken arrived.
    heard: Mono,
    held: BTreeMap<DeviceId, Held>,
    ready: BTreeMap<Condition, BTreeMap<DeviceId, Ready>>,
    conditions: Conditions,
}

/// An answer that lies ready for one GPU.
#[derive(Debug, Clone, Copy)]
struct Ready {
    limit: Watts,
    generation: Generation,
    until: Mono,
}

impl Failsafe {
    /// Starts in Safe with `safe` per GPU. Not `enabled`: every Order is refused.
    pub fn new(safe: Watts, enabled: bool) -> Self {
        Self {
            safe,
            enabled,
            stopped: false,
            seen: Generation::default(),
            heard: Mono::default(),
            held: BTreeMap::new(),
            ready: BTreeMap::new(),
            conditions: Conditions::default(),
        }
    }

    /// What an earlier run obeyed: what is older is refused from now on.
    pub fn remember(&mut self, obeyed: Generation) {
        self.seen = self.seen.max(obeyed);
    }

    /// The newest generation that was obeyed.
    pub fn newest(&self) -> Generation {
        self.seen
    }

    /// Takes an answer that has just arrived, as [`Failsafe::accept`] takes an Order.
    ///
    /// # Errors
    /// [`Refused`] with the reason; what was ready stays.
    pub fn prepare(&mut self, answer: &Answer, known: &BTreeMap<DeviceId, Bounds>, now: Mono) -> Result<(), Refused> {
        let order = &answer.order;
        let refused = |why| Refused { device: order.device.clone(), generation: order.generation, why };
        self.admit(order, known).map_err(refused)?;
        let Setting::PowerLimit(limit) = order.setting else { return Err(refused(Refusal::NotSupported)) };
        self.seen = order.generation;
        let until = now.after(Duration::from_millis(order.lease_ms.into()).min(LONGEST_LEASE));
        let ready = Ready { limit, generation: order.generation, until };
        let prepared = self.ready.entry(answer.when.clone()).or_default();
        // What a newer Plan no longer says of this condition is over with it.
        prepared.retain(|_, r| r.generation == order.generation);
        prepared.insert(order.device.clone(), ready);
        Ok(())
    }

    /// Looks whether a condition holds that there is an answer to; `value` is a known value
    /// of a signal and its age, `overdue` whether a device is asked in vain.
    pub fn look(
        &mut self,
        value: impl Fn(&DeviceId, Signal) -> Option<(f64, Duration)>,
        overdue: impl Fn(&DeviceId) -> bool,
        now: Mono,
    ) {
        self.conditions.look(self.ready.keys(), value, overdue, now);
    }

    /// The conditions that hold now and have a live answer.
    pub fn answering(&self, now: Mono) -> Vec<&Condition> {
        let holding = self.ready.iter().filter(|(when, ready)| ready.values().any(|r| self.holds(when, r, now)));
        holding.map(|(when, _)| when).collect()
    }

    /// The least that an answer in force allows a device.
    fn answered(&self, device: &DeviceId, now: Mono) -> Option<Watts> {
        let ready = self.ready.iter().filter_map(|(when, ready)| Some((when, ready.get(device)?)));
        ready.filter(|(when, r)| self.holds(when, r, now)).map(|(_, r)| r.limit).reduce(Watts::min)
    }

    fn holds(&self, when: &Condition, ready: &Ready, now: Mono) -> bool {
        let holds = match when {
            // What came with an older Plan says nothing of the newest.
            Condition::NoOrders(ms) => {
                ready.generation == self.seen && now.since(self.heard) >= Duration::from_millis((*ms).into())
            }
            other => self.conditions.holds(other, now),
        };
        holds && now < ready.until
    }

    fn admit(&self, order: &Order, known: &BTreeMap<DeviceId, Bounds>) -> Result<(), Refusal> {
        if !self.enabled || self.stopped {
            return Err(Refusal::MonitorOnly);
        }
        if order.generation < self.seen {
            return Err(Refusal::OldGeneration);
        }
        if !known.contains_key(&order.device) {
            let is_gpu = order.device.gpu_index().is_some();
            return Err(if is_gpu { Refusal::UnknownDevice } else { Refusal::NotSupported });
        }
        let sane = match order.setting {
            Setting::PowerLimit(watts) => watts.is_finite() && watts > Watts::ZERO,
            Setting::ClockCeilingMhz(mhz) => mhz < 100_000,
        };
        if sane && order.lease_ms > 0 { Ok(()) } else { Err(Refusal::Nonsense) }
    }

    /// Takes an Order that has just arrived. `known`: the boards there are.
    ///
    /// # Errors
    /// [`Refused`] with the reason; what was in force stays.
    pub fn accept(&mut self, order: &Order, known: &BTreeMap<DeviceId, Bounds>, now: Mono) -> Result<(), Refused> {
        let refused = |why| Refused { device: order.device.clone(), generation: order.generation, why };
        self.admit(order, known).map_err(refused)?;
        (self.seen, self.heard) = (order.generation, now);
        let until = now.after(Duration::from_millis(order.lease_ms.into()).min(LONGEST_LEASE));
        let fresh = Held { limit: None, clock_ceiling_mhz: None, generation: order.generation, until };
        let held = self.held.entry(order.device.clone()).or_insert(fresh);
        // Settings of an older generation do not outlive it: half an old Plan is no Plan.
        if held.generation != order.generation || now >= held.until {
            *held = fresh;
        }
        held.until = until;
        match order.setting {
            Setting::PowerLimit(watts) => held.limit = Some(watts),
            Setting::ClockCeilingMhz(mhz) => held.clock_ceiling_mhz = Some(mhz),
        }
        Ok(())
    }

    /// Drops what has run out and names it.
    pub fn expire(&mut self, now: Mono) -> Vec<(DeviceId, Generation)> {
        let over: Vec<_> =
            self.held.iter().filter(|(_, h)| now >= h.until).map(|(d, h)| (d.clone(), h.generation)).collect();
        self.held.retain(|_, h| now < h.until);
        self.ready.values_mut().for_each(|ready| ready.retain(|_, r| now < r.until));
        self.ready.retain(|_, ready| !ready.is_empty());
        over
    }

    /// Another safe share from now on, and whether Orders are taken. Leases that run go on, except
    /// where Orders are no longer taken.
    pub fn reconfigure(&mut self, safe: Watts, enabled: bool) {
        (self.safe, self.enabled) = (safe, enabled);
        if !enabled {
            self.held.clear();
            self.ready.clear();
        }
    }

    /// The agent stops: Safe from now on, whatever arrives.
    pub fn stop(&mut self) {
        self.stopped = true;
        self.held.clear();
        self.ready.clear();
    }

    /// What is to be in force for `device` now. `ceiling` is the guard's.
    pub fn effective(&self, device: &DeviceId, bounds: Bounds, ceiling: Option<Watts>, now: Mono) -> Effective {
        let held = self.held.get(device).filter(|h| now < h.until);
        let asked = held.and_then(|h| h.limit).unwrap_or(self.safe);
        let answered = self.answered(device, now).map_or(asked, |a| asked.min(a));
        let allowed = ceiling.map_or(answered, |c| answered.min(c));
        let limit = allowed.clamp(bounds.min, bounds.max);
        let clamp = if asked < bounds.min {
            Some(Clamp::DeviceMin)
        } else if answered < asked && limit < asked.min(bounds.max) && ceiling.is_none_or(|c| answered <= c) {
            Some(Clamp::Answer)
        } else if limit < asked.min(bounds.max) {
            Some(Clamp::Guard)
        } else if asked > bounds.max {
            Some(Clamp::DeviceMax)
        } else {
            None
        };
        Effective {
            limit,
            clock_ceiling_mhz: held.and_then(|h| h.clock_ceiling_mhz).unwrap_or(0),
            generation: held.map(|h| h.generation),
            clamp,
        }
    }

    /// Time until the first lease runs out; zero at the safe share.
    pub fn lease_left(&self, now: Mono) -> Duration {
        self.held.values().map(|h| h.until.since(now)).min().unwrap_or(Duration::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BOUNDS: Bounds = Bounds { min: Watts::new(200.0), max: Watts::new(700.0) };
    const SAFE: Watts = Watts::new(400.0);

    fn known() -> BTreeMap<DeviceId, Bounds> {
        (0..2).map(|i| (DeviceId::gpu(i), BOUNDS)).collect()
    }

    fn order(gpu: u32, watts: f64, counter: u64, lease_ms: u32) -> Order {
        Order {
            device: DeviceId::gpu(gpu),
            setting: Setting::PowerLimit(Watts::new(watts)),
            generation: Generation { epoch: 1, counter },
            lease_ms,
        }
    }

    fn limit(f: &Failsafe, now: u64) -> Watts {
        f.effective(&DeviceId::gpu(0), BOUNDS, None, Mono::from_ms(now)).limit
    }

    #[test]
    fn it_starts_in_the_safe_share() {
        assert_eq!(limit(&Failsafe::new(SAFE, true), 0), SAFE);
    }

    #[test]
    fn an_order_holds_for_its_lease_and_a_repeated_one_renews_it() {
        let mut f = Failsafe::new(SAFE, true);
        f.accept(&order(0, 600.0, 1, 5000), &known(), Mono::from_ms(0)).unwrap();
        assert_eq!(limit(&f, 4999), Watts::new(600.0));
        f.accept(&order(0, 600.0, 2, 5000), &known(), Mono::from_ms(4000)).unwrap();
        assert_eq!(limit(&f, 8999), Watts::new(600.0));
        assert_eq!(limit(&f, 9000), SAFE, "even before expire() was called");
        assert_eq!(f.expire(Mono::from_ms(9000)), vec![(DeviceId::gpu(0), Generation { epoch: 1, counter: 2 })]);
        assert!(f.expire(Mono::from_ms(9001)).is_empty(), "an expiry is told once");
    }

    #[test]
    fn another_safe_share_leaves_leases_alone_and_a_disabled_agent_holds_none() {
        let mut f = Failsafe::new(SAFE, true);
        f.accept(&order(0, 600.0, 1, 5000), &known(), Mono::from_ms(0)).unwrap();
        f.reconfigure(Watts::new(300.0), true);
        assert_eq!((limit(&f, 4999), limit(&f, 5000)), (Watts::new(600.0), Watts::new(300.0)));
        f.reconfigure(SAFE, false);
        assert_eq!(limit(&f, 1), SAFE);
        assert!(f.accept(&order(0, 600.0, 2, 5000), &known(), Mono::from_ms(2)).is_err());
    }

    #[test]
    fn each_refusal_has_its_reason() {
        let mut f = Failsafe::new(SAFE, true);
        let now = Mono::from_ms(0);
        f.accept(&order(0, 500.0, 5, 5000), &known(), now).unwrap();
        let why = |r: Result<(), Refused>| r.unwrap_err().why;
        assert_eq!(why(f.accept(&order(0, 700.0, 4, 5000), &known(), now)), Refusal::OldGeneration);
        assert_eq!(why(f.accept(&order(9, 700.0, 6, 5000), &known(), now)), Refusal::UnknownDevice);
        assert_eq!(why(f.accept(&order(0, f64::NAN, 6, 5000), &known(), now)), Refusal::Nonsense);
        assert_eq!(why(f.accept(&order(0, 600.0, 6, 0), &known(), now)), Refusal::Nonsense);
        let mut monitor = Failsafe::new(SAFE, false);
        assert_eq!(why(monitor.accept(&order(0, 600.0, 6, 9), &known(), now)), Refusal::MonitorOnly);
        assert_eq!(limit(&f, 1), Watts::new(500.0));
    }

    #[test]
    fn after_stop_nothing_is_taken_any_more() {
        let mut f = Failsafe::new(SAFE, true);
        f.accept(&order(0, 600.0, 1, 5000), &known(), Mono::from_ms(0)).unwrap();
        f.stop();
        assert_eq!(limit(&f, 1), SAFE);
        assert!(f.accept(&order(0, 600.0, 2, 5000), &known(), Mono::from_ms(1)).is_err());
    }

    #[test]
    fn the_reason_of_a_clamp_is_the_one_that_binds() {
        let mut f = Failsafe::new(SAFE, true);
        let now = Mono::from_ms(0);
        for (watts, ceiling, limit, clamp) in [
            (100.0, None, 200.0, Some(Clamp::DeviceMin)),
            (900.0, None, 700.0, Some(Clamp::DeviceMax)),
            (600.0, Some(300.0), 300.0, Some(Clamp::Guard)),
            (900.0, Some(700.0), 700.0, Some(Clamp::DeviceMax)),
            (250.0, Some(300.0), 250.0, None),
        ] {
            f.accept(&order(0, watts, 1, 5000), &known(), now).unwrap();
            let e = f.effective(&DeviceId::gpu(0), BOUNDS, ceiling.map(Watts::new), now);
            assert_eq!((e.limit, e.clamp), (Watts::new(limit), clamp), "asked {watts}");
        }
    }

    #[test]
    fn a_clock_of_an_older_plan_does_not_outlive_it() {
        let mut f = Failsafe::new(SAFE, true);
        let clock = Order { setting: Setting::ClockCeilingMhz(1200), ..order(0, 1.0, 1, 5000) };
        f.accept(&clock, &known(), Mono::from_ms(0)).unwrap();
        let at = |f: &Failsafe| f.effective(&DeviceId::gpu(0), BOUNDS, None, Mono::from_ms(1)).clock_ceiling_mhz;
        assert_eq!(at(&f), 1200);
        f.accept(&order(0, 500.0, 2, 5000), &known(), Mono::from_ms(0)).unwrap();
        assert_eq!(at(&f), 0);
    }

    fn answer(when: &str, gpu: u32, watts: f64, counter: u64, lease_ms: u32) -> Answer {
        Answer { when: Condition::InletDead(DeviceId::new(when).unwrap()), order: order(gpu, watts, counter, lease_ms) }
    }

    fn dead(device: &'static str) -> impl Fn(&DeviceId, Signal) -> Option<(f64, Duration)> {
        move |d, signal| (d.as_str() == device && signal == Signal::PduVoltageL1).then_some((0.0, Duration::ZERO))
    }

    #[test]
    fn an_answer_is_in_force_while_its_condition_holds_and_its_lease_runs() {
        let mut f = Failsafe::new(SAFE, true);
        f.accept(&order(0, 600.0, 1, 5000), &known(), Mono::from_ms(0)).unwrap();
        f.prepare(&answer("pdu-a", 0, 350.0, 1, 5000), &known(), Mono::from_ms(0)).unwrap();
        assert_eq!(limit(&f, 1), Watts::new(600.0), "nothing has happened");
        f.look(dead("pdu-b"), |_| false, Mono::from_ms(2));
        assert_eq!(limit(&f, 2), Watts::new(600.0), "another inlet");
        f.look(dead("pdu-a"), |_| false, Mono::from_ms(3));
        let e = f.effective(&DeviceId::gpu(0), BOUNDS, None, Mono::from_ms(3));
        assert_eq!((e.limit, e.clamp), (Watts::new(350.0), Some(Clamp::Answer)));
        assert_eq!(f.answering(Mono::from_ms(3)).len(), 1);
        // A newer Order does not outbid it, and a newer answer replaces it.
        f.accept(&order(0, 650.0, 2, 5000), &known(), Mono::from_ms(4)).unwrap();
        assert_eq!(limit(&f, 4), Watts::new(350.0));
        f.prepare(&answer("pdu-a", 0, 450.0, 2, 5000), &known(), Mono::from_ms(5)).unwrap();
        assert_eq!(limit(&f, 5), Watts::new(450.0));
        f.look(dead("pdu-a"), |_| false, Mono::from_ms(4000));
        assert_eq!(limit(&f, 5004), SAFE, "no lease runs any more");
    }

    #[test]
    fn without_newer_orders_what_was_lent_is_over_before_the_lease_is() {
        let mut f = Failsafe::new(SAFE, true);
        let without =
            |watts, counter| Answer { when: Condition::NoOrders(2000), order: order(0, watts, counter, 5000) };
        f.accept(&order(0, 700.0, 1, 5000), &known(), Mono::from_ms(0)).unwrap();
        f.prepare(&without(450.0, 1), &known(), Mono::from_ms(0)).unwrap();
        assert_eq!(limit(&f, 1999), Watts::new(700.0));
        let e = f.effective(&DeviceId::gpu(0), BOUNDS, None, Mono::from_ms(2000));
        assert_eq!((e.limit, e.clamp), (Watts::new(450.0), Some(Clamp::Answer)));
        assert_eq!(f.answering(Mono::from_ms(2000)), [&Condition::NoOrders(2000)]);
        // The next Order ends it; one that says nothing of it has none.
        f.accept(&order(0, 650.0, 2, 5000), &known(), Mono::from_ms(2500)).unwrap();
        assert_eq!((limit(&f, 2500), limit(&f, 4600)), (Watts::new(650.0), Watts::new(650.0)));
        assert!(f.answering(Mono::from_ms(4600)).is_empty());
        assert_eq!(limit(&f, 7500), SAFE);
    }

    #[test]
    fn an_answer_never_raises_and_obeys_generation_and_guard() {
        let mut f = Failsafe::new(SAFE, true);
        f.accept(&order(0, 300.0, 5, 5000), &known(), Mono::from_ms(0)).unwrap();
        f.prepare(&answer("pdu-a", 0, 690.0, 5, 5000), &known(), Mono::from_ms(0)).unwrap();
        f.look(dead("pdu-a"), |_| false, Mono::from_ms(0));
        assert_eq!(limit(&f, 0), Watts::new(300.0));
        let old = f.prepare(&answer("pdu-a", 0, 200.0, 4, 5000), &known(), Mono::from_ms(0));
        assert_eq!(old.unwrap_err().why, Refusal::OldGeneration);
        f.prepare(&answer("pdu-a", 0, 250.0, 6, 5000), &known(), Mono::from_ms(0)).unwrap();
        let guarded = f.effective(&DeviceId::gpu(0), BOUNDS, Some(Watts::new(220.0)), Mono::from_ms(0));
        assert_eq!((guarded.limit, guarded.clamp), (Watts::new(220.0), Some(Clamp::Guard)));
        f.stop();
        assert!(f.prepare(&answer("pdu-a", 0, 250.0, 7, 5000), &known(), Mono::from_ms(0)).is_err());
    }

    proptest! {
        #[test]
        fn answers_only_ever_lower_what_would_be_in_force(
            held in prop::option::of(100.0..900.0_f64), ready in prop::collection::vec((0_usize..2, 50.0..900.0_f64, 1_u64..4, 1_u32..9000), 0..8),
            inlet in 0_usize..3, at in 0_u64..12_000
        ) {
            let inlets = ["pdu-a", "pdu-b", "pdu-c"];
            let mut with = Failsafe::new(SAFE, true);
            held.iter().for_each(|w| with.accept(&order(0, *w, 1, 5000), &known(), Mono::from_ms(0)).unwrap());
            let without = with.clone();
            for (i, watts, counter, lease) in ready {
                let _ = with.prepare(&answer(inlets[i], 0, watts, counter, lease), &known(), Mono::from_ms(0));
            }
            with.look(dead(inlets[inlet]), |_| false, Mono::from_ms(at.saturating_sub(10)));
            let now = Mono::from_ms(at);
            let of = |f: &Failsafe| f.effective(&DeviceId::gpu(0), BOUNDS, None, now).limit;
            prop_assert!(of(&with) <= of(&without));
            prop_assert!(of(&with) >= BOUNDS.min);
            if at >= 9000 || inlet == 2 {
                prop_assert_eq!(of(&with), of(&without), "no lease or no condition");
            }
        }

        #[test]
        fn an_expired_lease_always_ends_in_the_safe_share(
            orders in prop::collection::vec((0.0..2000.0_f64, 0_u64..20, any::<u32>(), 0_u64..10_000), 0..40)
        ) {
            let mut f = Failsafe::new(SAFE, true);
            let mut last = 0;
            for (watts, counter, lease_ms, at) in orders {
                last = last.max(at);
                let _ = f.accept(&order(0, watts, counter, lease_ms), &known(), Mono::from_ms(last));
            }
            let after = Mono::from_ms(last).after(LONGEST_LEASE);
            let e = f.effective(&DeviceId::gpu(0), BOUNDS, None, after);
            prop_assert_eq!((e.limit, e.clock_ceiling_mhz, e.generation), (SAFE, 0, None));
        }

        #[test]
        fn an_old_generation_is_never_applied(orders in prop::collection::vec((200.0..700.0_f64, 0_u64..3, 0_u64..5), 1..40)) {
            let mut f = Failsafe::new(SAFE, true);
            let mut newest = Generation::default();
            let mut in_force = SAFE;
            for (watts, epoch, counter) in orders {
                let o = Order { generation: Generation { epoch, counter }, ..order(0, watts, 0, 60_000) };
                let taken = f.accept(&o, &known(), Mono::from_ms(0)).is_ok();
                prop_assert_eq!(taken, o.generation >= newest);
                if taken {
                    newest = o.generation;
                    in_force = Watts::new(watts);
                }
                prop_assert_eq!(limit(&f, 1), in_force);
            }
        }

        #[test]
        fn a_limit_is_always_one_the_board_accepts(watts in -1e9..1e9_f64, ceiling in prop::option::of(-1e9..1e9_f64)) {
            let mut f = Failsafe::new(SAFE, true);
            let _ = f.accept(&order(0, watts, 1, 5000), &known(), Mono::from_ms(0));
            let e = f.effective(&DeviceId::gpu(0), BOUNDS, ceiling.map(Watts::new), Mono::from_ms(1));
            prop_assert!(e.limit >= BOUNDS.min && e.limit <= BOUNDS.max);
        }
    }
}
