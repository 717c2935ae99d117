//! The engine against PyTorch's numbers on the same small inputs: every optimiser, schedule and loss, forward pass and back-propagation of
//! the layers, L2 and clipping. `reference/pytorch.py` made the numbers.

use burn::backend::Autodiff;
use burn::module::{Module, Param};
use burn::tensor::activation::relu;
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use burn_flex::{Flex, FlexDevice};
use headroom_train::engine::image::{patches, pool};
use headroom_train::engine::layer::{Dense, Init, Norm};
use headroom_train::engine::{
    self, Clip, Criterion, Loss, Network, Optimiser, Pass, Plan, Rows, Schedule, ScheduleShape, Silent, Source,
    Trainer, Workers,
};
use serde_json::Value;

type Cpu = Autodiff<Flex>;

fn reference(part: &str) -> Value {
    let mut all: Value = serde_json::from_str(include_str!("reference/numbers.json")).expect("JSON");
    all[part].take()
}

fn floats(value: &Value) -> Vec<f32> {
    serde_json::from_value(value.clone()).expect("numbers")
}

fn tensor<B: Backend, const D: usize>(value: &Value, shape: [usize; D]) -> Tensor<B, D> {
    Tensor::from_data(TensorData::new(floats(value), shape), &B::Device::default())
}

/// Within `tolerance` of the larger of 1 and the number.
fn assert_close(ours: &[f32], theirs: &[f32], tolerance: f32, what: &str) {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    for (i, (a, b)) in ours.iter().zip(theirs).enumerate() {
        assert!((a - b).abs() <= tolerance * b.abs().max(1.0), "{what}, number {i}: ours {a}, PyTorch {b}");
    }
}

fn workers() -> Workers<FlexDevice> {
    Workers::new(vec![FlexDevice], 1)
}

/// Answers its own parameter, whatever it is asked.
#[derive(Module, Debug)]
struct Point<B: Backend> {
    at: Param<Tensor<B, 2>>,
}

impl<B: Backend> Network<B> for Point<B> {
    fn forward(&self, _: Tensor<B, 2>, _: &Pass) -> Tensor<B, 2> {
        self.at.val()
    }
}

struct Bowl(Vec<f32>);
impl Criterion for Bowl {
    fn loss<B: Backend>(&self, at: Tensor<B, 2>, target: Tensor<B, 2>) -> Tensor<B, 1> {
        let curvature = Tensor::from_data(TensorData::new(self.0.clone(), [1, self.0.len()]), &at.device());
        let missed = at - target;
        (missed.clone() * missed * curvature).sum()
    }
}

#[test]
fn every_optimiser_takes_the_reference_path_with_and_without_l2() {
    let all = reference("optimisers");
    let mut seen = 0;
    for case in all["paths"].as_array().unwrap() {
        let name = case["optimiser"].as_str().unwrap();
        let centred = Optimiser::RmsProp { memory: 0.99, epsilon: 1e-8, momentum: 0.5, centred: true };
        let optimiser = match name {
            "descent" => Optimiser::descent(),
            "momentum" => Optimiser::Descent { momentum: 0.9, nesterov: false },
            "nesterov" => Optimiser::Descent { momentum: 0.9, nesterov: true },
            "adagrad" => Optimiser::adagrad(),
            "rms_prop" => Optimiser::rms_prop(),
            "rms_prop_momentum" => Optimiser::RmsProp { memory: 0.99, epsilon: 1e-8, momentum: 0.9, centred: false },
            "rms_prop_centred" => centred,
            "adam" => Optimiser::adam(),
            "adam_w" => Optimiser::adam_w(),
            other => panic!("no optimiser is called {other}"),
        };
        // A warm-up as long as the training: the rate is 0.01, 0.02, ... 0.10.
        let plan = Plan {
            epochs: 10,
            batch: None,
            optimiser,
            rate: 0.11,
            schedule: Schedule { warm_up: 1.0, shape: ScheduleShape::Constant },
            weight_decay: case["decay"].as_f64().unwrap(),
            ..Plan::default()
        };
        let point = Point::<Cpu> { at: Init::new(0, &FlexDevice).parameter([1, 6], floats(&all["start"])) };
        let mut trainer = Trainer::<Cpu, _>::new(point, plan, &workers());
        let mut target = Rows::new(1, 6);
        target.push(&[0.0], &floats(&all["target"]));
        let bowl = Bowl(floats(&all["curvature"]));
        for (step, theirs) in case["path"].as_array().unwrap().iter().enumerate() {
            trainer.epoch(&target, None, &bowl, &mut Silent).unwrap();
            let ours = engine::values(trainer.network()).concat();
            assert_close(&ours, &floats(theirs), 3e-6, &format!("{name}, decay {}, step {step}", case["decay"]));
        }
        seen += 1;
    }
    assert_eq!(seen, 18);
}

