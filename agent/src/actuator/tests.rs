//! The actuator against a driver that obeys, one that holds lower, and one that refuses.

use super::*;
use std::sync::atomic::{AtomicU32, Ordering};

const BOOST_MHZ: u32 = 1980;

struct Driver {
    limit: Mutex<f64>,
    holds_at: Option<f64>,
    refuses: bool,
    writes: AtomicU32,
    /// The ceiling, 0 none; no such thing on this board: `None`.
    ceiling_mhz: Option<AtomicU32>,
    /// Takes a ceiling and runs as before.
    ignores_ceiling: bool,
}

fn driver() -> Driver {
    Driver {
        limit: Mutex::new(700.0),
        holds_at: None,
        refuses: false,
        writes: AtomicU32::new(0),
        ceiling_mhz: None,
        ignores_ceiling: false,
    }
}

fn lockable() -> Driver {
    Driver { ceiling_mhz: Some(AtomicU32::new(0)), ..driver() }
}

fn ceiling_of(driver: &Driver) -> u32 {
    driver.ceiling_mhz.as_ref().expect("lockable").load(Ordering::Relaxed)
}

impl Lever for Driver {
    fn set_limit(&self, _: &DeviceId, limit: Watts) -> Result<(), Refusal> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        if self.refuses {
            return Err(Refusal::PermissionDenied);
        }
        *self.limit.lock().unwrap() = limit.get();
        Ok(())
    }
    fn enforced(&self, _: &DeviceId) -> Result<Watts, Refusal> {
        let limit = *self.limit.lock().unwrap();
        Ok(Watts::new(self.holds_at.map_or(limit, |h| h.min(limit))))
    }
    fn set_clock_ceiling(&self, _: &DeviceId, mhz: u32) -> Result<(), Refusal> {
        self.ceiling_mhz.as_ref().ok_or(Refusal::NotSupported)?.store(mhz, Ordering::Relaxed);
        Ok(())
    }
    fn sm_clock(&self, _: &DeviceId) -> Result<u32, Refusal> {
        let ceiling = self.ceiling_mhz.as_ref().map_or(0, |c| c.load(Ordering::Relaxed));
        Ok(if ceiling == 0 || self.ignores_ceiling { BOOST_MHZ } else { ceiling })
    }
}

fn wish(watts: f64, counter: u64) -> Wish {
    let generation = Some(Generation { epoch: 1, counter });
    Wish { limit: Watts::new(watts), clock_ceiling_mhz: 0, generation, clamp: None }
}

fn carry_out(driver: &Driver, all: Vec<Wish>) -> Vec<Outcome> {
    let handoff = Handoff::default();
    let mut outcomes = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for wish in all {
                handoff.wish(wish);
                assert!(handoff.wait_idle(Duration::from_secs(5)));
            }
            handoff.close();
        });
        run(driver, &DeviceId::gpu(0), &handoff, |_, outcome| outcomes.push(outcome));
    });
    outcomes
}

#[test]
fn an_order_in_force_is_applied_and_written_only_once() {
    let driver = driver();
    assert_eq!(carry_out(&driver, vec![wish(500.0, 1), wish(500.0, 2)]), vec![Outcome::Applied; 2]);
    assert_eq!(driver.writes.load(Ordering::Relaxed), 1);
    assert_eq!(*driver.limit.lock().unwrap(), 500.0);
}

#[test]
fn a_lower_limit_from_elsewhere_is_told_as_read_back() {
    let driver = Driver { holds_at: Some(350.0), ..driver() };
    let to = Watts::new(350.0);
    assert_eq!(carry_out(&driver, vec![wish(500.0, 1)]), vec![Outcome::Clamped { to, why: Clamp::ReadBack }]);
}

#[test]
fn a_driver_that_denies_is_told_as_refused() {
    let driver = Driver { refuses: true, ..driver() };
    let denied = Outcome::Refused(Refusal::PermissionDenied);
    assert_eq!(carry_out(&driver, vec![wish(500.0, 1)]), vec![denied]);
}

#[test]
fn a_clock_that_cannot_be_locked_is_refused_but_releasing_it_is_not() {
    let locked = Wish { clock_ceiling_mhz: 1200, ..wish(500.0, 1) };
    let outcomes = carry_out(&driver(), vec![locked, wish(500.0, 2)]);
    assert_eq!(outcomes, vec![Outcome::Refused(Refusal::NotSupported), Outcome::Applied]);
}

fn locked(mhz: u32, counter: u64) -> Wish {
    Wish { clock_ceiling_mhz: mhz, ..wish(700.0, counter) }
}

