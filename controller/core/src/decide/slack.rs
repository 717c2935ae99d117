//! What racks leave of a limit from outside. Limits of GPUs bound the worst case: idle GPUs hold a share that
//! they do not draw, others are regulated a little below theirs. Of a breaker nobody may take that: it could be
//! drawn at once. A limit from outside is a matter of seconds, so as much is given to the racks again as flows
//! less, slowly, and taken back at once.

use headroom_rack::Watts;

/// What flows beyond this share of the limit is taken back at once; below it, jobs that start and end on single
/// GPUs would be chased, and each limit that is lowered stands for a while.
const AT_ONCE: f64 = 1.01;
/// Time constant of giving, s: about the time in which what was given is seen to flow.
const GIVE_S: f64 = 3.0;
/// What racks no longer leave is forgotten over this, s: one whose limit was just raised is not held by it for a
/// moment.
const FORGET_S: f64 = 20.0;
/// A peak is forgotten over this, s: training steps take seconds, and what flows at their peaks must fit.
const PEAK_S: f64 = 10.0;

/// What is given beyond the limit because it is not drawn.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Slack {
    target: Option<Watts>,
    watts: Watts,
    /// The most that flowed lately.
    peak: Watts,
}

impl Slack {
    /// One decision: `flows` under `target`, and racks held by their limits leave `unused` of what they were
    /// given. A limit that comes or is lowered begins without slack.
    pub fn step(&mut self, target: Option<Watts>, flows: Watts, unused: Watts, dt_s: f64) {
        let before = std::mem::replace(&mut self.target, target);
        let Some(target) = target.filter(|target| before.is_some_and(|before| *target >= before)) else {
            (self.watts, self.peak) = (Watts::ZERO, Watts::ZERO);
            return;
        };
        self.peak = flows.max(self.peak + (flows - self.peak) * super::follows(dt_s, PEAK_S));
        let (gap, part) = match (flows / target, self.peak / target) {
            (over, _) if over > AT_ONCE => (target - flows, 1.0),
            (_, over) if over > 1.0 => (Watts::ZERO, 0.0),
            _ => (target - self.peak, super::follows(dt_s, GIVE_S)),
        };
        let most = unused.max(self.watts * (-dt_s / FORGET_S).exp());
        self.watts = (self.watts + gap * part).min(most).max(Watts::ZERO);
    }

    /// What it is now.
    pub fn watts(self) -> Watts {
        self.watts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn step(slack: &mut Slack, target: Option<f64>, flows: f64, unused: f64) -> f64 {
        slack.step(target.map(Watts::new), Watts::new(flows), Watts::new(unused), 1.0);
        slack.watts().get()
    }

    #[test]
    fn what_pressed_racks_leave_is_given_slowly_and_taken_back_at_once() {
        let mut slack = Slack::default();
        assert_eq!(step(&mut slack, Some(1000.0), 1300.0, 500.0), 0.0, "a new limit is the worst case");
        let given: Vec<f64> = (0..10).map(|_| step(&mut slack, Some(1000.0), 800.0, 500.0)).collect();
        assert!(given.is_sorted() && given[0] < 80.0 && given[9] == 500.0, "{given:?}");
        assert_eq!(step(&mut slack, Some(1000.0), 1040.0, 500.0), 460.0);
        assert_eq!(step(&mut slack, Some(1000.0), 1008.0, 500.0), 460.0, "a trifle");
        assert_eq!(step(&mut slack, Some(900.0), 800.0, 500.0), 0.0, "lowered: from the beginning");
        assert_eq!(step(&mut slack, None, 800.0, 500.0), 0.0);
    }

    #[test]
    fn racks_that_want_less_than_they_have_are_given_no_more() {
        let mut slack = Slack::default();
        assert!((0..100).all(|_| step(&mut slack, Some(1000.0), 300.0, 0.0) == 0.0));
    }

    proptest! {
        /// A load that draws a fixed share of what it is given comes to the aim and stays below the limit.
        #[test]
        fn a_load_with_idle_gpus_is_brought_to_the_limit_and_not_over_it(share in 0.6_f64..0.98) {
            let mut slack = Slack::default();
            let (target, mut flows, mut most) = (1000.0, 1300.0, 0.0_f64);
            for second in 0..120 {
                let unused = (target + slack.watts().get()) * (1.0 - share);
                flows = (target + step(&mut slack, Some(target), flows, unused)) * share;
                most = if second > 1 { most.max(flows) } else { 0.0 };
            }
            prop_assert!((flows - 1000.0).abs() < 10.0 && most < 1010.0, "{flows} {most}");
        }
    }
}