#[test]
fn every_schedule_gives_the_reference_rates() {
    let all = reference("schedules");
    let whole = |name: &str| all[name].as_u64().unwrap() as usize;
    let (epochs, steps, peak) = (whole("epochs"), whole("steps"), all["peak"].as_f64().unwrap());
    for case in all["cases"].as_array().unwrap() {
        let shape = match case["schedule"].as_str().unwrap() {
            "constant" => ScheduleShape::Constant,
            "step" => ScheduleShape::Step { every_epochs: 2, factor: 0.3 },
            "exponential" => ScheduleShape::Exponential { factor: 0.7 },
            "cosine" => ScheduleShape::Cosine { end: 0.01 },
            other => panic!("no schedule is called {other}"),
        };
        let schedule = Schedule { warm_up: case["warm_up"].as_f64().unwrap(), shape };
        for (step, theirs) in case["rates"].as_array().unwrap().iter().enumerate() {
            let (ours, theirs) = (schedule.rate(step, steps, epochs, peak), theirs.as_f64().unwrap());
            assert!((ours - theirs).abs() < 1e-9, "{schedule:?} step {step}: ours {ours}, PyTorch {theirs}");
        }
    }
}

#[test]
fn every_loss_and_its_gradient_are_the_references() {
    let mut seen = 0;
    for case in reference("losses").as_array().unwrap() {
        let name = case["loss"].as_str().unwrap();
        let loss = match name {
            "mse" => Loss::Mse,
            "mae" => Loss::Mae,
            "huber" => Loss::Huber { delta: 0.7 },
            "cross_entropy" => Loss::CrossEntropy { smoothing: 0.0 },
            "cross_entropy_smoothed" => Loss::CrossEntropy { smoothing: 0.1 },
            "bernoulli" => Loss::Bernoulli,
            "pinball" => Loss::Pinball { quantiles: vec![0.1, 0.5, 0.99] },
            other => panic!("no loss is called {other}"),
        };
        let rows = case["rows"].as_u64().unwrap() as usize;
        let columns = |key: &str| case[key].as_array().unwrap().len() / rows;
        let answers = tensor::<Cpu, 2>(&case["answers"], [rows, columns("answers")]).require_grad();
        let value = loss.loss(answers.clone(), tensor(&case["targets"], [rows, columns("targets")]));
        let gradients = value.backward();
        let gradient = engine::numbers(answers.grad(&gradients).unwrap());
        assert_close(&engine::numbers(value), &[case["value"].as_f64().unwrap() as f32], 1e-6, name);
        assert_close(&gradient, &floats(&case["gradient"]), 1e-6, &format!("gradient of {name}"));
        seen += 1;
    }
    assert_eq!(seen, 7);
}

#[derive(Module, Debug)]
struct Layers<B: Backend> {
    first: Dense<B>,
    norm: Norm<B>,
    second: Dense<B>,
}

impl<B: Backend> Network<B> for Layers<B> {
    fn forward(&self, x: Tensor<B, 2>, pass: &Pass) -> Tensor<B, 2> {
        let x = relu(self.norm.forward(self.first.forward(x, pass)));
        self.second.forward(x, pass)
    }
}

fn lists(value: &Value) -> Vec<Vec<f32>> {
    value.as_array().expect("a list").iter().map(floats).collect()
}

