//! The engine as a user of it sees it: the same seed gives the same numbers, whatever the number of
//! cores; a resumed training equals an uninterrupted one; it stops when validation says so.

use burn::backend::Autodiff;
use burn::module::{AutodiffModule, Module};
use burn::tensor::Tensor;
use burn::tensor::activation::relu;
use burn::tensor::backend::Backend;
use burn_flex::{Flex, FlexDevice};
use headroom_train::chance::Chance;
use headroom_train::engine::layer::{Dense, Init, Norm};
use headroom_train::engine::{
    self, Checkpoint, Clip, Epoch, Loss, Network, Optimiser, Pass, Plan, Rows, Silent, Source, Trainer, Watch, Workers,
};

type Cpu = Autodiff<Flex>;

#[derive(Module, Debug)]
struct Small<B: Backend> {
    first: Dense<B>,
    norm: Norm<B>,
    second: Dense<B>,
}

impl<B: Backend> Network<B> for Small<B> {
    fn forward(&self, x: Tensor<B, 2>, pass: &Pass) -> Tensor<B, 2> {
        let h = relu(self.norm.forward(self.first.forward(x, pass)));
        self.second.forward(pass.dropout(h, 0.2), pass)
    }
}

fn network(seed: u64) -> Small<Cpu> {
    let init = &mut Init::new(seed, &FlexDevice);
    Small { first: init.dense(6, 24), norm: init.norm(24), second: init.dense(24, 2) }
}

fn rows(n: usize, purpose: &str) -> Rows {
    let mut chance = Chance::new(4, purpose);
    let mut rows = Rows::new(6, 2);
    for _ in 0..n {
        let x: Vec<f32> = (0..6).map(|_| chance.normal() as f32).collect();
        let y = [x[0] * x[1] + 0.5 * x[2], (x[3] - x[4]).abs() + 0.1 * chance.normal() as f32];
        rows.push(&x, &y);
    }
    rows
}

fn plan() -> Plan {
    Plan { epochs: 4, batch: Some(100), rate: 5e-3, weight_decay: 1e-2, clip: Some(Clip::Norm(1.0)), ..Plan::default() }
}

fn workers(count: usize) -> Workers<FlexDevice> {
    Workers::new(vec![FlexDevice], count)
}

fn trained(plan: Plan, workers: &Workers<FlexDevice>) -> Vec<Vec<f32>> {
    let mut trainer = Trainer::<Cpu, _>::new(network(1), plan, workers);
    trainer.fit(&rows(450, "train"), None, &Loss::Mse, &mut Silent).expect("the training ends");
    engine::values(trainer.network())
}

