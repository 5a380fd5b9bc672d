//! Smallest and largest value of every channel of a tensor.
//!
//! Both extremes are found in one pass over the memory. A channel with a NaN has NaN as both extremes; infinities are
//! ordinary values. Comparing integers that order like the floats makes the result exact and the loops free of
//! branches.

use multiversion::multiversion;

use crate::error::{KernelError, Result};
use crate::values::{Values, ordered};

/// How channels lie in memory: an array of shape `(outer, groups, rows, block)` in C order with `groups * block`
/// channels. Images have `block = 1` and a row per pixel, tokens have `groups = 1`, and images in blocks of channels
/// have both.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    /// Images, or whatever lies outside of the channels.
    pub outer: usize,
    /// Groups of channels that lie one after the other.
    pub groups: usize,
    /// Positions within a group.
    pub rows: usize,
    /// Channels that lie side by side.
    pub block: usize,
}

/// Returns the smallest and the largest value of every channel; -0 counts as 0.
///
/// # Errors
/// The layout does not fit the number of values, or holds no value.
pub fn channel_ranges(values: Values<'_>, layout: Layout) -> Result<(Vec<f32>, Vec<f32>)> {
    let Layout { outer, groups, rows, block } = layout;
    let length = rows * block;
    if values.is_empty() || outer * groups * length != values.len() {
        return Err(KernelError::Shape(format!(
            "{} values do not fit the layout ({outer}, {groups}, {rows}, {block})",
            values.len()
        )));
    }
    let mut low = vec![i32::MAX; groups * block];
    let mut high = vec![i32::MIN; groups * block];
    let mut buffer = values.range(0, length).buffer();
    for start in (0..values.len()).step_by(length) {
        let channels = start / length % groups * block..(start / length % groups + 1) * block;
        let part = values.range(start, start + length).as_f32(&mut buffer);
        let (low, high) = (&mut low[channels.clone()], &mut high[channels]);
        match block {
            1 => {
                let (least, most) = extremes(part);
                (low[0], high[0]) = (low[0].min(least), high[0].max(most));
            }
            8 => side_by_side_8(part, low, high),
            16 => side_by_side_16(part, low, high),
            _ => side_by_side(part, low, high),
        }
    }
    Ok(low.into_iter().zip(high).map(|(low, high)| floats(low, high)).unzip())
}

/// The extremes as floats, or NaN twice if an extreme lies beyond the infinities.
fn floats(low: i32, high: i32) -> (f32, f32) {
    let float = |key: i32| f32::from_bits(ordered(key as u32) as u32);
    let (low, high) = (float(low), float(high));
    if low.is_nan() || high.is_nan() { (f32::NAN, f32::NAN) } else { (low + 0.0, high + 0.0) }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn extremes(values: &[f32]) -> (i32, i32) {
    let (mut low, mut high) = (i32::MAX, i32::MIN);
    for value in values {
        let key = ordered(value.to_bits());
        low = if key < low { key } else { low };
        high = if key > high { key } else { high };
    }
    (low, high)
}

/// Takes rows of as many values as there are channels.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn side_by_side(rows: &[f32], low: &mut [i32], high: &mut [i32]) {
    for row in rows.chunks_exact(low.len()) {
        for ((value, low), high) in row.iter().zip(low.iter_mut()).zip(high.iter_mut()) {
            let key = ordered(value.to_bits());
            *low = if key < *low { key } else { *low };
            *high = if key > *high { key } else { *high };
        }
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn side_by_side_8(rows: &[f32], low: &mut [i32], high: &mut [i32]) {
    in_registers::<8>(rows, low, high);
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn side_by_side_16(rows: &[f32], low: &mut [i32], high: &mut [i32]) {
    in_registers::<16>(rows, low, high);
}

/// Does what [`side_by_side`] does; the extremes of so few channels stay in registers.
#[inline(always)]
fn in_registers<const CHANNELS: usize>(rows: &[f32], low: &mut [i32], high: &mut [i32]) {
    let (mut least, mut most) = ([i32::MAX; CHANNELS], [i32::MIN; CHANNELS]);
    for row in rows.as_chunks::<CHANNELS>().0 {
        for channel in 0..CHANNELS {
            let key = ordered(row[channel].to_bits());
            least[channel] = if key < least[channel] { key } else { least[channel] };
            most[channel] = if key > most[channel] { key } else { most[channel] };
        }
    }
    for channel in 0..CHANNELS {
        low[channel] = low[channel].min(least[channel]);
        high[channel] = high[channel].max(most[channel]);
    }
}
