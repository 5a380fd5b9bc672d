//! Second-order rounding of weights: the weights that follow compensate the rounding error of a weight.
//!
//! The rounded weights `Q` of one output channel `w` should minimise `(w - Q)' H (w - Q)`, where `H` is the
//! covariance of the layer's inputs. The bias corrects the mean of the error, which `H` does not contain. With
//! `H = U D U'` (`U` unit upper triangular), `Q_k = round(w_k + sum_{j<k} (w_j - Q_j) U_jk)` leaves the error
//! `sum_k D_k r_k^2`, where `r_k` is the error of the k-th rounding alone. Weights whose input has the largest variance are rounded first, because
//! the first weights have the fewest errors to compensate.
//!
//! Sources: Hassibi and Stork, "Optimal Brain Surgeon", 1993; Frantar et al., "GPTQ", ICLR 2023
//! (arXiv:2210.17323); Chee et al., "QuIP", NeurIPS 2023 (arXiv:2307.13304), section 3.1 shows this form and that
//! it equals GPTQ.
//!
//! Rows are independent, and one thread computes a row, so the result does not depend on the number of threads.

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatMut, MatRef, Par, Side};
use multiversion::multiversion;
use rayon::prelude::*;

use crate::error::{KernelError, Result};
use crate::gram::Gram;
use crate::threads;

/// Number of rows per task: a part of `U` is read once for all rows of a task.
const TILE: usize = 64;

/// Number of columns whose errors are fed back one by one; those of a whole block reach the columns behind it in one
/// matrix product, with which rounding 768 rows of 3,072 weights takes 0.76 of the time.
const BLOCK: usize = 64;

/// Number of scales that are compared under the diagonal of `H`. Each is `CLIP_STEP` times the scale before.
const CLIP_COUNT: usize = 48;
const CLIP_STEP: f32 = 0.98;

/// Number of weights after which a scale is given up if its error exceeds the least one so far. Most scales clip much,
/// and exceed it soon.
const PART: usize = 128;

/// Number of damping strengths that are tried. Each is ten times the strength before.
const DAMPINGS: i32 = 4;

/// How to round.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// Width of the integers, 2 to 8.
    pub bits: u32,
    /// Damping: this fraction of the mean of the diagonal of `H` is added to the diagonal, against overfitting.
    pub damping: f64,
    /// Multiples of the scale found under the diagonal. Each is tried with error feedback; one factor is fastest.
    pub factors: &'a [f32],
}

/// Rounded weights of a layer.
#[derive(Debug, Clone, PartialEq)]
pub struct Rounded {
    /// `rows x columns`, in the order of the weights.
    pub integers: Vec<i8>,
    /// One per row; positive.
    pub scales: Vec<f32>,
    /// Mean squared error of each row's output over the vectors of the Gram matrix, damping included.
    pub losses: Vec<f64>,
}

/// `H = U D U'` of one block, with columns in the order in which they are rounded.
struct Factor {
    order: Vec<usize>,
    /// `columns x columns`, unit upper triangular, C order.
    upper: Vec<f32>,
    pivots: Vec<f64>,
    /// Variances without damping, in the order of the weights; 0 for an input that never changes.
    diagonal: Vec<f64>,
}

