//! One step's gradients, and answers without learning: a batch is cut into shards, each goes forward
//! and back on its own replica of the network, and what comes back is added in the order of the
//! shards. The optimiser then makes one step, as if there had been one device.

use super::device::Workers;
use super::loss::Criterion;
use super::network::{Learnable, Network, Pass};
use super::parameters::{Gradients, gradients, numbers};
use super::plan::{Clip, Plan};
use super::source::Source;
use crate::chance::Chance;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Tensor, TensorData};
use std::ops::Range;

/// Rows per forward pass of a core where nothing is learnt.
const ANSWER_ROWS: usize = 512;

/// One batch: which rows, and from which numbers its chances are drawn.
pub(super) struct Batch<'a> {
    pub source: &'a dyn Source,
    pub rows: &'a [usize],
    pub epoch: u64,
    pub step: u64,
}

/// Cuts `n` rows into parts of nearly the same size, none above `most`.
fn shards(n: usize, most: usize) -> Vec<Range<usize>> {
    let parts = n.div_ceil(most.max(1)).max(1);
    (0..parts).map(|i| n * i / parts..n * (i + 1) / parts).collect()
}

/// Runs `work(shard, worker)` for all shards, spread over the workers; results in order.
fn spread<T: Send>(shards: usize, workers: usize, work: impl Fn(usize, usize) -> T + Sync) -> Vec<T> {
    let workers = workers.clamp(1, shards.max(1));
    if workers == 1 {
        return (0..shards).map(|shard| work(shard, 0)).collect();
    }
    let mut all: Vec<(usize, T)> = std::thread::scope(|scope| {
        let work = &work;
        let one = |worker| (worker..shards).step_by(workers).map(|s| (s, work(s, worker))).collect::<Vec<_>>();
        let others: Vec<_> = (1..workers).map(|worker| scope.spawn(move || one(worker))).collect();
        let mut all = one(0);
        for other in others {
            match other.join() {
                Ok(results) => all.extend(results),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        all
    });
    all.sort_by_key(|(shard, _)| *shard);
    all.into_iter().map(|(_, result)| result).collect()
}

/// Rows of a source as tensors.
fn load<B: Backend>(
    source: &dyn Source,
    rows: &[usize],
    chance: impl Fn(usize) -> Option<Chance>,
    device: &B::Device,
) -> (Tensor<B, 2>, Tensor<B, 2>) {
    let (i, t) = source.widths();
    let (mut inputs, mut targets) = (vec![0.0; rows.len() * i], vec![0.0; rows.len() * t]);
    for (place, row) in rows.iter().enumerate() {
        let (x, y) = (&mut inputs[place * i..(place + 1) * i], &mut targets[place * t..(place + 1) * t]);
        source.fill(*row, chance(*row).as_mut(), x, y);
    }
    let tensor = |values, width| Tensor::from_data(TensorData::new(values, [rows.len(), width]), device);
    (tensor(inputs, i), tensor(targets, t))
}

/// Mean loss and gradients of one batch.
pub(super) fn learn<B, N, C>(
    network: &N,
    batch: &Batch<'_>,
    criterion: &C,
    plan: &Plan,
    workers: &Workers<B::Device>,
) -> (f64, Gradients<B::InnerBackend>)
where
    B: AutodiffBackend,
    N: Learnable<B>,
    C: Criterion,
{
    let n = batch.rows.len();
    let shards = shards(n, workers.shard_rows(n, plan.shard_rows));
    // Forked here, in order, because a network may be sent to another thread but not shared.
    let replicas: Vec<_> = (0..shards.len())
        .map(|shard| {
            let device = workers.device(shard % workers.count().clamp(1, shards.len()));
            std::sync::Mutex::new(Some(network.clone().fork(device)))
        })
        .collect();
    let results = spread(shards.len(), workers.count(), |shard, worker| {
        let replica = replicas[shard].lock().ok().and_then(|mut r| r.take()).expect("invariant: taken once");
        let range = shards[shard].clone();
        let rows = &batch.rows[range.clone()];
        let chance = |row: usize| Some(Chance::keyed([plan.seed, batch.epoch, row as u64]));
        let (x, y) = load::<B>(batch.source, rows, chance, workers.device(worker));
        let seed = Chance::keyed([plan.seed, batch.step, 1]).bits();
        let pass = Pass::learning(seed, range.start, range.len(), plan.precision);
        let loss = criterion.loss(replica.forward(x, &pass), y) * (range.len() as f64 / n as f64);
        let found = gradients::<B, N>(&replica, loss.backward());
        (f64::from(numbers(loss)[0]), found)
    });
    let mut loss = 0.0;
    let mut sum: Gradients<B::InnerBackend> = Vec::new();
    for (part, gradients) in results {
        loss += part;
        if sum.is_empty() {
            sum = gradients.into_iter().map(|g| g.map(|g| g.to_device(workers.main()))).collect();
            continue;
        }
        for (sum, gradient) in sum.iter_mut().zip(gradients) {
            *sum = match (sum.take(), gradient.map(|g| g.to_device(workers.main()))) {
                (Some(a), Some(b)) => Some(a + b),
                (a, b) => a.or(b),
            };
        }
    }
    (loss, clip(sum, plan.clip))
}

fn clip<B: Backend>(gradients: Gradients<B>, clip: Option<Clip>) -> Gradients<B> {
    match clip {
        None => gradients,
        Some(Clip::Value(most)) => gradients.into_iter().map(|g| g.map(|g| g.clamp(-most, most))).collect(),
        Some(Clip::Norm(most)) => {
            // Read in one go: a GPU works on while nobody asks.
            let squares: Vec<_> = gradients.iter().flatten().map(|g| (g.clone() * g.clone()).sum()).collect();
            let norm = match squares.is_empty() {
                true => 0.0,
                false => numbers(Tensor::cat(squares, 0)).into_iter().map(f64::from).sum::<f64>().sqrt(),
            };
            // As PyTorch: 1e-6 keeps the quotient finite.
            let factor = (most / (norm + 1e-6)).min(1.0);
            if factor < 1.0 { gradients.into_iter().map(|g| g.map(|g| g * factor)).collect() } else { gradients }
        }
    }
}

/// Answers to all rows of a source, row by row.
pub fn predict<B, N>(network: &N, source: &dyn Source, workers: &Workers<B::Device>) -> Vec<f32>
where
    B: Backend,
    N: Network<B>,
{
    forward(network, source, workers, |answers, _| numbers(answers)).concat()
}

/// Mean loss over all rows of a source; not a number when there are none.
pub fn evaluate<B, N, C>(network: &N, source: &dyn Source, criterion: &C, workers: &Workers<B::Device>) -> f64
where
    B: Backend,
    N: Network<B>,
    C: Criterion,
{
    let parts = forward(network, source, workers, |answers: Tensor<B, 2>, targets| {
        let rows = answers.dims()[0] as f64;
        f64::from(numbers(criterion.loss(answers, targets))[0]) * rows
    });
    parts.iter().sum::<f64>() / source.rows() as f64
}

fn forward<B, N, T>(
    network: &N,
    source: &dyn Source,
    workers: &Workers<B::Device>,
    finish: impl Fn(Tensor<B, 2>, Tensor<B, 2>) -> T + Sync,
) -> Vec<T>
where
    B: Backend,
    N: Network<B>,
    T: Send,
{
    let n = source.rows();
    if n == 0 {
        return Vec::new();
    }
    let shards = shards(n, workers.shard_rows(n, ANSWER_ROWS));
    let count = workers.count().clamp(1, shards.len());
    let replicas: Vec<_> =
        (0..count).map(|w| std::sync::Mutex::new(network.clone().to_device(workers.device(w)))).collect();
    spread(shards.len(), count, |shard, worker| {
        let rows: Vec<usize> = shards[shard].clone().collect();
        let (x, y) = load::<B>(source, &rows, |_| None, workers.device(worker));
        let replica = replicas[worker].lock().expect("invariant: no other thread has this replica").clone();
        finish(replica.forward(x, &Pass::answering()), y)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_cover_all_rows_in_order_and_none_is_too_large() {
        for (n, most) in [(1, 128), (128, 128), (129, 128), (1000, 7), (5, 0)] {
            let all = shards(n, most);
            assert_eq!(all.iter().cloned().flatten().collect::<Vec<_>>(), (0..n).collect::<Vec<_>>());
            assert!(all.iter().all(|s| s.len() <= most.max(1) && !s.is_empty()));
        }
    }

    #[test]
    fn results_come_in_order_however_many_work() {
        for workers in [1, 2, 3, 8] {
            assert_eq!(spread(5, workers, |shard, _| shard * 10), [0, 10, 20, 30, 40]);
        }
    }
}
