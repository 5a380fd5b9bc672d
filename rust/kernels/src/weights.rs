//! Symmetric quantisation of weights, one scale per channel.
//!
//! `q = clamp(round(w / s), -n, n)` with `n = 2^(bits - 1) - 1`: the narrow range, so that zero is the middle.
//!
//! `MinMax` sets `s = max |w| / n`. `Mse` clips where clipping lowers the sum of squared errors of the channel. It
//! evaluates the error on the weights at every scale of a grid that starts at the full range. The grid ends where
//! clipping the largest weight alone costs more than the best error found: no smaller scale can be better. Then it
//! takes finer steps around the best scale. Sources as in [`crate::threshold::mse`].

use std::ops::Range;

use multiversion::multiversion;
use rayon::prelude::*;

use crate::error::{KernelError, Result};
use crate::threads;

/// How a channel's scale is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// The largest weight is representable.
    MinMax,
    /// Least squared error.
    Mse,
}

impl std::str::FromStr for Rule {
    type Err = KernelError;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "minmax" => Ok(Self::MinMax),
            "mse" => Ok(Self::Mse),
            _ => Err(KernelError::Argument(format!("unknown method {name:?}, known are minmax, mse"))),
        }
    }
}

/// A tensor seen as `outer x channels x inner`, in C order.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    /// Product of the dimensions before the channel axis.
    pub outer: usize,
    /// Size of the channel axis.
    pub channels: usize,
    /// Product of the dimensions after the channel axis.
    pub inner: usize,
}

/// Ratio of neighbouring scales of the grid, and number of finer steps on either side of the best scale.
const RATIO: f32 = 1.0 - 1.0 / 64.0;
const FINER: usize = 8;
/// Number of channels per task. Where channels are adjacent in memory, this many fill one cache line.
const GROUP: usize = 16;
/// Number of elements below which waking the threads takes longer than the work.
const SMALL: usize = 1 << 14;

/// The scale of every channel. A channel of zeros gets scale 1; no scale is subnormal.
///
/// # Errors
/// NaN or infinite weights, a length that does not fit, `bits` outside 2..=8.
pub fn channel_scales(weights: &[f32], layout: Layout, bits: u32, rule: Rule) -> Result<Vec<f32>> {
    if weights.len() != layout.outer * layout.channels * layout.inner {
        return Err(KernelError::Shape(format!("{} weights do not fit {layout:?}", weights.len())));
    }
    if !(2..=8).contains(&bits) {
        return Err(KernelError::Argument(format!("bits must be within 2 and 8, not {bits}")));
    }
    let largest = ((1 << (bits - 1)) - 1) as f32;
    let groups = (layout.channels.div_ceil(GROUP), weights.len() <= SMALL);
    let group = |buffer: &mut Vec<f32>, index: usize| {
        let channels = index * GROUP..layout.channels.min((index + 1) * GROUP);
        group_scales(weights, layout, channels, largest, rule, buffer)
    };
    let scales: Vec<Vec<Option<f32>>> = match groups {
        (count, true) => (0..count).map(|index| group(&mut Vec::new(), index)).collect(),
        (count, false) => threads::run(|| (0..count).into_par_iter().map_init(Vec::new, group).collect())?,
    };
    let named = |(channel, scale): (usize, Option<f32>)| {
        scale.ok_or_else(|| KernelError::NotFinite(format!("channel {channel} has NaN or infinite weights")))
    };
    scales.into_iter().flatten().enumerate().map(named).collect()
}

/// The scales of neighbouring channels; `None` where a weight is not finite.
fn group_scales(
    weights: &[f32],
    layout: Layout,
    channels: Range<usize>,
    largest: f32,
    rule: Rule,
    buffer: &mut Vec<f32>,
) -> Vec<Option<f32>> {
    let Layout { outer, inner, .. } = layout;
    let size = outer * inner;
    if size == 0 {
        return vec![Some(1.0); channels.len()];
    }
    let contiguous = if outer == 1 {
        &weights[channels.start * inner..channels.end * inner]
    } else {
        buffer.resize(channels.len() * size, 0.0);
        for (position, row) in weights.chunks_exact(layout.channels * inner).enumerate() {
            let row = &row[channels.start * inner..channels.end * inner];
            for (channel, run) in row.chunks_exact(inner).enumerate() {
                buffer[channel * size + position * inner..][..inner].copy_from_slice(run);
            }
        }
        &buffer[..]
    };
    contiguous.chunks_exact(size).map(|weights| channel_scale(weights, largest, rule)).collect()
}

/// The scale of one channel; `None` when a weight is not finite.
fn channel_scale(weights: &[f32], largest: f32, rule: Rule) -> Option<f32> {
    let extreme = f32::from_bits(largest_magnitude_bits(weights));
    if !extreme.is_finite() {
        return None;
    }
    if extreme == 0.0 {
        return Some(1.0);
    }
    let widest = (extreme / largest).max(f32::MIN_POSITIVE);
    Some(match rule {
        Rule::MinMax => widest,
        Rule::Mse => least_error_scale(weights, extreme, widest, largest),
    })
}

/// Bit pattern of the largest magnitude. Patterns order like the magnitudes; infinity and NaN come last.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2", "aarch64+neon",))]
fn largest_magnitude_bits(weights: &[f32]) -> u32 {
    const MAGNITUDE: u32 = u32::MAX >> 1;
    let mut largest = 0;
    for weight in weights {
        let bits = weight.to_bits() & MAGNITUDE;
        largest = if bits > largest { bits } else { largest };
    }
    largest
}

fn least_error_scale(weights: &[f32], extreme: f32, widest: f32, largest: f32) -> f32 {
    let mut best = (squared_error(weights, widest, largest), widest);
    let mut consider = |scale: f32| {
        let error = squared_error(weights, scale, largest);
        if error < best.0 {
            best = (error, scale);
        }
        best
    };
    let mut scale = widest * RATIO;
    while scale >= f32::MIN_POSITIVE {
        let clipping = f64::from(extreme - largest * scale).powi(2);
        if clipping > consider(scale).0 {
            break;
        }
        scale *= RATIO;
    }
    let centre = consider(widest).1;
    let width = (1.0 - RATIO) / FINER as f32;
    for step in 1..FINER {
        let offset = width * step as f32;
        consider((centre * (1.0 - offset)).max(f32::MIN_POSITIVE));
        consider(centre * (1.0 + offset));
    }
    consider(widest).1
}

/// Number of partial sums. It fixes the order of additions, whatever the SIMD width.
const LANES: usize = 16;

/// Sum of squared rounding and clipping errors of a channel.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2", "aarch64+neon",))]
fn squared_error(weights: &[f32], scale: f32, largest: f32) -> f64 {
    // Float32 sums over short runs, float64 across them.
    let mut total = 0.0;
    for run in weights.chunks(64 * LANES) {
        let mut sums = [0.0f32; LANES];
        let (lanes, rest) = run.as_chunks::<LANES>();
        for chunk in lanes {
            for lane in 0..LANES {
                sums[lane] += residual(chunk[lane], scale, largest).powi(2);
            }
        }
        for (sum, weight) in sums.iter_mut().zip(rest) {
            *sum += residual(*weight, scale, largest).powi(2);
        }
        total += f64::from(sums.iter().sum::<f32>());
    }
    total
}

/// Error of a weight after rounding and clipping.
#[inline(always)]
fn residual(weight: f32, scale: f32, largest: f32) -> f32 {
    weight - (weight / scale).clamp(-largest, largest).round_ties_even() * scale
}
