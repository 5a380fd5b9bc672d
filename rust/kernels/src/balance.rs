//! Data-free rounding of weights: the rounding errors of a channel are made to cancel in its output.
//!
//! The inputs of a layer are alike: they share a mean (behind a Relu all are positive), and neighbouring pixels
//! have nearly the same value. An output therefore holds the sum of the rounding errors of its weights. If the
//! squared mean of the inputs equals their variance, errors `e`, in units of the scale, cost
//! `sum(e^2) + sum(e)^2`. The algorithm starts from the nearest integers and moves weights to their second-nearest
//! integer while this cost falls. The weights with the largest error of the same sign as the sum move first. It
//! does so within every kernel (the taps that read one input channel), then within the whole output channel.
//!
//! SQuant (Guo et al., ICLR 2022, <https://arxiv.org/abs/2202.07471>) uses the same two steps and the same order
//! of weights, but moves weights until the sum is below one half, even where the cost rises.

use rayon::prelude::*;

use crate::error::{KernelError, Result};
use crate::threads;
use crate::weights::Layout;

/// Number of channels per task. Where channels are adjacent in memory, this many fill one cache line.
const GROUP: usize = 16;

/// Moves quantised weights by at most one step so that their errors cancel.
///
/// A kernel is `taps` consecutive weights; `taps` divides `layout.inner`. Integers stay within `+-largest`, and a
/// clipped weight stays clipped. Weights and scales are finite, as [`crate::weights::channel_scales`] ensures.
///
/// # Errors
/// Lengths that do not fit.
pub fn balance(
    weights: &[f32],
    integers: &mut [i8],
    scales: &[f32],
    layout: Layout,
    taps: usize,
    largest: i8,
) -> Result<()> {
    let Layout { outer, channels, inner } = layout;
    let size = outer * channels * inner;
    let fits = weights.len() == size && integers.len() == size && scales.len() == channels;
    if !fits || taps == 0 || !inner.is_multiple_of(taps) {
        return Err(KernelError::Shape(format!(
            "{} weights, {} integers, {} scales and {taps} taps do not fit {layout:?}",
            weights.len(),
            integers.len(),
            scales.len()
        )));
    }
    let firsts: Vec<usize> = (0..channels).step_by(GROUP).collect();
    let read: &[i8] = integers;
    let balanced: Vec<Vec<Vec<i8>>> = threads::run(|| {
        let group = |&first: &usize| {
            let rows = first..channels.min(first + GROUP);
            rows.map(|row| channel(weights, read, scales[row], layout, row, taps, largest)).collect()
        };
        firsts.par_iter().map(group).collect()
    })?;
    for (row, values) in balanced.iter().flatten().enumerate() {
        for (position, run) in values.chunks_exact(inner.max(1)).enumerate() {
            integers[(position * channels + row) * inner..][..inner].copy_from_slice(run);
        }
    }
    Ok(())
}

/// The integers of one channel, balanced.
fn channel(
    weights: &[f32],
    integers: &[i8],
    scale: f32,
    layout: Layout,
    row: usize,
    taps: usize,
    largest: i8,
) -> Vec<i8> {
    let Layout { outer, channels, inner } = layout;
    let starts = (0..outer).map(|position| (position * channels + row) * inner);
    let mut values: Vec<i8> = Vec::with_capacity(outer * inner);
    let mut errors: Vec<f32> = Vec::with_capacity(outer * inner);
    for start in starts {
        values.extend_from_slice(&integers[start..start + inner]);
        let weights = &weights[start..start + inner];
        errors.extend(weights.iter().zip(&integers[start..]).map(|(w, q)| f32::from(*q) - w / scale));
    }
    let mut order = Vec::new();
    if taps > 1 {
        for (errors, values) in errors.chunks_exact_mut(taps).zip(values.chunks_exact_mut(taps)) {
            settle(errors, values, largest, &mut order);
        }
    }
    settle(&mut errors, &mut values, largest, &mut order);
    values
}

/// Lowers `sum(e^2) + sum(e)^2`: moves values to their second-nearest integer, the largest gain first.
fn settle(errors: &mut [f32], values: &mut [i8], largest: i8, order: &mut Vec<usize>) {
    let sum: f64 = errors.iter().copied().map(f64::from).sum();
    let (excess, step) = (sum.abs(), if sum > 0.0 { 1i8 } else { -1 });
    let direction = f32::from(step);
    // A move of a value with residual r gains 2 (excess - 1 + r). No move gains once the sum is within one half.
    let most = (excess + 0.5).floor() as usize;
    if excess <= 0.5 {
        return;
    }
    let promising = |index: &usize| errors[*index] * direction > 0.0 && values[*index] != -step * largest;
    order.clear();
    order.extend((0..errors.len()).filter(promising));
    let further =
        |a: &usize, b: &usize| (errors[*b] * direction).total_cmp(&(errors[*a] * direction)).then(a.cmp(b));
    if most < order.len() {
        order.select_nth_unstable_by(most, further);
        order.truncate(most);
    }
    order.sort_unstable_by(further);
    for (moved, &index) in order.iter().enumerate() {
        if excess - moved as f64 + f64::from(errors[index] * direction) <= 1.0 {
            break;
        }
        errors[index] -= direction;
        values[index] -= step;
    }
}
