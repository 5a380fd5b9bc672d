//! The arithmetic of ONNX QuantizeLinear and DequantizeLinear.
//!
//! `q = clamp(round(x / s) + z, qmin, qmax)` with a float32 division and rounding half to even, then
//! `s (q - z)` in float32: bit for bit what onnxruntime's CPU kernels compute. As in onnxruntime, NaN becomes `qmin`.

use multiversion::multiversion;
use rayon::prelude::*;

use crate::error::{KernelError, Result};
use crate::threads;

/// Number of elements per task.
const TASK: usize = 1 << 16;
/// Least number of consecutive elements of one channel for which one call per channel is fast.
const SHORT: usize = 64;

/// Scales and zero points along one axis of a tensor, or one pair for all of it.
#[derive(Debug, Clone, Copy)]
pub struct Grid<'a> {
    /// One scale per channel.
    pub scales: &'a [f32],
    /// One zero point per channel.
    pub zero_points: &'a [i32],
    /// Distance in elements between neighbours along the axis: the product of the dimensions after the axis.
    pub inner: usize,
    /// Smallest integer.
    pub qmin: i32,
    /// Largest integer.
    pub qmax: i32,
}

impl Grid<'_> {
    fn check(&self, len: usize, out: usize) -> Result<()> {
        let channels = self.scales.len();
        if channels == 0 || channels != self.zero_points.len() {
            return Err(KernelError::Shape(format!(
                "{channels} scales and {} zero points",
                self.zero_points.len()
            )));
        }
        if len != out || !len.is_multiple_of(channels * self.inner.max(1)) {
            return Err(KernelError::Shape(format!("{len} elements do not fit {channels} channels")));
        }
        if self.qmin > self.qmax || self.zero_points.iter().any(|z| !(self.qmin..=self.qmax).contains(z)) {
            return Err(KernelError::Argument(format!(
                "zero points must lie within {} and {}",
                self.qmin, self.qmax
            )));
        }
        if let Some(scale) = self.scales.iter().find(|scale| !(scale.is_finite() && **scale > 0.0)) {
            return Err(KernelError::Argument(format!("scales must be positive and finite, not {scale}")));
        }
        Ok(())
    }

    fn channel(&self, index: usize) -> Channel {
        let index = index % self.scales.len();
        let zero = self.zero_points[index];
        Channel {
            scale: self.scales[index],
            zero,
            low: (self.qmin - zero) as f32,
            high: (self.qmax - zero) as f32,
        }
    }
}

/// Constants of the quantiser of one channel.
#[derive(Debug, Clone, Copy)]
struct Channel {
    scale: f32,
    zero: i32,
    low: f32,
    high: f32,
}

impl Channel {
    /// Returns `q - z` of a value. NaN fails both comparisons and becomes `low`.
    #[inline(always)]
    fn steps(self, value: f32) -> f32 {
        let steps = value / self.scale;
        let steps = if steps > self.low { steps } else { self.low };
        let steps = if steps < self.high { steps } else { self.high };
        steps.round_ties_even()
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2", "aarch64+neon",))]
fn round_trip(input: &[f32], output: &mut [f32], channel: Channel) {
    for (to, from) in output.iter_mut().zip(input) {
        *to = channel.steps(*from) * channel.scale;
    }
}

/// Does what [`round_trip`] does, with a channel given for each element.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2", "aarch64+neon",))]
fn round_trip_each(input: &[f32], output: &mut [f32], channels: &[Channel]) {
    for ((to, from), channel) in output.iter_mut().zip(input).zip(channels) {
        *to = channel.steps(*from) * channel.scale;
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2", "aarch64+neon",))]
fn to_integers(input: &[f32], output: &mut [i8], channel: Channel) {
    for (to, from) in output.iter_mut().zip(input) {
        *to = (channel.steps(*from) as i32 + channel.zero) as i8;
    }
}

/// Does what [`to_integers`] does, with a channel given for each element.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2", "aarch64+neon",))]
fn to_integers_each(input: &[f32], output: &mut [i8], channels: &[Channel]) {
    for ((to, from), channel) in output.iter_mut().zip(input).zip(channels) {
        *to = (channel.steps(*from) as i32 + channel.zero) as i8;
    }
}

/// Quantises and dequantises `input` into `output`.
///
/// # Errors
/// Lengths that do not fit, scales that are not positive and finite, zero points out of range.
pub fn fake_quantize(input: &[f32], output: &mut [f32], grid: Grid<'_>) -> Result<()> {
    grid.check(input.len(), output.len())?;
    apply(input, output, grid, round_trip, round_trip_each)
}

/// Quantises `input` into `output`.
///
/// # Errors
/// Those of [`fake_quantize`], and a range of integers that exceeds int8.
pub fn quantize(input: &[f32], output: &mut [i8], grid: Grid<'_>) -> Result<()> {
    grid.check(input.len(), output.len())?;
    if grid.qmin < i32::from(i8::MIN) || grid.qmax > i32::from(i8::MAX) {
        return Err(KernelError::Argument(format!("{}..={} exceeds int8", grid.qmin, grid.qmax)));
    }
    apply(input, output, grid, to_integers, to_integers_each)
}

/// Applies `kernel` in parallel to runs of elements of one channel, or `each` to whole rows if such runs are short.
fn apply<T: Send>(
    input: &[f32],
    output: &mut [T],
    grid: Grid<'_>,
    kernel: impl Fn(&[f32], &mut [T], Channel) + Sync,
    each: impl Fn(&[f32], &mut [T], &[Channel]) + Sync,
) -> Result<()> {
    if input.is_empty() {
        return Ok(());
    }
    let channels = grid.scales.len();
    let run = if channels == 1 { TASK } else { grid.inner };
    if run >= SHORT {
        let uniform = |index, input: &[f32], output: &mut [T]| kernel(input, output, grid.channel(index));
        return by_rows(input, output, run, uniform);
    }
    let elements: Vec<Channel> = (0..channels * run).map(|index| grid.channel(index / run)).collect();
    by_rows(input, output, elements.len(), |_, input, output| each(input, output, &elements))
}

/// Calls `work` with the index, the input and the output of every row, in parallel.
fn by_rows<T: Send>(
    input: &[f32],
    output: &mut [T],
    row: usize,
    work: impl Fn(usize, &[f32], &mut [T]) + Sync,
) -> Result<()> {
    let rows = (TASK / row).max(1);
    let task = |index: usize, input: &[f32], output: &mut [T]| {
        for (offset, (input, output)) in input.chunks(row).zip(output.chunks_mut(row)).enumerate() {
            work(index * rows + offset, input, output);
        }
    };
    if input.len() <= TASK {
        task(0, input, output);
        return Ok(());
    }
    threads::run(|| {
        let pieces = input.par_chunks(rows * row).zip(output.par_chunks_mut(rows * row));
        pieces.enumerate().for_each(|(index, (input, output))| task(index, input, output));
    })
}
