//! Our operators in tract's graph: products with constant matrices become [`Dense`], with the bias, residual and rectifier that
//! follow them, and scaling by constant rows becomes [`Scaled`]. Which graph they come from does not matter: what is not understood
//! stays as tract has it.

use super::dense::{Layer, Weights};
use std::sync::Arc;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::math::{Add, Div, Max, Mul, Sub};

/// A product with a constant matrix and what follows it. A second input is the residual.
#[derive(Debug, Clone)]
pub struct Dense {
    weights: Arc<Weights>,
    relu: bool,
    layer: Layer,
}

/// Rows less a constant row, times a constant row.
#[derive(Debug, Clone)]
pub struct Scaled {
    less: Arc<Vec<f32>>,
    times: Arc<Vec<f32>>,
}

impl PartialEq for Dense {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.weights, &other.weights) && self.relu == other.relu
    }
}
impl Eq for Dense {}
impl PartialEq for Scaled {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.less, &other.less) && Arc::ptr_eq(&self.times, &other.times)
    }
}
impl Eq for Scaled {}

/// Puts our operators where they fit; before tract takes the graph apart for its own.
pub fn rewrite(model: &mut TypedModel, layer: Layer) -> TractResult<()> {
    for id in model.eval_order()? {
        let node = model.node(id);
        let patch = if node.op_is::<EinSum>() {
            product(model, node, layer)?
        } else if node.op_is::<TypedBinOp>() {
            scaling(model, node)?
        } else {
            None
        };
        if let Some(patch) = patch {
            patch.apply(model)?;
        }
    }
    Ok(())
}

fn product(model: &TypedModel, node: &TypedNode, layer: Layer) -> TractResult<Option<TypedModelPatch>> {
    let Some(op) = node.op_as::<EinSum>() else { return Ok(None) };
    let &[x, w] = &*node.inputs else { return Ok(None) };
    let (x_fact, Some(konst)) = (model.outlet_fact(x)?, model.outlet_fact(w)?.konst.clone()) else { return Ok(None) };
    let floats =
        op.q_params.is_none() && x_fact.datum_type == f32::datum_type() && konst.datum_type() == f32::datum_type();
    if !floats || x_fact.rank() != 2 || konst.rank() != 2 {
        return Ok(None);
    }
    let name = |io: InOut, axis: usize| op.axes.axis((io, axis)).map(|axis| axis.repr);
    let [row, inner] = [name(InOut::In(0), 0)?, name(InOut::In(0), 1)?];
    let [first, second] = [name(InOut::In(1), 0)?, name(InOut::In(1), 1)?];
    let out = [name(InOut::Out(0), 0)?, name(InOut::Out(0), 1)?];
    let view = konst.to_plain_array_view::<f32>()?.into_dimensionality::<tract_ndarray::Ix2>()?;
    let weights = if first == inner && out == [row, second] {
        Weights::new(view.nrows(), view.ncols(), |i, o| view[[i, o]])
    } else if second == inner && out == [row, first] {
        Weights::new(view.ncols(), view.nrows(), |i, o| view[[o, i]])
    } else {
        return Ok(None);
    };
    let dense = Dense { weights: Arc::new(weights), relu: false, layer };
    TypedModelPatch::replace_single_op(model, node, &[x], dense).map(Some)
}

fn scaling(model: &TypedModel, node: &TypedNode) -> TractResult<Option<TypedModelPatch>> {
    let &[x, row] = &*node.inputs else { return Ok(None) };
    let fact = model.outlet_fact(x)?;
    let (Some(row), 2) = (constant_row(model, row)?, fact.rank()) else { return Ok(None) };
    if fact.konst.is_some() || fact.datum_type != f32::datum_type() || fact.shape[1] != row.len().to_dim() {
        return Ok(None);
    }
    let n = row.len();
    let (less, times) = match node.op_as::<TypedBinOp>().map(|op| &op.0) {
        Some(op) if op.is::<Sub>() => (row, vec![1.0; n]),
        Some(op) if op.is::<Mul>() => (vec![0.0; n], row),
        Some(op) if op.is::<Div>() => (vec![0.0; n], row.iter().map(|v| 1.0 / v).collect()),
        _ => return Ok(None),
    };
    let scaled = Scaled { less: Arc::new(less), times: Arc::new(times) };
    TypedModelPatch::replace_single_op(model, node, &[x], scaled).map(Some)
}

/// The numbers of a constant that is one row of more than one number, whatever its rank.
fn constant_row(model: &TypedModel, outlet: OutletId) -> TractResult<Option<Vec<f32>>> {
    let Some(konst) = model.outlet_fact(outlet)?.konst.clone() else { return Ok(None) };
    let row = konst.datum_type() == f32::datum_type() && konst.shape().last().is_some_and(|n| *n == konst.len());
    if !row || konst.len() < 2 {
        return Ok(None);
    }
    Ok(Some(konst.to_plain_array_view::<f32>()?.iter().copied().collect()))
}

