//! What a rack may draw, spread over its GPUs: one that wants less than an equal part leaves the rest to the
//! others. Limits of idle GPUs bound nothing, and what they hold would be missed by busy ones.
//!
//! The sum never exceeds what the rack was given, so that a GPU that starts to work is safe under the limit it
//! has; it waits for the next decision at the floor or above.

use super::shape::whole;
use crate::demand;
use crate::fleet::RackBelief;
use headroom_rack::Watts;

/// What a GPU wants is told in whole multiples of this, W, upwards: a limit that nobody feels need not follow.
const GRAIN: f64 = 50.0;
/// It is forgotten by so much in a second, W: a training step's pauses pass, the end of a job does not.
const FORGETS_WATTS_PER_S: f64 = 25.0;
/// Limits nearer to what is right than this stay, W.
const NEAR_WATTS: f64 = 15.0;

/// What is remembered of the GPUs of a rack that is held; empty while it is not.
#[derive(Debug, Clone, Default)]
pub(super) struct Spread {
    claims: Vec<f64>,
    limits: Vec<f64>,
}

/// What no GPU is given less or more of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub floor: Watts,
    pub ceiling: Watts,
}

impl Spread {
    /// Limits for `count` GPUs that sum up to `each` for each of them at most.
    pub(super) fn limits(
        &mut self,
        count: usize,
        each: Watts,
        bounds: Bounds,
        belief: Option<&RackBelief>,
        dt_s: f64,
    ) -> Vec<Watts> {
        let (floor, ceiling) = (bounds.floor.get(), bounds.ceiling.get());
        if each <= bounds.floor || each >= bounds.ceiling {
            *self = Self::default();
            return vec![each; count];
        }
        self.claim(count, ceiling, belief, dt_s);
        let total = each.get() * count as f64;
        let right = spread(total, &self.claims, floor, ceiling);
        if !self.stand(total, &right, ceiling) {
            self.limits = right;
        }
        self.limits.iter().map(|watts| Watts::new(*watts)).collect()
    }

    /// The limit of one GPU, W, if it is not that of all.
    pub(super) fn of(&self, gpu: usize) -> Option<Watts> {
        self.limits.get(gpu).copied().map(Watts::new)
    }

    /// What each GPU wants: up at once, down slowly; one that does not tell, all it can get.
    fn claim(&mut self, count: usize, ceiling: f64, belief: Option<&RackBelief>, dt_s: f64) {
        let gpus = belief.map_or(&[][..], |b| &b.gpus);
        let now =
            |g: usize| gpus.get(g).map_or(ceiling, |gpu| demand::of(gpu, Watts::new(ceiling), demand::GROWTH).get());
        if self.claims.len() != count {
            self.claims = (0..count).map(now).collect();
            return;
        }
        for (g, claim) in self.claims.iter_mut().enumerate() {
            *claim = now(g).max(*claim - FORGETS_WATTS_PER_S * dt_s);
        }
    }

    /// The limits in force do as well as those that are right now.
    fn stand(&self, total: f64, right: &[f64], ceiling: f64) -> bool {
        let sum: f64 = self.limits.iter().sum();
        let near = |((limit, right), claim): ((&f64, &f64), &f64)| {
            limit + NEAR_WATTS >= right.min(grained(*claim)).min(ceiling)
        };
        self.limits.len() == right.len()
            && sum <= total + 1e-6
            && sum + NEAR_WATTS * right.len() as f64 >= total
            && self.limits.iter().zip(right).zip(&self.claims).all(near)
    }
}

fn grained(claim: f64) -> f64 {
    (claim / GRAIN).ceil() * GRAIN
}

/// Limits that sum up to `total`: what is claimed, cut at one level; what is left over raises the lowest.
fn spread(total: f64, claims: &[f64], floor: f64, ceiling: f64) -> Vec<f64> {
    let claims: Vec<f64> = claims.iter().map(|c| grained(*c).clamp(floor, ceiling)).collect();
    let wanted: f64 = claims.iter().sum();
    let mut sorted = claims.clone();
    sorted.sort_by(f64::total_cmp);
    let level = if wanted > total { cut(total, &sorted) } else { lift(total, &sorted) };
    let levelled = |claim: f64| if wanted > total { claim.min(level) } else { claim.max(level) };
    let limit = |claim: f64| whole(Watts::new(levelled(claim).clamp(floor, ceiling))).get().max(floor);
    claims.iter().map(|claim| limit(*claim)).collect()
}

/// The level above which ascending claims must be cut to sum up to `total`.
fn cut(total: f64, claims: &[f64]) -> f64 {
    let mut rest = total;
    for (i, claim) in claims.iter().enumerate() {
        let even = rest / (claims.len() - i) as f64;
        if *claim >= even {
            return even;
        }
        rest -= claim;
    }
    f64::INFINITY
}

/// The level up to which ascending claims must be lifted to sum up to `total`.
fn lift(total: f64, claims: &[f64]) -> f64 {
    let mut above: f64 = claims.iter().sum();
    for (i, claim) in claims.iter().enumerate() {
        above -= claim;
        let even = (total - above) / (i + 1) as f64;
        if claims.get(i + 1).is_none_or(|next| even <= *next) {
            return even;
        }
    }
    f64::INFINITY
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_idle_gpu_leaves_what_it_does_not_want_to_a_busy_one() {
        assert_eq!(spread(1600.0, &[100.0, 100.0, 700.0, 700.0], 200.0, 700.0), [200.0, 200.0, 600.0, 600.0]);
        assert_eq!(spread(2000.0, &[90.0, 90.0, 700.0, 700.0], 200.0, 700.0), [300.0, 300.0, 700.0, 700.0]);
        assert_eq!(spread(1600.0, &[700.0; 4], 200.0, 700.0), [400.0; 4]);
    }

    #[test]
    fn limits_that_do_as_well_stay() {
        let bounds = Bounds { floor: Watts::new(200.0), ceiling: Watts::new(700.0) };
        let mut spread = Spread::default();
        let first = spread.limits(4, Watts::new(405.0), bounds, None, 1.0);
        assert_eq!(spread.limits(4, Watts::new(410.0), bounds, None, 1.0), first);
        assert!(spread.limits(4, Watts::new(400.0), bounds, None, 1.0) < first, "more than was given");
        assert_eq!(spread.limits(4, Watts::new(700.0), bounds, None, 1.0), [Watts::new(700.0); 4]);
    }

    proptest! {
        #[test]
        fn the_sum_is_what_was_given_and_nobody_leaves_the_bounds(
            claims in prop::collection::vec(0.0_f64..900.0, 1..17), each in 200.0_f64..700.0,
        ) {
            let total = each * claims.len() as f64;
            let limits = spread(total, &claims, 200.0, 700.0);
            let sum: f64 = limits.iter().sum();
            prop_assert!(sum <= total + 1e-6 && sum > total - 5.0 * claims.len() as f64, "{sum} of {total}: {limits:?}");
            prop_assert!(limits.iter().all(|l| (200.0..=700.0).contains(l)), "{limits:?}");
        }

        #[test]
        fn whoever_wants_more_never_gets_less(claims in prop::collection::vec(0.0_f64..900.0, 2..17), each in 200.0_f64..700.0) {
            let limits = spread(each * claims.len() as f64, &claims, 200.0, 700.0);
            for (a, la) in claims.iter().zip(&limits) {
                prop_assert!(claims.iter().zip(&limits).all(|(b, lb)| b <= a || lb >= la));
            }
        }
    }
}
