//! Which setting is in force for each GPU, and why. Orders come in with generation and lease,
//! effective settings go out.
//!
//! Safe (start) -- Order --> Held -- lease runs out --> Safe -- Order --> Held ... -- stop --> Safe
//!
//! In Safe every GPU is at the safe share with its clock released. The lease runs by the agent's
//! own monotonic clock from the moment the Order arrived. Knows no driver: bounds are arguments.

use headroom_rack::{Clamp, DeviceId, Generation, Mono, Order, Refusal, Setting, Watts};
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
    held: BTreeMap<DeviceId, Held>,
}

impl Failsafe {
    /// Starts in Safe with `safe` per GPU. Not `enabled`: every Order is refused.
    pub fn new(safe: Watts, enabled: bool) -> Self {
        Self { safe, enabled, stopped: false, seen: Generation::default(), held: BTreeMap::new() }
    }

    /// Takes an Order that has just arrived. `known`: the boards there are.
    ///
    /// # Errors
    /// [`Refused`] with the reason; what was in force stays.
    pub fn accept(&mut self, order: &Order, known: &BTreeMap<DeviceId, Bounds>, now: Mono) -> Result<(), Refused> {
        let refused = |why| Refused { device: order.device.clone(), generation: order.generation, why };
        if !self.enabled || self.stopped {
            return Err(refused(Refusal::MonitorOnly));
        }
        if order.generation < self.seen {
            return Err(refused(Refusal::OldGeneration));
        }
        if !known.contains_key(&order.device) {
            let why = if order.device.gpu_index().is_some() { Refusal::UnknownDevice } else { Refusal::NotSupported };
            return Err(refused(why));
        }
        let sane = match order.setting {
            Setting::PowerLimit(watts) => watts.is_finite() && watts > Watts::ZERO,
            Setting::ClockCeilingMhz(mhz) => mhz < 100_000,
        };
        if !sane || order.lease_ms == 0 {
            return Err(refused(Refusal::Nonsense));
        }
        self.seen = order.generation;
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
        over
    }

    /// Another safe share from now on, and whether Orders are taken. Leases that run go on, except
    /// where Orders are no longer taken.
    pub fn reconfigure(&mut self, safe: Watts, enabled: bool) {
        (self.safe, self.enabled) = (safe, enabled);
        if !enabled {
            self.held.clear();
        }
    }

    /// The agent stops: Safe from now on, whatever arrives.
    pub fn stop(&mut self) {
        self.stopped = true;
        self.held.clear();
    }

    /// What is to be in force for `device` now. `ceiling` is the guard's.
    pub fn effective(&self, device: &DeviceId, bounds: Bounds, ceiling: Option<Watts>, now: Mono) -> Effective {
        let held = self.held.get(device).filter(|h| now < h.until);
        let asked = held.and_then(|h| h.limit).unwrap_or(self.safe);
        let allowed = ceiling.map_or(asked, |c| asked.min(c));
        let limit = allowed.clamp(bounds.min, bounds.max);
        let clamp = if asked < bounds.min {
            Some(Clamp::DeviceMin)
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

    proptest! {
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
