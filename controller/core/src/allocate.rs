//! Splits what the nodes allow among the racks: floors first, then band by band, inside a band by
//! weighted fair share (progressive filling, Bertsekas & Gallager, *Data Networks*, 6.5.2). A
//! rack's share must fit every node it hangs on.

/// What one rack asks for, in watts.
#[derive(Debug, Clone, PartialEq)]
pub struct Ask {
    /// Given in any case.
    pub floor: f64,
    /// Wanted at most.
    pub demand: f64,
    /// Weight inside the band, above 0.
    pub weight: f64,
    /// Band, 0 first.
    pub band: usize,
    /// Nodes above and the share each carries.
    pub shares: Vec<(usize, f64)>,
}

/// What one rack got.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Grant {
    /// Watts.
    pub watts: f64,
    /// The node that kept it below its demand.
    pub bound_by: Option<usize>,
}

/// Watts below which a difference is rounding.
const EPSILON: f64 = 1e-6;

/// Allocates `limits[node]` among `asks`. Sums never exceed a limit unless the floors alone do.
pub fn allocate(limits: &[f64], asks: &[Ask]) -> Vec<Grant> {
    let mut left = limits.to_vec();
    let mut grants: Vec<Grant> = asks
        .iter()
        .map(|ask| {
            take(&mut left, ask, ask.floor);
            Grant { watts: ask.floor, bound_by: None }
        })
        .collect();
    let mut bands: Vec<usize> = asks.iter().map(|a| a.band).collect();
    bands.sort_unstable();
    bands.dedup();
    for band in bands {
        let members = (0..asks.len()).filter(|i| asks[*i].band == band).collect();
        fill(&mut left, asks, members, &mut grants);
    }
    grants
}

fn take(left: &mut [f64], ask: &Ask, watts: f64) {
    for (node, share) in &ask.shares {
        left[*node] -= watts * share;
    }
}

/// Raises all members together, by weight, freezing each at its demand or at the first full node.
fn fill(left: &mut [f64], asks: &[Ask], mut rising: Vec<usize>, grants: &mut [Grant]) {
    loop {
        rising.retain(|i| grants[*i].watts + EPSILON < asks[*i].demand);
        let mut weight_on = vec![0.0; left.len()];
        for i in &rising {
            for (node, share) in &asks[*i].shares {
                weight_on[*node] += asks[*i].weight * share;
            }
        }
        let full = |node: usize| left[node] <= EPSILON;
        rising.retain(|i| {
            let blocking = asks[*i].shares.iter().find(|(node, share)| *share > 0.0 && full(*node));
            if let Some((node, _)) = blocking {
                grants[*i].bound_by = Some(*node);
            }
            blocking.is_none()
        });
        if rising.is_empty() {
            return;
        }
        let to_demand = rising.iter().map(|i| (asks[*i].demand - grants[*i].watts) / asks[*i].weight);
        let to_full = (0..left.len()).filter(|n| weight_on[*n] > 0.0 && !full(*n)).map(|n| left[n] / weight_on[n]);
        let step = to_demand.chain(to_full).fold(f64::INFINITY, f64::min);
        for i in &rising {
            let watts = step * asks[*i].weight;
            grants[*i].watts += watts;
            take(left, &asks[*i], watts);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ask(band: usize, floor: f64, demand: f64) -> Ask {
        Ask { floor, demand, weight: 1.0, band, shares: vec![(0, 0.5), (1, 0.5)] }
    }

    #[test]
    fn a_higher_band_is_served_before_a_lower_one() {
        let grants = allocate(&[50.0, 50.0], &[ask(1, 10.0, 80.0), ask(0, 10.0, 80.0)]);
        assert!((grants[1].watts - 80.0).abs() < 1e-3, "{grants:?}");
        assert!((grants[0].watts - 20.0).abs() < 1e-3 && grants[0].bound_by.is_some(), "{grants:?}");
    }

    #[test]
    fn equals_share_equally_and_weight_counts() {
        let mut heavy = ask(0, 0.0, 1e3);
        heavy.weight = 3.0;
        let grants = allocate(&[50.0, 50.0], &[heavy, ask(0, 0.0, 1e3)]);
        assert!((grants[0].watts - 75.0).abs() < 1e-3 && (grants[1].watts - 25.0).abs() < 1e-3, "{grants:?}");
    }

    fn asks() -> impl Strategy<Value = (Vec<f64>, Vec<Ask>)> {
        let node = || prop::collection::vec(0.0_f64..5000.0, 3);
        let one = (0.0_f64..300.0, 0.0_f64..2000.0, 0.1_f64..5.0, 0_usize..3, 0.05_f64..0.95).prop_map(
            |(floor, more, weight, band, share)| Ask {
                floor,
                demand: floor + more,
                weight,
                band,
                shares: vec![(0, share), (1, 1.0 - share), (2, 1.0)],
            },
        );
        (node(), prop::collection::vec(one, 1..12))
    }

    fn on(node: usize, asks: &[Ask], watts: impl Fn(usize) -> f64) -> f64 {
        let share = |a: &Ask| a.shares.iter().filter(|s| s.0 == node).map(|s| s.1).sum::<f64>();
        asks.iter().enumerate().map(|(i, a)| share(a) * watts(i)).sum()
    }

    proptest! {
        #[test]
        fn no_node_carries_more_than_its_limit_or_its_floors((limits, asks) in asks()) {
            let grants = allocate(&limits, &asks);
            for (node, limit) in limits.iter().enumerate() {
                let floors = on(node, &asks, |i| asks[i].floor);
                let sum = on(node, &asks, |i| grants[i].watts);
                prop_assert!(sum <= limit.max(floors) + 1e-3, "node {node}: {sum} over {limit}, floors {floors}");
            }
        }

        #[test]
        fn nobody_gets_less_than_the_floor_or_more_than_it_wants((limits, asks) in asks()) {
            for (grant, ask) in allocate(&limits, &asks).iter().zip(&asks) {
                prop_assert!(grant.watts >= ask.floor && grant.watts <= ask.demand + 1e-3);
            }
        }

        #[test]
        fn asking_for_what_one_got_changes_nothing((limits, mut asks) in asks()) {
            let first = allocate(&limits, &asks);
            for (ask, grant) in asks.iter_mut().zip(&first) {
                ask.demand = grant.watts;
            }
            for (a, b) in first.iter().zip(allocate(&limits, &asks)) {
                prop_assert!((a.watts - b.watts).abs() < 1e-2, "{a:?} {b:?}");
            }
        }

        #[test]
        fn a_higher_band_is_never_cut_while_a_lower_one_has_more_than_its_floor_there((limits, asks) in asks()) {
            let grants = allocate(&limits, &asks);
            for (high, grant) in asks.iter().zip(&grants) {
                let Some(node) = grant.bound_by else { continue };
                for (low, got) in asks.iter().zip(&grants).filter(|(low, _)| low.band > high.band) {
                    let there = low.shares.iter().any(|(n, s)| *n == node && *s > 0.0);
                    prop_assert!(!there || got.watts <= low.floor + 1e-3);
                }
            }
        }
    }
}