/// Rounds the weights of a layer symmetrically, with one scale per row.
///
/// `weights` is `rows x (blocks / groups * columns)` in C order. Row `r` belongs to group
/// `r * groups / rows`, which owns `blocks / groups` consecutive blocks of the Gram matrix.
///
/// # Errors
/// Shapes that do not fit, `bits` outside 2..=8, no factor, a weight that is not finite, a Gram matrix that is empty or
/// not finite.
pub fn round_weights(
    weights: &[f32],
    rows: usize,
    groups: usize,
    gram: &Gram,
    options: Options<'_>,
) -> Result<Rounded> {
    let width = check(weights, rows, groups, gram, options)?;
    threads::run(|| {
        let factors: Vec<Factor> =
            (0..gram.blocks()).into_par_iter().map(|block| factor(gram, block, options.damping)).collect();
        let (per_group, blocks) = (rows / groups, gram.blocks() / groups);
        let mut result =
            Rounded { integers: vec![0; weights.len()], scales: vec![1.0; rows], losses: vec![0.0; rows] };
        let grouped = (result.integers.par_chunks_mut(per_group * width))
            .zip(result.scales.par_chunks_mut(per_group))
            .zip(result.losses.par_chunks_mut(per_group))
            .zip(weights.par_chunks(per_group * width))
            .zip(factors.par_chunks(blocks));
        grouped.for_each(|((((integers, scales), losses), weights), factors)| {
            let tiles = (integers.par_chunks_mut(TILE * width))
                .zip(scales.par_chunks_mut(TILE))
                .zip(losses.par_chunks_mut(TILE))
                .zip(weights.par_chunks(TILE * width));
            tiles.for_each(|(((integers, scales), losses), weights)| {
                round_tile(weights, factors, options, integers, scales, losses);
                losses.iter_mut().for_each(|loss| *loss *= gram.unit());
            });
        });
        Ok(result)
    })?
}

fn check(weights: &[f32], rows: usize, groups: usize, gram: &Gram, options: Options<'_>) -> Result<usize> {
    let fits = groups > 0 && rows > 0 && rows.is_multiple_of(groups) && gram.blocks().is_multiple_of(groups);
    let width = if fits { gram.blocks() / groups * gram.columns() } else { 0 };
    if !fits || weights.len() != rows * width {
        return Err(KernelError::Shape(format!(
            "{} weights in {rows} rows and {groups} groups do not fit a Gram matrix of {} blocks of {} columns",
            weights.len(),
            gram.blocks(),
            gram.columns()
        )));
    }
    if !(2..=8).contains(&options.bits) {
        return Err(KernelError::Argument(format!("bits must be within 2 and 8, not {}", options.bits)));
    }
    if options.factors.is_empty() || gram.count() == 0 || !gram.is_finished() {
        return Err(KernelError::Argument(
            "rounding needs a factor and a finished Gram matrix of some vectors".into(),
        ));
    }
    if !gram.is_finite() {
        return Err(KernelError::NotFinite("the inputs of the layer are not finite".into()));
    }
    if !weights.iter().all(|weight| weight.is_finite()) {
        return Err(KernelError::NotFinite("a weight is NaN or infinite".into()));
    }
    Ok(width)
}

/// Covariance of one block, damped, in rounding order, and its factors.
///
/// Rounding noise of the sums can make the matrix indefinite. Then more damping is added. If no damping suffices, only
/// the diagonal is used, and every weight is rounded without feedback.
fn factor(gram: &Gram, block: usize, damping: f64) -> Factor {
    let (columns, covariance) = (gram.columns(), gram.covariance(block));
    let diagonal: Vec<f64> = (0..columns).map(|index| covariance.at(index, index)).collect();
    let mean = diagonal.iter().sum::<f64>() / columns as f64;
    let mut order: Vec<usize> = (0..columns).collect();
    order.sort_by(|a, b| diagonal[*b].total_cmp(&diagonal[*a]));
    // The Cholesky factor of the reversed matrix, reversed again, is upper triangular.
    let decompose = |added: f64| {
        let mut reversed = Mat::zeros(columns, columns);
        for place in 0..columns {
            let column = order[columns - 1 - place];
            reversed[(place, place)] = diagonal[column] + added;
            for other in place + 1..columns {
                reversed[(other, place)] = covariance.at(order[columns - 1 - other], column);
            }
        }
        let lower = reversed.llt(Side::Lower).ok()?.L().to_owned();
        (0..columns).all(|index| lower[(index, index)] > 0.0).then_some(lower)
    };
    let added = if mean > 0.0 { mean * damping } else { 1.0 };
    let found = (0..DAMPINGS).map(|step| added * 10f64.powi(step)).find_map(decompose);
    let lower = found.unwrap_or_else(|| {
        let variance = |row: usize| (diagonal[order[columns - 1 - row]] + added).max(f64::MIN_POSITIVE);
        Mat::from_fn(columns, columns, |row, column| if row == column { variance(row).sqrt() } else { 0.0 })
    });
    let pivot = |index: usize| lower[(columns - 1 - index, columns - 1 - index)];
    let mut upper = vec![0.0; columns * columns];
    for (row, values) in upper.chunks_exact_mut(columns).enumerate() {
        for (column, value) in values.iter_mut().enumerate().skip(row) {
            *value = (lower[(columns - 1 - row, columns - 1 - column)] / pivot(column)) as f32;
        }
    }
    let pivots = (0..columns).map(|index| pivot(index).powi(2)).collect();
    Factor { order, upper, pivots, diagonal }
}

