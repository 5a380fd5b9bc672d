//! Rounding of weights whose errors cancel where inputs are alike, without seeing inputs.
//!
//! Inputs of a layer share a mean (behind a Relu all are positive), neighbouring pixels nearly their value, so
//! the errors of the weights meet in their sum. With inputs whose squared mean equals their variance, errors `e`
//! in units of the scale cost `sum(e^2) + sum(e)^2`. Starting from the nearest integers, the weights that were
//! rounded furthest in the direction of the sum go to their other neighbour for as long as that cost falls:
//! first within every kernel (the taps that one input channel meets), then within the whole output channel.
//!
//! The order of both steps and the sorting by residual are those of SQuant (Guo et al., ICLR 2022,
//! <https://arxiv.org/abs/2202.07471>), which flips until the sum is below one half whatever that costs.

use rayon::prelude::*;

use crate::error::{KernelError, Result};
use crate::threads;
use crate::weights::Layout;

/// Channels that one task handles together: where channels lie side by side, one cache line.
const GROUP: usize = 16;

/// Move quantised weights by at most one step so that their errors cancel.
///
/// `taps` consecutive weights form a kernel; it divides `layout.inner`. Integers stay within `+-largest`;
/// clipped weights stay clipped. Weights and scales are finite, as [`crate::weights::channel_scales`] ensures.
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

/// Lower `sum(e^2) + sum(e)^2` by moving values to their other neighbour, the most promising first.
fn settle(errors: &mut [f32], values: &mut [i8], largest: i8, order: &mut Vec<usize>) {
    let sum: f64 = errors.iter().copied().map(f64::from).sum();
    let (excess, step) = (sum.abs(), if sum > 0.0 { 1i8 } else { -1 });
    let direction = f32::from(step);
    // Moves end where the sum is within one half; one from residual r gains 2 (excess - 1 + r).
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