impl Op for Dense {
    fn name(&self) -> StaticName {
        "Dense".into()
    }

    fn info(&self) -> TractResult<Vec<String>> {
        Ok(vec![format!("{:?}, relu: {}", self.weights, self.relu)])
    }

    op_as_typed_op!();
}

impl EvalOp for Dense {
    op_out_of_plan!();

    fn eval(&self, _ctx: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let mut out = Tensor::zero::<f32>(&[inputs[0].shape()[0], self.weights.outputs()])?;
        let (x, residual) = (inputs[0].try_as_plain_ram()?, inputs.get(1).map(|r| r.try_as_plain_ram()).transpose()?);
        let residual = residual.as_ref().map(|r| r.as_slice::<f32>()).transpose()?;
        (self.layer)(
            &self.weights,
            x.as_slice::<f32>()?,
            residual,
            self.relu,
            out.try_as_plain_ram_mut()?.as_slice_mut::<f32>()?,
        );
        Ok(tvec!(out.into_tvalue()))
    }
}

impl TypedOp for Dense {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        ensure!(inputs[0].rank() == 2 && inputs[0].shape[1] == self.weights.inputs().to_dim());
        let fact = f32::fact([inputs[0].shape[0].clone(), self.weights.outputs().to_dim()]);
        ensure!(inputs.get(1).is_none_or(|residual| residual.shape == fact.shape));
        Ok(tvec!(fact))
    }

    fn declutter(&self, model: &TypedModel, node: &TypedNode) -> TractResult<Option<TypedModelPatch>> {
        let Some(next) = model.single_succ(node.id)? else { return Ok(None) };
        let (Some(op), 2) = (next.op_as::<TypedBinOp>().map(|op| &op.0), next.inputs.len()) else { return Ok(None) };
        if self.relu || model.output_outlets()?.contains(&node.id.into()) {
            return Ok(None);
        }
        let other = next.inputs[usize::from(next.inputs[0].node == node.id)];
        let fact = model.outlet_fact(other)?;
        let zero =
            fact.konst.as_ref().is_some_and(|k| k.len() == 1 && k.cast_to_scalar::<f32>().is_ok_and(|v| v == 0.0));
        if op.is::<Max>() && zero {
            return TypedModelPatch::fuse_with_next(model, node, Self { relu: true, ..self.clone() }).map(Some);
        }
        if !op.is::<Add>() {
            return Ok(None);
        }
        if let Some(bias) = constant_row(model, other)?.filter(|bias| bias.len() == self.weights.outputs()) {
            let weights = Arc::new(Weights::clone(&self.weights).with_bias(&bias));
            return TypedModelPatch::fuse_with_next(model, node, Self { weights, ..self.clone() }).map(Some);
        }
        if node.inputs.len() == 1 && fact.konst.is_none() && fact.shape == node.outputs[0].fact.shape {
            let mut patch = TypedModelPatch::default();
            let inputs = patch.taps(model, &[node.inputs[0], other])?;
            let out = patch.wire_node(&next.name, self.clone(), &inputs)?;
            patch.shunt_outside(model, next.id.into(), out[0])?;
            return Ok(Some(patch));
        }
        Ok(None)
    }

    as_op!();
}

impl Op for Scaled {
    fn name(&self) -> StaticName {
        "Scaled".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Scaled {
    op_out_of_plan!();

    fn eval(&self, _ctx: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let mut rows = args_1!(inputs).into_tensor();
        for row in rows.try_as_plain_ram_mut()?.as_slice_mut::<f32>()?.chunks_exact_mut(self.less.len()) {
            for ((value, less), times) in row.iter_mut().zip(&*self.less).zip(&*self.times) {
                *value = (*value - less) * times;
            }
        }
        Ok(tvec!(rows.into_tvalue()))
    }
}

impl TypedOp for Scaled {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(inputs[0].without_value()))
    }

    fn declutter(&self, model: &TypedModel, node: &TypedNode) -> TractResult<Option<TypedModelPatch>> {
        let Some(next) = model.single_succ(node.id)? else { return Ok(None) };
        let Some(after) = next.op_as::<Self>().filter(|after| after.less.iter().all(|less| *less == 0.0)) else {
            return Ok(None);
        };
        let times = self.times.iter().zip(&*after.times).map(|(a, b)| a * b).collect();
        TypedModelPatch::fuse_with_next(model, node, Self { less: Arc::clone(&self.less), times: Arc::new(times) })
            .map(Some)
    }

    as_op!();
}