fn round_tile(
    weights: &[f32],
    factors: &[Factor],
    options: Options<'_>,
    integers: &mut [i8],
    scales: &mut [f32],
    losses: &mut [f64],
) {
    let (width, largest) = (weights.len() / scales.len(), ((1 << (options.bits - 1)) - 1) as f32);
    let base: Vec<f32> =
        weights.chunks_exact(width).map(|row| clipped_scale(row, factors, largest)).collect();
    let mut tried = vec![0; integers.len()];
    losses.fill(f64::INFINITY);
    for ratio in options.factors {
        let trial: Vec<f32> = base.iter().map(|scale| scale * ratio).collect();
        let mut errors = vec![0.0; base.len()];
        let mut start = 0;
        for factor in factors {
            feed_back(weights, width, start, factor, &trial, largest, &mut tried, &mut errors);
            start += factor.order.len();
        }
        for (row, error) in errors.into_iter().enumerate() {
            if error < losses[row] {
                (losses[row], scales[row]) = (error, trial[row]);
                let span = row * width..(row + 1) * width;
                integers[span.clone()].copy_from_slice(&tried[span]);
            }
        }
    }
    for (row, loss) in losses.iter_mut().enumerate().filter(|(_, loss)| !loss.is_finite()) {
        // The errors that were fed back exceed `f32`: every weight is rounded without feedback instead.
        let span = row * width..(row + 1) * width;
        (scales[row], *loss) = round_alone(&weights[span.clone()], factors, largest, &mut integers[span]);
    }
}

/// Rounds a row to nearest; returns its scale, which clips nothing, and its loss under the diagonals.
fn round_alone(row: &[f32], factors: &[Factor], largest: f32, integers: &mut [i8]) -> (f32, f64) {
    let extreme = row.iter().fold(0.0f32, |extreme, weight| extreme.max(weight.abs()));
    let scale = (extreme / largest).max(f32::MIN_POSITIVE);
    let variances = factors.iter().flat_map(|factor| &factor.diagonal);
    let mut loss = 0.0;
    for ((weight, integer), variance) in row.iter().zip(integers).zip(variances) {
        let rounded = (weight / scale).clamp(-largest, largest).round_ties_even();
        *integer = rounded as i8;
        loss += variance * (f64::from(*weight) - f64::from(rounded) * f64::from(scale)).powi(2);
    }
    (scale, loss)
}