#[test]
fn a_clock_is_locked_read_back_and_released_with_the_wish() {
    let driver = lockable();
    assert_eq!(carry_out(&driver, vec![locked(1200, 1)]), vec![Outcome::Applied]);
    assert_eq!(ceiling_of(&driver), 1200);
    assert_eq!(carry_out(&driver, vec![locked(1200, 2), wish(700.0, 3)]), vec![Outcome::Applied; 2]);
    assert_eq!(ceiling_of(&driver), 0);
}

#[test]
fn a_clock_that_another_process_left_locked_is_released_with_the_first_wish() {
    let driver = lockable();
    driver.set_clock_ceiling(&DeviceId::gpu(0), 900).expect("lockable");
    assert_eq!(carry_out(&driver, vec![wish(700.0, 1)]), vec![Outcome::Applied]);
    assert_eq!(ceiling_of(&driver), 0);
}

#[test]
fn a_ceiling_that_the_clock_does_not_keep_is_told_as_failed() {
    let driver = Driver { ignores_ceiling: true, ..lockable() };
    assert_eq!(carry_out(&driver, vec![locked(1200, 1)]), vec![Outcome::Refused(Refusal::DeviceFailed)]);
    // Boards round to a clock that they offer.
    assert_eq!(carry_out(&driver, vec![locked(BOOST_MHZ - CLOCK_TOLERANCE_MHZ, 2)]), vec![Outcome::Applied]);
}

#[test]
fn a_ceiling_that_a_reset_has_forgotten_is_set_again_but_not_without_end() {
    let driver = lockable();
    let (gpu, wish, at) = (DeviceId::gpu(0), locked(1200, 1), Instant::now());
    let long_ago = at.checked_sub(RETRY).expect("the machine is up for longer");
    // The limit is the one that the GPU woke up with: it tells nothing of the reset.
    let mut written = Some(Written { limit: wish.limit, clock_ceiling_mhz: 1200, at, clock_at: long_ago });
    act(&driver, &gpu, wish, &mut written).expect("set");
    assert_eq!((ceiling_of(&driver), driver.writes.load(Ordering::Relaxed)), (1200, 0));
    driver.set_clock_ceiling(&gpu, 0).expect("lockable");
    act(&driver, &gpu, wish, &mut written).expect("nothing to do");
    assert_eq!(ceiling_of(&driver), 0, "tried a moment ago");
}

#[test]
fn releasing_a_clock_fails_only_where_it_was_lockable() {
    struct Broken;
    impl Lever for Broken {
        fn set_limit(&self, _: &DeviceId, _: Watts) -> Result<(), Refusal> {
            Ok(())
        }
        fn enforced(&self, _: &DeviceId) -> Result<Watts, Refusal> {
            Err(Refusal::DeviceFailed)
        }
        fn set_clock_ceiling(&self, _: &DeviceId, _: u32) -> Result<(), Refusal> {
            Err(Refusal::DeviceFailed)
        }
        fn sm_clock(&self, _: &DeviceId) -> Result<u32, Refusal> {
            Err(Refusal::DeviceFailed)
        }
    }
    assert_eq!(release_clock(&driver(), &DeviceId::gpu(0)), Ok(()));
    assert_eq!(release_clock(&Broken, &DeviceId::gpu(0)), Err(Refusal::DeviceFailed));
}

#[test]
fn a_repeated_wish_is_told_once() {
    assert_eq!(carry_out(&driver(), vec![wish(500.0, 1), wish(500.0, 1)]), vec![Outcome::Applied]);
}

/// GPU 0 never returns from the driver.
struct Hung(Driver);

impl Lever for Hung {
    fn set_limit(&self, device: &DeviceId, limit: Watts) -> Result<(), Refusal> {
        while *device == DeviceId::gpu(0) {
            std::thread::park();
        }
        self.0.set_limit(device, limit)
    }
    fn enforced(&self, device: &DeviceId) -> Result<Watts, Refusal> {
        self.0.enforced(device)
    }
    fn set_clock_ceiling(&self, device: &DeviceId, mhz: u32) -> Result<(), Refusal> {
        self.0.set_clock_ceiling(device, mhz)
    }
    fn sm_clock(&self, device: &DeviceId) -> Result<u32, Refusal> {
        self.0.sm_clock(device)
    }
}

#[test]
fn a_gpu_that_hangs_the_driver_does_not_keep_the_others_uncapped() {
    let (tell, told) = std::sync::mpsc::channel();
    let crew = Crew::new(move |device, _, outcome| drop(tell.send((device.clone(), outcome))));
    crew.equip(std::sync::Arc::new(Hung(driver())));
    crew.wish(&BTreeMap::from([(DeviceId::gpu(0), wish(500.0, 1)), (DeviceId::gpu(1), wish(500.0, 1))]));
    assert_eq!(told.recv_timeout(Duration::from_secs(5)), Ok((DeviceId::gpu(1), Outcome::Applied)));
    assert_eq!(crew.wait_idle(Duration::from_millis(100)), vec![DeviceId::gpu(0)]);
}
