//! The parameters of a network as a list in the order of its fields: plain numbers for checkpoints and
//! export, flat tensors for the optimiser. The order, not burn's random ids, says which is which.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Tensor, TensorData};

/// The numbers of a tensor, row by row.
pub fn numbers<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f32> {
    tensor.into_data().convert::<f32>().to_vec().expect("invariant: converted to f32")
}

/// The numbers of each parameter.
pub fn values<B: Backend, N: Module<B>>(network: &N) -> Vec<Vec<f32>> {
    struct Values(Vec<Vec<f32>>);
    impl<B: Backend> ModuleVisitor<B> for Values {
        fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<B, D>>) {
            self.0.push(numbers(parameter.val()));
        }
    }
    let mut all = Values(Vec::new());
    network.visit(&mut all);
    all.0
}

/// How many numbers there are.
pub fn parameters<B: Backend, N: Module<B>>(network: &N) -> usize {
    network.num_params()
}

/// Other numbers into the same network.
///
/// # Errors
/// They are not those of a network of this shape.
pub fn restore<B: Backend, N: Module<B>>(network: N, values: &[Vec<f32>]) -> Result<N, String> {
    struct Restore<'a> {
        values: std::slice::Iter<'a, Vec<f32>>,
        wrong: Option<String>,
    }
    impl<B: Backend> ModuleMapper<B> for Restore<'_> {
        fn map_float<const D: usize>(&mut self, parameter: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
            let shape = parameter.shape();
            let (have, need) = (self.values.next(), shape.num_elements());
            let Some(values) = have.filter(|v| v.len() == need) else {
                let have = have.map_or("nothing".to_owned(), |v| format!("{} numbers", v.len()));
                self.wrong.get_or_insert(format!("a parameter of {need} numbers got {have}"));
                return parameter;
            };
            parameter.map(|tensor| {
                let data = TensorData::new(values.clone(), shape);
                Tensor::from_data(data, &tensor.device()).set_require_grad(tensor.is_require_grad())
            })
        }
    }
    let mut mapper = Restore { values: values.iter(), wrong: None };
    let network = network.map(&mut mapper);
    match (mapper.wrong, mapper.values.len()) {
        (Some(wrong), _) => Err(wrong),
        (None, 0) => Ok(network),
        (None, more) => Err(format!("{more} parameters too many")),
    }
}

/// The gradient of each parameter, flat; nothing for one that the loss does not depend on.
pub(super) type Gradients<B> = Vec<Option<Tensor<B, 1>>>;

pub(super) fn gradients<B, N>(network: &N, gradients: B::Gradients) -> Gradients<B::InnerBackend>
where
    B: AutodiffBackend,
    N: Module<B>,
{
    struct Collect<B: AutodiffBackend> {
        from: B::Gradients,
        to: Gradients<B::InnerBackend>,
    }
    impl<B: AutodiffBackend> ModuleVisitor<B> for Collect<B> {
        fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<B, D>>) {
            let gradient = parameter.val().grad_remove(&mut self.from);
            self.to.push(gradient.map(|g| {
                let n = g.shape().num_elements();
                g.reshape([n])
            }));
        }
    }
    let mut collect = Collect { from: gradients, to: Vec::new() };
    network.visit(&mut collect);
    collect.to
}

/// Replaces each parameter that has a gradient: `step(index, parameter, gradient)`, all flat.
pub(super) fn update<B, N, F>(network: N, gradients: Gradients<B::InnerBackend>, step: F) -> N
where
    B: AutodiffBackend,
    N: Module<B>,
    F: FnMut(usize, Tensor<B::InnerBackend, 1>, Tensor<B::InnerBackend, 1>) -> Tensor<B::InnerBackend, 1>,
{
    struct Update<B: Backend, F> {
        gradients: std::iter::Enumerate<std::vec::IntoIter<Option<Tensor<B, 1>>>>,
        step: F,
    }
    impl<B, F> ModuleMapper<B> for Update<B::InnerBackend, F>
    where
        B: AutodiffBackend,
        F: FnMut(usize, Tensor<B::InnerBackend, 1>, Tensor<B::InnerBackend, 1>) -> Tensor<B::InnerBackend, 1>,
    {
        fn map_float<const D: usize>(&mut self, parameter: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
            let Some((index, Some(gradient))) = self.gradients.next() else { return parameter };
            parameter.map(|tensor| {
                let shape = tensor.shape();
                let flat = tensor.inner().reshape([shape.num_elements()]);
                Tensor::from_inner((self.step)(index, flat, gradient).reshape(shape)).require_grad()
            })
        }
    }
    network.map(&mut Update { gradients: gradients.into_iter().enumerate(), step })
}