/// The scale with the least error if weights are rounded without feedback and inputs are uncorrelated.
fn clipped_scale(row: &[f32], factors: &[Factor], largest: f32) -> f32 {
    let importance: Vec<f32> =
        factors.iter().flat_map(|factor| factor.diagonal.iter().map(|x| *x as f32)).collect();
    let read = row.iter().zip(&importance).filter(|(_, importance)| **importance > 0.0);
    let mut extreme = read.fold(0.0f32, |extreme, (weight, _)| extreme.max(weight.abs()));
    if extreme == 0.0 {
        extreme = row.iter().fold(0.0f32, |extreme, weight| extreme.max(weight.abs()));
    }
    if extreme == 0.0 {
        return 1.0;
    }
    let mut scale = (extreme / largest).max(f32::MIN_POSITIVE);
    let mut best = (f64::INFINITY, scale);
    for _ in 0..CLIP_COUNT {
        let mut loss = 0.0;
        for (part, importance) in row.chunks(PART).zip(importance.chunks(PART)) {
            loss += weighted_error(part, importance, scale, largest);
            if loss >= best.0 {
                break;
            }
        }
        if loss < best.0 {
            best = (loss, scale);
        }
        scale = (scale * CLIP_STEP).max(f32::MIN_POSITIVE);
    }
    best.1
}

/// Sum of squared rounding and clipping errors, weighted.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn weighted_error(row: &[f32], importance: &[f32], scale: f32, largest: f32) -> f64 {
    const LANES: usize = 16;
    let error = |weight: f32, importance: f32| {
        let steps = (weight / scale).clamp(-largest, largest).round_ties_even();
        (weight - steps * scale).powi(2) * importance
    };
    let (chunks, rest) = row.as_chunks::<LANES>();
    let (weights, last) = importance.as_chunks::<LANES>();
    let mut sums = [0.0f32; LANES];
    for (chunk, weights) in chunks.iter().zip(weights) {
        for lane in 0..LANES {
            sums[lane] += error(chunk[lane], weights[lane]);
        }
    }
    let tail: f32 = rest.iter().zip(last).map(|(weight, importance)| error(*weight, *importance)).sum();
    sums.iter().map(|sum| f64::from(*sum)).sum::<f64>() + f64::from(tail)
}

/// Rounds the columns of one block of the Gram matrix in every row of a tile, feeding each error to the columns that
/// follow.
#[expect(clippy::too_many_arguments, reason = "one tile's state, used nowhere else")]
fn feed_back(
    weights: &[f32],
    width: usize,
    start: usize,
    factor: &Factor,
    scales: &[f32],
    largest: f32,
    integers: &mut [i8],
    errors: &mut [f64],
) {
    let (rows, columns) = (scales.len(), factor.order.len());
    let mut targets: Vec<f32> = Vec::with_capacity(rows * columns);
    for row in weights.chunks_exact(width) {
        targets.extend(factor.order.iter().map(|column| row[start + column]));
    }
    let upper = MatRef::from_row_major_slice(&factor.upper, columns, columns);
    for first in (0..columns).step_by(BLOCK) {
        let (size, end) = (BLOCK.min(columns - first), columns.min(first + BLOCK));
        // What every weight of the block lacks after rounding, row by row.
        let mut lacking = vec![0.0f32; rows * size];
        for step in first..end {
            let column = factor.order[step];
            let coupling = &factor.upper[step * columns..][step + 1..end];
            for (row, scale) in scales.iter().enumerate() {
                let place = row * width + start + column;
                let (head, rest) = targets[row * columns..][..end].split_at_mut(step + 1);
                let target = head[step];
                let rounded = (target / scale).clamp(-largest, largest).round_ties_even();
                integers[place] = rounded as i8;
                errors[row] += factor.pivots[step] * f64::from(target - rounded * scale).powi(2);
                lacking[row * size + step - first] = weights[place] - rounded * scale;
                add_scaled(rest, coupling, lacking[row * size + step - first]);
            }
        }
        let behind =
            MatMut::from_row_major_slice_mut(&mut targets, rows, columns).subcols_mut(end, columns - end);
        let coupling = upper.submatrix(first, end, size, columns - end);
        let lacking = MatRef::from_row_major_slice(&lacking, rows, size);
        matmul(behind, Accum::Add, lacking, coupling, 1.0, Par::Seq);
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn add_scaled(target: &mut [f32], source: &[f32], factor: f32) {
    for (target, source) in target.iter_mut().zip(source) {
        *target += factor * source;
    }
}

#[cfg(test)]
mod tests;
