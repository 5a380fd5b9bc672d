//! Antialiased resizing of 8-bit images, bit for bit as Pillow's `BILINEAR`.
//!
//! Each output pixel is the average of the input pixels around its centre, weighted by a triangle of
//! half-width `max(scale, 1)`: first along the rows, then along the columns. Weights are fixed-point numbers
//! with 22 fractional bits, and each direction rounds to eight bits, half up. All arithmetic is on integers, so
//! the result depends neither on the machine nor on the order of the additions.
//!
//! Source: the resampling of Pillow (`Resample.c`, images of 8 bits per channel), which is also what
//! torchvision computes for such images.

use std::ops::Range;

use multiversion::multiversion;

use crate::error::{KernelError, Result};

/// Fractional bits of a weight. A sum of pixels times weights, at most 255 * 2^22, needs 30 bits of an i32.
const PRECISION: u32 = 22;

/// Channels of a pixel in the working buffer. Images with fewer channels are padded, so that a pixel is one vector.
const LANES: usize = 4;

/// A window of the resized image: first row and column, height and width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// First row.
    pub top: u32,
    /// First column.
    pub left: u32,
    /// Number of rows.
    pub height: u32,
    /// Number of columns.
    pub width: u32,
}

/// Resizes an image of `rows` × `columns` × `channels` to `size` (height, width) and returns one window of
/// the result, the only part that is computed.
///
/// `channels` is 1 to 4; a fourth channel is resized like the others.
///
/// # Errors
///
/// The lengths do not fit, a size is zero, or the window leaves the image.
pub fn resize_antialiased(
    pixels: &[u8],
    (rows, columns, channels): (u32, u32, u32),
    size: (u32, u32),
    window: Window,
) -> Result<Vec<u8>> {
    let inside = window.top.checked_add(window.height).is_some_and(|end| end <= size.0)
        && window.left.checked_add(window.width).is_some_and(|end| end <= size.1);
    let wanted = rows as usize * columns as usize * channels as usize;
    if wanted == 0 || channels as usize > LANES || pixels.len() != wanted {
        return Err(KernelError::Shape(format!(
            "{} bytes for an image of {rows}x{columns} pixels with {channels} channels (1 to 4 are possible)",
            pixels.len()
        )));
    }
    if window.height == 0 || window.width == 0 || !inside {
        return Err(KernelError::Shape(format!("{window:?} of an image of {}x{} pixels", size.0, size.1)));
    }
    let across = taps(columns, size.1, window.left..window.left + window.width);
    let down = taps(rows, size.0, window.top..window.top + window.height);
    let used = down[0].first..down[down.len() - 1].end();
    let channels = channels as usize;
    let line = columns as usize * channels;
    let mut narrow = Vec::with_capacity(used.len() * across.len() * channels);
    let mut lanes = vec![[0; LANES]; columns as usize];
    for row in pixels[used.start * line..used.end * line].chunks_exact(line) {
        spread(row, channels, &mut lanes);
        along_row(&lanes, &across, channels, &mut narrow);
    }
    let line = across.len() * channels;
    let mut result = vec![0; down.len() * line];
    let mut sums = vec![0; line];
    for (target, tap) in result.chunks_exact_mut(line).zip(&down) {
        down_columns(&narrow[(tap.first - used.start) * line..], tap, &mut sums, target);
    }
    Ok(result)
}

/// The input pixels that make one output pixel.
struct Tap {
    first: usize,
    weights: Vec<i32>,
}

impl Tap {
    fn end(&self) -> usize {
        self.first + self.weights.len()
    }
}

/// The triangle filter for some pixels of a line that is resized as a whole.
fn taps(size_in: u32, size_out: u32, wanted: Range<u32>) -> Vec<Tap> {
    let scale = f64::from(size_in) / f64::from(size_out);
    let reach = scale.max(1.0);
    let tap = |position: u32| {
        let centre = (f64::from(position) + 0.5) * scale;
        // Casts to unsigned numbers stop at zero.
        let first = (centre - reach + 0.5) as u32;
        let end = ((centre + reach + 0.5) as u32).min(size_in);
        let raw: Vec<f64> = (first..end)
            .map(|pixel| (1.0 - ((f64::from(pixel) - centre + 0.5) / reach).abs()).max(0.0))
            .collect();
        let total: f64 = raw.iter().sum();
        let fixed = |weight: &f64| (weight / total * f64::from(1u32 << PRECISION) + 0.5) as i32;
        Tap { first: first as usize, weights: raw.iter().map(fixed).collect() }
    };
    wanted.map(tap).collect()
}

/// Pads every pixel to `LANES` channels and widens its values.
fn spread(row: &[u8], channels: usize, lanes: &mut [[i32; LANES]]) {
    for (lane, pixel) in lanes.iter_mut().zip(row.chunks_exact(channels)) {
        for (to, from) in lane.iter_mut().zip(pixel) {
            *to = i32::from(*from);
        }
    }
}

#[multiversion(targets("x86_64+avx2", "aarch64+neon"))]
fn along_row(lanes: &[[i32; LANES]], taps: &[Tap], channels: usize, output: &mut Vec<u8>) {
    for tap in taps {
        let mut sum = [1 << (PRECISION - 1); LANES];
        for (pixel, weight) in lanes[tap.first..].iter().zip(&tap.weights) {
            for channel in 0..LANES {
                sum[channel] += pixel[channel] * weight;
            }
        }
        output.extend(sum[..channels].iter().map(|total| rounded(*total)));
    }
}

