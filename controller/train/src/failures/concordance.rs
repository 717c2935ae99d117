//! Harrell's concordance (Harrell et al., "Evaluating the yield of medical tests", JAMA 247, 1982).

/// Of all pairs in which one is known to have failed first, the share in which it had the higher
/// risk; equal risks count half. 0.5 is chance, 1 is perfect. NaN without any such pair.
///
/// A pair counts if the shorter time ended in a failure; two at the same time count only if just one
/// of them failed, which then failed first.
pub fn concordance(times: &[f64], failed: &[bool], risks: &[f64]) -> f64 {
    let (concordant, pairs) = pairs(times, failed, risks);
    concordant / pairs
}

/// The same among the pairs of one cohort only: what is left when knowing the cohort is worth nothing.
pub fn within(cohorts: &[i64], times: &[f64], failed: &[bool], risks: &[f64]) -> f64 {
    let mut order: Vec<usize> = (0..times.len()).collect();
    order.sort_by_key(|i| cohorts[*i]);
    let (mut concordant, mut all) = (0.0, 0.0);
    for cohort in order.chunk_by(|a, b| cohorts[*a] == cohorts[*b]) {
        let of = |values: &[f64]| cohort.iter().map(|i| values[*i]).collect::<Vec<_>>();
        let failed: Vec<bool> = cohort.iter().map(|i| failed[*i]).collect();
        let (c, p) = pairs(&of(times), &failed, &of(risks));
        concordant += c;
        all += p;
    }
    concordant / all
}

/// Concordant pairs, and all that count.
fn pairs(times: &[f64], failed: &[bool], risks: &[f64]) -> (f64, f64) {
    // From the longest time to the shortest, counting the risks seen so far: n log n.
    let mut seen = Ranks::new(risks);
    let mut order: Vec<usize> = (0..times.len()).collect();
    order.sort_by(|a, b| times[*b].total_cmp(&times[*a]));
    let (mut concordant, mut pairs) = (0.0, 0.0);
    for same in order.chunk_by(|a, b| times[*a] == times[*b]) {
        let (failures, survivors): (Vec<usize>, Vec<usize>) = same.iter().partition(|i| failed[**i]);
        survivors.iter().for_each(|i| seen.add(risks[*i]));
        for i in &failures {
            let (lower, equal) = seen.lower_and_equal(risks[*i]);
            concordant += lower as f64 + 0.5 * equal as f64;
            pairs += seen.count as f64;
        }
        failures.iter().for_each(|i| seen.add(risks[*i]));
    }
    (concordant, pairs)
}

/// Counts of values by rank, in a Fenwick tree ("A new data structure for cumulative frequency
/// tables", 1994).
struct Ranks {
    sorted: Vec<f64>,
    tree: Vec<usize>,
    count: usize,
}

impl Ranks {
    fn new(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        sorted.dedup();
        Self { tree: vec![0; sorted.len() + 1], sorted, count: 0 }
    }

    fn rank(&self, value: f64) -> usize {
        self.sorted.partition_point(|v| *v < value) + 1
    }

    fn add(&mut self, value: f64) {
        self.count += 1;
        let mut k = self.rank(value);
        while k < self.tree.len() {
            self.tree[k] += 1;
            k += k & k.wrapping_neg();
        }
    }

    fn up_to(&self, mut rank: usize) -> usize {
        let mut sum = 0;
        while rank > 0 {
            sum += self.tree[rank];
            rank &= rank - 1;
        }
        sum
    }

    fn lower_and_equal(&self, value: f64) -> (usize, usize) {
        let rank = self.rank(value);
        let lower = self.up_to(rank - 1);
        (lower, self.up_to(rank) - lower)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::Chance;

    #[test]
    fn a_small_case_done_by_hand() {
        // Pairs that count: a before b, c, d; c before d. b is lost at 2, so it says nothing of c and d.
        let times = [1.0, 2.0, 3.0, 4.0];
        let failed = [true, false, true, false];
        assert_eq!(concordance(&times, &failed, &[4.0, 3.0, 2.0, 1.0]), 1.0);
        assert_eq!(concordance(&times, &failed, &[1.0, 2.0, 3.0, 4.0]), 0.0);
        // a > b and a = c, a > d, c > d: 3.5 of 4.
        assert_eq!(concordance(&times, &failed, &[3.0, 1.0, 3.0, 1.0]), 3.5 / 4.0);
        // At the same time the one that failed was first.
        assert_eq!(concordance(&[2.0, 2.0], &[true, false], &[1.0, 0.0]), 1.0);
        assert!(concordance(&[1.0, 2.0], &[false, true], &[1.0, 0.0]).is_nan());
    }

    #[test]
    fn within_cohorts_only_their_own_pairs_count() {
        let (times, failed) = ([1.0, 2.0, 10.0, 20.0], [true; 4]);
        let risks = [2.0, 1.0, 8.0, 4.0];
        assert_eq!(concordance(&times, &failed, &risks), 2.0 / 6.0);
        assert_eq!(within(&[1, 1, 2, 2], &times, &failed, &risks), 1.0);
    }

    #[test]
    fn it_equals_counting_all_pairs() {
        let mut chance = Chance::new(5, "test");
        let n = 200;
        let times: Vec<f64> = (0..n).map(|_| chance.below(40) as f64).collect();
        let failed: Vec<bool> = (0..n).map(|_| chance.unit() < 0.4).collect();
        let risks: Vec<f64> = (0..n).map(|_| chance.below(25) as f64).collect();
        let (mut good, mut pairs) = (0.0, 0.0);
        for i in (0..n).filter(|i| failed[*i]) {
            for j in (0..n).filter(|j| times[*j] > times[i] || (times[*j] == times[i] && !failed[*j])) {
                pairs += 1.0;
                good += if risks[i] > risks[j] {
                    1.0
                } else if risks[i] == risks[j] {
                    0.5
                } else {
                    0.0
                };
            }
        }
        assert!((concordance(&times, &failed, &risks) - good / pairs).abs() < 1e-12);
    }
}
