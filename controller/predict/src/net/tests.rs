//! Our operators beside plain sums and beside tract's own.

use super::dense::{Weights, layers};
use super::*;
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::math;

const SHIPPED: &[u8] = include_bytes!("../../../models/rack-power.onnx");

fn number(i: usize) -> f32 {
    (i * 7919 % 1013) as f32 / 506.0 - 1.0
}

fn numbers(n: usize, from: usize) -> Vec<f32> {
    (from..from + n).map(number).collect()
}

#[test]
fn a_layer_of_any_shape_is_the_plain_sum_on_every_instruction_set() {
    for (rows, inputs, outputs) in [(1, 1, 1), (3, 7, 5), (8, 128, 128), (9, 183, 18), (21, 64, 33), (40, 5, 96)] {
        let (x, w, bias) = (numbers(rows * inputs, 1), numbers(inputs * outputs, 2), numbers(outputs, 3));
        let weights = Weights::new(inputs, outputs, |i, o| w[i * outputs + o]).with_bias(&bias);
        let residual = numbers(rows * outputs, 4);
        for (residual, relu) in [(None, false), (None, true), (Some(&residual[..]), false), (Some(&residual[..]), true)]
        {
            for layer in layers() {
                let mut out = vec![f32::NAN; rows * outputs];
                layer(&weights, &x, residual, relu, &mut out);
                for (at, got) in out.iter().enumerate() {
                    let (row, o) = (at / outputs, at % outputs);
                    let products = (0..inputs).map(|i| f64::from(x[row * inputs + i]) * f64::from(w[i * outputs + o]));
                    let sum = products.sum::<f64>() + f64::from(bias[o] + residual.map_or(0.0, |r| r[at]));
                    let sum = if relu { sum.max(0.0) } else { sum };
                    assert!((f64::from(*got) - sum).abs() < 1e-4, "{rows}x{inputs}x{outputs} at {at}: {got} {sum}");
                }
            }
        }
    }
}

fn kinds(plan: &Plan) -> Vec<String> {
    plan.plan.model().nodes.iter().map(|node| node.op().name().to_string()).collect()
}

#[test]
fn the_shipped_model_runs_in_our_operators_and_answers_as_in_tracts_own() {
    let Some(layer) = layers().first().copied() else { return };
    let net = Net::load(SHIPPED).unwrap();
    assert_eq!(net.many.iter().map(|many| many.windows).collect::<Vec<_>>(), MANY);
    let mut ours = kinds(&net.one);
    assert_eq!(ours.iter().filter(|kind| *kind == "Dense").count(), 7, "{ours:?}");
    ours.retain(|kind| kind.starts_with("OptMatMul") || kind == "EinSum");
    assert!(ours.is_empty(), "{ours:?}");
    let x = numbers(256 * FEATURES, 0);
    let windows: Vec<&[f32]> = x.chunks(FEATURES).collect();
    for n in [1, 32, 256] {
        let [ours, theirs] = [Some(layer), None].map(|layer| Plan::load(SHIPPED, n, layer).unwrap());
        let pair = [&ours, &theirs].map(|plan| plan.run(&windows[..n]).unwrap());
        assert!(pair[0].iter().zip(&pair[1]).all(|(a, b)| (a - b).abs() < 3e-6), "{n}");
        assert!(agree(&theirs, &ours, &windows[..n]));
    }
}

#[test]
fn any_number_of_windows_gets_the_answers_that_each_gets_alone() {
    let net = Net::load(SHIPPED).unwrap();
    let x = numbers(300 * FEATURES, 5);
    let windows: Vec<&[f32]> = x.chunks(FEATURES).collect();
    for n in [0, 1, FEW, FEW + 1, 31, 33, 256, 300] {
        let all = net.run_all(&windows[..n]);
        assert_eq!(all.len(), n);
        for (together, window) in all.iter().zip(&windows) {
            let (together, alone) = (together.as_ref().unwrap(), net.run(window).unwrap());
            assert!(together.iter().zip(&alone).all(|(a, b)| (a - b).abs() < 1e-5), "{n}");
        }
    }
}

#[test]
fn a_window_that_is_nonsense_spoils_no_other() {
    let net = Net::load(SHIPPED).unwrap();
    let (good, bad) = (numbers(FEATURES, 6), vec![f32::NAN; FEATURES]);
    let windows: Vec<&[f32]> = (0..40).map(|i| if i == 7 { &bad[..] } else { &good[..] }).collect();
    let answers = net.run_all(&windows);
    assert!(answers.iter().enumerate().all(|(i, answer)| answer.is_ok() == (i != 7)));
}

/// `relu((x - less) times w transposed) - (x w) row`: what is a product is ours whichever way the matrix lies, what is not stays.
#[test]
fn a_graph_that_is_no_forecaster_keeps_its_answers() {
    let Some(layer) = layers().first().copied() else { return };
    let model = || -> TractResult<TypedModel> {
        let mut model = TypedModel::default();
        let x = model.add_source("x", f32::fact([5, 12]))?;
        let constant = |shape: &[usize], from| Tensor::from_shape(shape, &numbers(shape.iter().product(), from));
        let less = model.add_const("less", constant(&[1, 12], 1)?)?;
        let (w, v) = (model.add_const("w", constant(&[12, 12], 2)?)?, model.add_const("v", constant(&[12, 12], 3)?)?);
        let row = model.add_const("row", constant(&[1, 12], 4)?)?;
        let zero = model.add_const("zero", Tensor::zero::<f32>(&[1, 1])?)?;
        let centred = model.wire_node("centred", math::sub(), &[x, less])?[0];
        let product = |axes: &str| TractResult::Ok(EinSum::new(axes.parse()?, f32::datum_type()));
        let one = model.wire_node("one", product("mk,nk->mn")?, &[centred, w])?[0];
        let one = model.wire_node("relu", math::max(), &[one, zero])?[0];
        let two = model.wire_node("two", product("mk,kn->mn")?, &[x, v])?[0];
        let two = model.wire_node("scaled", math::mul(), &[two, row])?[0];
        let out = model.wire_node("out", math::sub(), &[one, two])?;
        model.select_output_outlets(&out)?;
        Ok(model)
    };
    let answer = |model: TypedModel| {
        let input = Tensor::from_shape(&[5, 12], &numbers(60, 9)).unwrap();
        let out = model.into_optimized().unwrap().into_runnable().unwrap().run(tvec!(input.into())).unwrap();
        out[0].try_as_plain_ram().unwrap().as_slice::<f32>().unwrap().to_vec()
    };
    let mut ours = model().unwrap();
    fused::rewrite(&mut ours, layer).unwrap();
    assert!(ours.nodes.iter().filter(|node| node.op().name() == "Dense").count() == 2);
    let (ours, theirs) = (answer(ours), answer(model().unwrap()));
    assert!(ours.iter().zip(&theirs).all(|(a, b)| (a - b).abs() < 1e-4), "{ours:?} {theirs:?}");
}