#[multiversion(targets("x86_64+avx2", "aarch64+neon"))]
fn down_columns(lines: &[u8], tap: &Tap, sums: &mut [i32], target: &mut [u8]) {
    sums.fill(1 << (PRECISION - 1));
    for (line, weight) in lines.chunks_exact(sums.len()).zip(&tap.weights) {
        for (sum, pixel) in sums.iter_mut().zip(line) {
            *sum += i32::from(*pixel) * weight;
        }
    }
    for (pixel, sum) in target.iter_mut().zip(sums.iter()) {
        *pixel = rounded(*sum);
    }
}

/// The integer part, clamped to 255: weights whose sum is slightly above 1 must not turn white into black.
fn rounded(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn whole((height, width): (u32, u32)) -> Window {
        Window { top: 0, left: 0, height, width }
    }

    fn noise(rows: u32, columns: u32, seed: u8) -> Vec<u8> {
        let mixed = |i: u32| i.wrapping_mul(2_654_435_761).wrapping_add(u32::from(seed) << 20) >> 13;
        (0..rows * columns).map(|i| mixed(i) as u8).collect()
    }

    /// Weights of all input pixels for one output pixel, straight from the definition.
    fn weights(size_in: u32, size_out: u32, position: u32) -> Vec<i64> {
        let scale = f64::from(size_in) / f64::from(size_out);
        let reach = scale.max(1.0);
        let centre = (f64::from(position) + 0.5) * scale;
        let raw: Vec<f64> =
            (0..size_in).map(|i| (1.0 - ((f64::from(i) - centre + 0.5) / reach).abs()).max(0.0)).collect();
        let total: f64 = raw.iter().sum();
        raw.into_iter().map(|weight| (weight / total * 4_194_304.0 + 0.5).floor() as i64).collect()
    }

    fn average(weights: &[i64], pixels: impl Iterator<Item = u8>) -> u8 {
        let sum: i64 = weights.iter().zip(pixels).map(|(weight, pixel)| weight * i64::from(pixel)).sum();
        ((sum + 2_097_152) / 4_194_304).min(255) as u8
    }

    /// One channel, pixel by pixel.
    fn naive(pixels: &[u8], rows: u32, columns: u32, size: (u32, u32)) -> Vec<u8> {
        let mut narrow = Vec::new();
        for row in pixels.chunks_exact(columns as usize) {
            narrow.extend((0..size.1).map(|x| average(&weights(columns, size.1, x), row.iter().copied())));
        }
        let mut result = Vec::new();
        for y in 0..size.0 {
            let column = |x: u32| narrow.iter().copied().skip(x as usize).step_by(size.1 as usize);
            result.extend((0..size.1).map(|x| average(&weights(rows, size.0, y), column(x))));
        }
        result
    }

    proptest! {
        #[test]
        fn equals_the_definition(
            (rows, columns) in (1u32..40, 1u32..40),
            size in (1u32..40, 1u32..40),
            seed in any::<u8>(),
        ) {
            let pixels = noise(rows, columns, seed);
            let result = resize_antialiased(&pixels, (rows, columns, 1), size, whole(size)).unwrap();
            prop_assert_eq!(result, naive(&pixels, rows, columns, size));
        }

        #[test]
        fn a_window_is_a_part_of_the_whole(
            (rows, columns) in (1u32..40, 1u32..40),
            (top, left, height, width) in (0u32..20, 0u32..20, 1u32..20, 1u32..20),
            channels in 1u32..=4,
        ) {
            let pixels = noise(rows, columns * channels, 0);
            let size = (top + height + 3, left + width + 2);
            let all = resize_antialiased(&pixels, (rows, columns, channels), size, whole(size)).unwrap();
            let window = Window { top, left, height, width };
            let part = resize_antialiased(&pixels, (rows, columns, channels), size, window).unwrap();
            let (line, from) = ((size.1 * channels) as usize, (left * channels) as usize);
            let expected: Vec<u8> = all
                .chunks_exact(line)
                .skip(top as usize)
                .take(height as usize)
                .flat_map(|row| &row[from..from + (width * channels) as usize])
                .copied()
                .collect();
            prop_assert_eq!(part, expected);
        }
    }

    #[test]
    fn refuses_windows_outside_and_wrong_lengths() {
        let window = Window { top: 0, left: 0, height: 2, width: 3 };
        assert!(resize_antialiased(&[0; 12], (3, 4, 1), (2, 3), window).is_ok());
        assert!(resize_antialiased(&[0; 12], (3, 4, 1), (2, 2), window).is_err());
        assert!(resize_antialiased(&[0; 11], (3, 4, 1), (2, 3), window).is_err());
        assert!(resize_antialiased(&[0; 60], (3, 4, 5), (2, 3), window).is_err());
        assert!(resize_antialiased(&[], (0, 4, 1), (2, 3), window).is_err());
        let empty = Window { height: 0, ..window };
        assert!(resize_antialiased(&[0; 12], (3, 4, 1), (2, 3), empty).is_err());
    }
}
