//! Symmetric quantisation of weights, one scale per channel.
//!
//! `q = clamp(round(w / s), -n, n)` with `n = 2^(bits - 1) - 1`: the narrow range, so that zero is the middle.
//!
//! `MinMax` sets `s = max |w| / n`. `Mse` clips where that lowers the sum of squared errors of the channel:
//! the error is evaluated on the weights themselves at every scale of a grid from the full range down to where
//! clipping the largest weight alone costs more than the best error found (no smaller scale can win), then
//! with finer steps around the best one. Sources as in [`crate::threshold::mse`].

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

/// Ratio of neighbouring scales of the grid, and finer steps around the best on either side.
const RATIO: f32 = 1.0 - 1.0 / 64.0;
const FINER: usize = 8;

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
    let scales = threads::run(|| {
        let channels = (0..layout.channels).into_par_iter();
        channels
            .map_init(Vec::new, |buffer, channel| {
                channel_scale(gather(weights, layout, channel, buffer), largest, rule)
            })
            .collect::<Vec<_>>()
    })?;
    scales
        .into_iter()
        .enumerate()
        .map(|(channel, scale)| {
            scale.ok_or_else(|| {
                KernelError::NotFinite(format!("channel {channel} has NaN or infinite weights"))
            })
        })
        .collect()
}

/// The weights of one channel, contiguous: as they lie, or copied into `buffer`.
fn gather<'a>(weights: &'a [f32], layout: Layout, channel: usize, buffer: &'a mut Vec<f32>) -> &'a [f32] {
    if layout.outer == 1 {
        return &weights[channel * layout.inner..][..layout.inner];
    }
    buffer.clear();
    for row in weights.chunks_exact((layout.channels * layout.inner).max(1)) {
        buffer.extend_from_slice(&row[channel * layout.inner..][..layout.inner]);
    }
    buffer
}

/// The scale of one channel; `None` when a weight is not finite.
fn channel_scale(weights: &[f32], largest: f32, rule: Rule) -> Option<f32> {
    let extreme = weights.iter().fold(0.0f32, |extreme, weight| extreme.max(weight.abs()));
    if !weights.iter().all(|weight| weight.is_finite()) {
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

/// Lanes of the sums: their number fixes the order of additions, whatever the SIMD width.
const LANES: usize = 16;

/// Sum of squared rounding and clipping errors of a channel.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2", "aarch64+neon",))]
fn squared_error(weights: &[f32], scale: f32, largest: f32) -> f64 {
    let error = |weight: f32| {
        let steps = (weight / scale).clamp(-largest, largest).round_ties_even();
        weight - steps * scale
    };
    // Float32 sums over short runs, float64 across them.
    let mut total = 0.0;
    for run in weights.chunks(64 * LANES) {
        let mut sums = [0.0f32; LANES];
        let (lanes, rest) = run.as_chunks::<LANES>();
        for chunk in lanes {
            for (sum, weight) in sums.iter_mut().zip(chunk) {
                *sum += error(*weight).powi(2);
            }
        }
        let tail: f32 = rest.iter().map(|weight| error(*weight).powi(2)).sum();
        total += f64::from(sums.iter().sum::<f32>() + tail);
    }
    total
}
