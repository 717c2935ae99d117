//! A dense layer, `y = relu(x w + b + r)`, with few passes over memory: no packing of `x`; bias, residual and rectifier while the
//! sums are at hand. tract 0.23's own kernels for AVX-512 store sums one number at a time, which at widths of about a hundred costs
//! a quarter of the time.
//!
//! Plain loops over arrays of a fixed length, compiled once for each instruction set and chosen when a model is loaded; where
//! none of them is there, tract's operator stays.

use std::fmt;

/// Columns that are summed at once, and to a panel of the weights.
const PANEL: usize = 32;
/// Rows that are summed at once: with [`PANEL`] columns they fill half of the registers of AVX-512.
const ROWS: usize = 8;

/// A layer's weights, in panels of [`PANEL`] columns, each row by row; the last panel is filled up with zeros.
#[derive(Clone)]
pub struct Weights {
    inputs: usize,
    outputs: usize,
    panels: Vec<f32>,
    bias: Vec<f32>,
}

impl fmt::Debug for Weights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Weights({} to {})", self.inputs, self.outputs)
    }
}

impl Weights {
    /// From the weight of input `i` for output `o`, without a bias.
    pub fn new(inputs: usize, outputs: usize, weight: impl Fn(usize, usize) -> f32) -> Self {
        let padded = outputs.next_multiple_of(PANEL);
        let mut panels = Vec::with_capacity(inputs * padded);
        for first in (0..padded).step_by(PANEL) {
            for i in 0..inputs {
                panels.extend((first..first + PANEL).map(|o| if o < outputs { weight(i, o) } else { 0.0 }));
            }
        }
        Self { inputs, outputs, panels, bias: vec![0.0; padded] }
    }

    /// With so much more bias by output; `bias` has [`Weights::outputs`] numbers.
    pub fn with_bias(mut self, bias: &[f32]) -> Self {
        self.bias.iter_mut().zip(bias).for_each(|(b, more)| *b += more);
        self
    }

    /// Numbers to a row that comes out.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Numbers to a row that goes in.
    pub fn inputs(&self) -> usize {
        self.inputs
    }
}

/// Weights, rows, residual, whether less than 0 is 0, place for the answer; compiled for an instruction set.
pub type Layer = fn(&Weights, &[f32], Option<&[f32]>, bool, &mut [f32]);

/// Layers for the processor this runs on, the best first.
pub fn layers() -> Vec<Layer> {
    let mut layers: Vec<Layer> = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            layers.push(x86::avx512);
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            layers.push(x86::avx2);
        }
    }
    layers
}

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "a function compiled for an instruction set may only be called where it is there")]
mod x86 {
    use super::{PANEL, ROWS, Weights, all};

    #[target_feature(enable = "avx512f")]
    fn with_avx512(weights: &Weights, x: &[f32], residual: Option<&[f32]>, relu: bool, out: &mut [f32]) {
        all::<ROWS, PANEL>(weights, x, residual, relu, out);
    }

    #[target_feature(enable = "avx2,fma")]
    fn with_avx2(weights: &Weights, x: &[f32], residual: Option<&[f32]>, relu: bool, out: &mut [f32]) {
        all::<4, PANEL>(weights, x, residual, relu, out);
    }

    pub fn avx512(weights: &Weights, x: &[f32], residual: Option<&[f32]>, relu: bool, out: &mut [f32]) {
        // SAFETY: `layers` gives this one away only where AVX-512 was found.
        unsafe { with_avx512(weights, x, residual, relu, out) }
    }

    pub fn avx2(weights: &Weights, x: &[f32], residual: Option<&[f32]>, relu: bool, out: &mut [f32]) {
        // SAFETY: `layers` gives this one away only where AVX2 and FMA were found.
        unsafe { with_avx2(weights, x, residual, relu, out) }
    }
}

/// Rows of `x` to rows of `out`, `R` rows by the `C` columns of a panel at a time.
#[inline(always)]
fn all<const R: usize, const C: usize>(
    weights: &Weights,
    x: &[f32],
    residual: Option<&[f32]>,
    relu: bool,
    out: &mut [f32],
) {
    let (k, m) = (weights.inputs, weights.outputs);
    let rows = out.len() / m;
    assert_eq!(x.len(), rows * k, "invariant: as many rows go in as come out");
    assert!(residual.is_none_or(|residual| residual.len() == out.len()), "invariant: the residual has the same shape");
    // On the heap and written whole: sums that are looked at by an index that varies do not stay in registers.
    let (mut done, mut one) = (Box::new([[0.0; C]; R]), Box::new([[0.0; C]; 1]));
    let panels = weights.panels.chunks_exact(k * C).zip(weights.bias.as_chunks::<C>().0);
    for ((panel, bias), at) in panels.zip((0..).step_by(C)) {
        let panel = &panel.as_chunks::<C>().0[..k];
        let (mut row, end) = (0, (at + C).min(m));
        while row + R <= rows {
            tile::<R, C>(panel, bias, &x[row * k..], &mut done);
            finish(&done, residual, relu, out, (row * m + at, end - at, m));
            row += R;
        }
        while row < rows {
            tile::<1, C>(panel, bias, &x[row * k..], &mut one);
            finish(&one, residual, relu, out, (row * m + at, end - at, m));
            row += 1;
        }
    }
}

/// The first `R` rows of `x` by the columns of a panel.
#[inline(always)]
fn tile<const R: usize, const C: usize>(panel: &[[f32; C]], bias: &[f32; C], x: &[f32], done: &mut [[f32; C]; R]) {
    let k = panel.len();
    let x: [&[f32]; R] = std::array::from_fn(|r| &x[r * k..][..k]);
    let mut sums = [*bias; R];
    for (i, w) in panel.iter().enumerate() {
        // Copied, so that it is loaded once for all rows.
        let w = *w;
        for r in 0..R {
            let x = x[r][i];
            for c in 0..C {
                sums[r][c] = x.mul_add(w[c], sums[r][c]);
            }
        }
    }
    *done = sums;
}

/// Writes sums, `columns` of each row, from `first` on and `stride` apart.
#[inline(always)]
fn finish<const R: usize, const C: usize>(
    sums: &[[f32; C]; R],
    residual: Option<&[f32]>,
    relu: bool,
    out: &mut [f32],
    (first, columns, stride): (usize, usize, usize),
) {
    for (r, sums) in sums.iter().enumerate() {
        let place = first + r * stride..first + r * stride + columns;
        let out = &mut out[place.clone()];
        out.copy_from_slice(&sums[..columns]);
        if let Some(residual) = residual {
            out.iter_mut().zip(&residual[place]).for_each(|(sum, more)| *sum += more);
        }
        if relu {
            out.iter_mut().for_each(|sum| *sum = sum.max(0.0));
        }
    }
}