fn largest_difference(a: &[Vec<f32>], b: &[Vec<f32>]) -> f32 {
    let pairs = a.iter().flatten().zip(b.iter().flatten());
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn the_same_seed_gives_the_same_bits_however_many_cores_there_are() {
    let plan = Plan { shard_rows: 32, ..plan() };
    let one = trained(plan.clone(), &workers(1));
    assert_eq!(one, trained(plan.clone(), &workers(3)));
    assert_ne!(one, trained(Plan { seed: 2, ..plan }, &workers(1)));
}

#[test]
fn replicas_that_share_a_batch_equal_one_device_within_rounding() {
    let whole = trained(Plan { shard_rows: 1000, ..plan() }, &workers(1));
    for shard_rows in [50, 34, 7] {
        let shared = trained(Plan { shard_rows, ..plan() }, &Workers::new(vec![FlexDevice; 2], 2));
        let difference = largest_difference(&whole, &shared);
        assert!(difference < 2e-5, "{shard_rows} rows a shard: {difference}");
    }
    // The comparison can fail: another batch size moves the weights by much more.
    let other = trained(Plan { batch: Some(90), ..plan() }, &workers(1));
    assert!(largest_difference(&whole, &other) > 1e-3);
}

#[test]
fn a_resumed_training_equals_an_uninterrupted_one_to_the_bit() {
    let (train, validation) = (rows(300, "train"), rows(100, "validation"));
    for optimiser in [
        Optimiser::Descent { momentum: 0.9, nesterov: true },
        Optimiser::adagrad(),
        Optimiser::RmsProp { memory: 0.99, epsilon: 1e-8, momentum: 0.5, centred: true },
        Optimiser::adam_w(),
    ] {
        let plan = Plan { optimiser, ..plan() };
        let start = || Trainer::<Cpu, _>::new(network(1), plan.clone(), &workers(2));
        let epoch = |t: &mut Trainer<Cpu, Small<Cpu>>| t.epoch(&train, Some(&validation), &Loss::Mse, &mut Silent);
        let mut whole = start();
        let mut broken = start();
        for _ in 0..2 {
            epoch(&mut whole).unwrap();
            epoch(&mut broken).unwrap();
        }
        let text = serde_json::to_string(&broken.checkpoint()).unwrap();
        let checkpoint: Checkpoint = serde_json::from_str(&text).unwrap();
        // Without the optimiser's memory the numbers are others: the comparison can fail.
        let forgetful = Checkpoint { memory: vec![Vec::new(); checkpoint.memory.len()], ..checkpoint.clone() };
        let mut broken = start().resume(checkpoint).unwrap();
        let mut forgetful = start().resume(forgetful).unwrap();
        for _ in 0..2 {
            let (a, b) = (epoch(&mut whole).unwrap(), epoch(&mut broken).unwrap());
            assert_eq!((a.train_loss, a.validation_loss), (b.train_loss, b.validation_loss), "{optimiser:?}");
            epoch(&mut forgetful).unwrap();
        }
        assert_eq!(engine::values(whole.network()), engine::values(broken.network()), "{optimiser:?}");
        assert_ne!(engine::values(whole.network()), engine::values(forgetful.network()), "{optimiser:?}");
    }
}

#[test]
fn a_checkpoint_of_another_network_is_refused() {
    let other = Small::<Cpu> { second: Init::new(1, &FlexDevice).dense(24, 3), ..network(1) };
    let checkpoint = Trainer::<Cpu, _>::new(other, plan(), &workers(1)).checkpoint();
    let error = Trainer::<Cpu, _>::new(network(1), plan(), &workers(1)).resume(checkpoint).unwrap_err();
    assert!(error.to_string().contains("another network"), "{error}");
}

#[test]
fn it_stops_when_validation_no_longer_improves_and_keeps_the_best_weights() {
    #[derive(Default)]
    struct Seen(Vec<(Epoch, bool)>);
    impl Watch for Seen {
        fn epoch(&mut self, epoch: &Epoch, better: bool, _: usize) -> anyhow::Result<()> {
            self.0.push((*epoch, better));
            Ok(())
        }
    }
    // Twenty rows are learnt by heart soon: validation turns.
    let (train, validation) = (rows(20, "train"), rows(200, "validation"));
    let plan = Plan { epochs: 400, batch: None, rate: 0.02, patience: Some(5), ..plan() };
    let mut trainer = Trainer::<Cpu, _>::new(network(1), plan, &workers(1));
    let mut seen = Seen::default();
    trainer.fit(&train, Some(&validation), &Loss::Mse, &mut seen).unwrap();
    let best = seen.0.iter().map(|(e, _)| e.validation_loss).fold(f64::MAX, f64::min);
    let (last, _) = seen.0.last().unwrap();
    assert!(last.epoch < 400 && last.validation_loss > best);
    assert_eq!(trainer.state().best_epoch + 5, last.epoch);
    let now = engine::evaluate(&trainer.network().valid(), &validation, &Loss::Mse, &workers(1));
    assert!((now - best).abs() < 1e-9, "{now} {best}");
}

#[test]
fn a_watcher_ends_a_training_and_no_rows_are_an_error() {
    struct Enough;
    impl Watch for Enough {
        fn step(&mut self, step: &engine::Step) -> anyhow::Result<()> {
            anyhow::ensure!(step.done < 3, "enough");
            Ok(())
        }
    }
    let mut trainer = Trainer::<Cpu, _>::new(network(1), plan(), &workers(1));
    let error = trainer.fit(&rows(450, "train"), None, &Loss::Mse, &mut Enough).unwrap_err();
    assert_eq!(error.to_string(), "enough");
    let error = trainer.fit(&Rows::new(6, 2), None, &Loss::Mse, &mut Silent).unwrap_err();
    assert!(error.to_string().contains("no rows"), "{error}");
}

#[test]
fn answers_do_not_depend_on_how_many_work_and_augmentation_is_for_learning_only() {
    struct Noisy(Rows);
    impl Source for Noisy {
        fn rows(&self) -> usize {
            self.0.rows()
        }
        fn widths(&self) -> (usize, usize) {
            self.0.widths()
        }
        fn fill(&self, row: usize, chance: Option<&mut Chance>, inputs: &mut [f32], targets: &mut [f32]) {
            self.0.fill(row, None, inputs, targets);
            if let Some(chance) = chance {
                inputs.iter_mut().for_each(|x| *x += chance.normal() as f32);
            }
        }
    }
    let network = network(3).valid();
    let rows = rows(1500, "train");
    let one = engine::predict(&network, &rows, &workers(1));
    assert_eq!(one.len(), 3000);
    assert_eq!(one, engine::predict(&network, &Noisy(rows.clone()), &workers(4)));
}