#[test]
fn layers_answer_propagate_back_and_learn_as_the_reference_does() {
    let all = reference("network");
    let init = &mut Init::<Cpu>::new(9, &FlexDevice);
    let network = Layers { first: init.dense(4, 6), norm: init.norm(6), second: init.dense(6, 2) };
    let network = engine::restore(network, &lists(&all["weights"])).unwrap();
    let answers = network.forward(tensor(&all["x"], [7, 4]), &Pass::answering());
    assert_close(&engine::numbers(answers.clone()), &floats(&all["answers"]), 1e-6, "answers");

    let gradients = Loss::Mse.loss(answers, tensor(&all["y"], [7, 2])).backward();
    let of = |p: &Param<Tensor<Cpu, 1>>| engine::numbers(p.val().grad(&gradients).unwrap());
    let of2 = |p: &Param<Tensor<Cpu, 2>>| engine::numbers(p.val().grad(&gradients).unwrap());
    let Layers { first, norm, second } = &network;
    let bias = |dense: &Dense<Cpu>| of(dense.bias.as_ref().unwrap());
    let ours =
        [of2(&first.weight), bias(first), of(&norm.gain), of(&norm.offset), of2(&second.weight), bias(second)].concat();
    assert_close(&ours, &lists(&all["gradients"]).concat(), 2e-6, "gradients");

    let plan = Plan {
        epochs: 5,
        batch: None,
        optimiser: Optimiser::adam_w(),
        rate: 0.01,
        schedule: Schedule::CONSTANT,
        weight_decay: 0.1,
        clip: Some(Clip::Norm(all["clip"].as_f64().unwrap())),
        shard_rows: 3,
        ..Plan::default()
    };
    let mut rows = Rows::new(4, 2);
    for (x, y) in floats(&all["x"]).chunks(4).zip(floats(&all["y"]).chunks(2)) {
        rows.push(x, y);
    }
    assert_eq!(rows.rows(), 7);
    // All norms are above the clip, else clipping would not be seen.
    assert!(floats(&all["norms"]).iter().all(|n| *n > 0.5));
    let mut trainer = Trainer::<Cpu, _>::new(network, plan, &workers());
    for step in 0..5 {
        let epoch = trainer.epoch(&rows, None, &Loss::Mse, &mut Silent).unwrap();
        let theirs = all["losses"][step].as_f64().unwrap() as f32;
        assert_close(&[epoch.train_loss as f32], &[theirs], 2e-6, &format!("loss {step}"));
        let theirs = lists(&all["trained"][step]).concat();
        assert_close(&engine::values(trainer.network()).concat(), &theirs, 5e-6, &format!("weights after step {step}"));
    }
}

#[test]
fn a_convolution_by_patches_is_the_references_forth_and_back() {
    let all = reference("convolution");
    let x = tensor::<Cpu, 4>(&all["x"], [2, 7, 6, 2]).require_grad();
    let init = &mut Init::<Cpu>::new(0, &FlexDevice);
    let layer = Dense {
        weight: init.parameter([18, 3], floats(&all["weight"])),
        bias: Some(init.parameter([3], floats(&all["bias"]))),
    };
    let answer = relu(pool(layer.forward(patches(x.clone(), 3), &Pass::answering())));
    assert_close(&engine::numbers(answer.clone()), &floats(&all["answer"]), 1e-6, "answer");
    let gradients = (answer.clone() * tensor(&all["weighting"], answer.dims())).sum().backward();
    let gradient = |t: Tensor<Cpu, 4>| engine::numbers(t.grad(&gradients).unwrap());
    assert_close(&gradient(x), &floats(&all["x_gradient"]), 2e-6, "gradient of the image");
    let weight = engine::numbers(layer.weight.val().grad(&gradients).unwrap());
    assert_close(&weight, &floats(&all["weight_gradient"]), 2e-6, "gradient of the weights");
    let bias = engine::numbers(layer.bias.unwrap().val().grad(&gradients).unwrap());
    assert_close(&bias, &floats(&all["bias_gradient"]), 2e-6, "gradient of the bias");
}
