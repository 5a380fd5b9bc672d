//! Gram matrices of layer inputs: the second moments that second-order rounding needs.
//!
//! A layer computes `y = W x` for many vectors `x`: the rows of a matrix, or the patches that a convolution
//! looks at. [`Gram`] holds `sum x x'`, `sum x` and the number of vectors. Patches are gathered for the chosen
//! positions only, so an unfolded image never exists. The columns may be cut into blocks, each with its own
//! matrix: one per group of a grouped convolution, or more where one matrix would be too large; what blocks
//! have in common is then left out.
//!
//! A vector costs `blocks * columns^2 / 2` multiplications. A matrix is larger than a cache, so vectors wait until
//! [`WAITING`] of them share one way through it. That runs in parallel over panels of rows, each computed by one
//! thread, so the result does not depend on the number of threads.

use std::ops::Range;

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use rayon::prelude::*;

use crate::error::{KernelError, Result};
use crate::threads;

/// Columns up to which plain loops are faster than a call of the matrix product, as in depthwise layers.
const SMALL: usize = 32;

/// Least number of blocks that one task computes.
const BLOCKS: usize = 16;

/// Rows of a matrix that one task computes.
const PANEL: usize = 128;

/// Vectors that are multiplied together.
const WAITING: usize = 256;

/// How a convolution looks at a tensor of shape `(batch, channels, height, width)`.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// Height and width of the kernel.
    pub kernel: [usize; 2],
    /// Step between positions.
    pub strides: [usize; 2],
    /// Distance between the elements of the kernel.
    pub dilations: [usize; 2],
    /// Zeros before the first row and the first column.
    pub pads: [usize; 2],
    /// Positions along both axes.
    pub output: [usize; 2],
}

/// A tensor and the vectors in it.
#[derive(Debug, Clone, Copy)]
pub enum Source<'a> {
    /// Vectors are the rows of a matrix with `blocks * columns` columns.
    Rows(&'a [f32]),
    /// Vectors are the patches of images of the given `(channels, height, width)`.
    Patches(&'a [f32], [usize; 3], Window),
}

/// Sums over the input vectors of one layer.
#[derive(Debug, Clone)]
pub struct Gram {
    blocks: usize,
    columns: usize,
    /// `blocks x columns x columns`; only the lower triangle is complete.
    second: Vec<f32>,
    /// `blocks x columns`.
    first: Vec<f64>,
    count: u64,
    /// Vectors that are not in `second` yet, block by block.
    waiting: Vec<Vec<f32>>,
}

impl Gram {
    /// An empty Gram matrix for vectors of `blocks * columns` elements.
    ///
    /// # Errors
    /// Zero blocks or columns.
    pub fn new(blocks: usize, columns: usize) -> Result<Self> {
        if blocks == 0 || columns == 0 {
            return Err(KernelError::Argument("a Gram matrix needs blocks and columns".into()));
        }
        let second = vec![0.0; blocks * columns * columns];
        let (first, waiting) = (vec![0.0; blocks * columns], vec![Vec::new(); blocks]);
        Ok(Self { blocks, columns, second, first, count: 0, waiting })
    }

    /// Number of blocks.
    pub fn blocks(&self) -> usize {
        self.blocks
    }

    /// Columns of one block.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Number of vectors that were added.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// `sum x`, block by block.
    pub fn first(&self) -> &[f64] {
        &self.first
    }

    /// Whether every vector is in `second`.
    pub fn is_finished(&self) -> bool {
        self.waiting.iter().all(Vec::is_empty)
    }

    /// `sum x x'`, block by block in C order; only the lower triangle of each block is valid, and only after
    /// [`Gram::finish`].
    pub fn second(&self) -> &[f32] {
        &self.second
    }

    /// Adds the vectors at `positions`.
    ///
    /// A position is the index of a row, or `(image * output_height + y) * output_width + x`.
    ///
    /// # Errors
    /// A position outside the tensor, a tensor whose size does not fit, or a value that is not finite.
    pub fn add(&mut self, source: Source<'_>, positions: &[usize]) -> Result<()> {
        source.check(self.blocks, self.columns, positions)?;
        let (blocks, columns) = (self.blocks, self.columns);
        let mut finite = true;
        let parts = self.waiting.iter_mut().zip(self.first.chunks_exact_mut(columns));
        for (block, (waiting, first)) in parts.enumerate() {
            let start = waiting.len();
            source.gather(block, columns, blocks, positions, waiting);
            add_sums(first, &waiting[start..]);
            finite &= first.iter().all(|sum| sum.is_finite());
        }
        self.count += positions.len() as u64;
        if !finite {
            return Err(KernelError::NotFinite("a layer input is NaN or infinite".into()));
        }
        if self.waiting[0].len() >= WAITING * columns { self.finish() } else { Ok(()) }
    }

    /// Adds the vectors that wait.
    ///
    /// # Errors
    /// The pool of threads cannot be built.
    pub fn finish(&mut self) -> Result<()> {
        let (columns, size) = (self.columns, self.columns * self.columns);
        let (second, waiting) = (&mut self.second, &mut self.waiting);
        let least = if columns > SMALL { 1 } else { BLOCKS };
        threads::run(|| {
            second.par_chunks_mut(size).zip(waiting.par_iter_mut()).with_min_len(least).for_each(
                |(second, vectors)| {
                    add_products(second, vectors, columns);
                    vectors.clear();
                },
            );
        })
    }
}

fn add_sums(first: &mut [f64], vectors: &[f32]) {
    for vector in vectors.chunks_exact(first.len()) {
        for (sum, value) in first.iter_mut().zip(vector) {
            *sum += f64::from(*value);
        }
    }
}

/// Adds `X' X` to the lower triangle.
fn add_products(second: &mut [f32], vectors: &[f32], columns: usize) {
    if columns > SMALL {
        return add_panels(second, vectors, columns);
    }
    for vector in vectors.chunks_exact(columns) {
        for (row, value) in second.chunks_exact_mut(columns).zip(vector) {
            for (sum, other) in row.iter_mut().zip(vector) {
                *sum += value * other;
            }
        }
    }
}

/// Adds `X' X` to the lower triangle, panel by panel.
fn add_panels(second: &mut [f32], vectors: &[f32], columns: usize) {
    let count = vectors.len() / columns;
    let vectors = MatRef::from_row_major_slice(vectors, count, columns);
    second.par_chunks_mut(PANEL * columns).enumerate().for_each(|(panel, rows)| {
        let (start, height) = (panel * PANEL, rows.len() / columns);
        let width = start + height;
        let rows = MatMut::from_row_major_slice_mut(rows, height, columns).subcols_mut(0, width);
        let (left, right) = (vectors.subcols(start, height).transpose(), vectors.subcols(0, width));
        matmul(rows, Accum::Add, left, right, 1.0, Par::Seq);
    });
}

impl Source<'_> {
    fn check(&self, blocks: usize, columns: usize, positions: &[usize]) -> Result<()> {
        let total = blocks * columns;
        let (fits, available) = match self {
            Self::Rows(data) => (data.len().is_multiple_of(total), data.len() / total),
            Self::Patches(data, [channels, height, width], window) => {
                let image = channels * height * width;
                let area = window.kernel[0] * window.kernel[1];
                let fits = channels * area == total
                    && columns.checked_rem(area) == Some(0)
                    && image > 0
                    && data.len().is_multiple_of(image);
                (fits, data.len().checked_div(image).unwrap_or(0) * window.output[0] * window.output[1])
            }
        };
        if !fits {
            return Err(KernelError::Shape(format!("the tensor has no vectors of {total} elements")));
        }
        match positions.iter().find(|position| **position >= available) {
            Some(position) => Err(KernelError::Shape(format!("there is no vector {position}"))),
            None => Ok(()),
        }
    }

    /// Appends the block's part of every chosen vector.
    fn gather(
        &self,
        block: usize,
        columns: usize,
        blocks: usize,
        positions: &[usize],
        vectors: &mut Vec<f32>,
    ) {
        vectors.reserve(positions.len() * columns);
        for position in positions {
            match self {
                Self::Rows(data) => {
                    let start = (position * blocks + block) * columns;
                    vectors.extend_from_slice(&data[start..start + columns]);
                }
                Self::Patches(data, shape, window) => {
                    let channels = columns / (window.kernel[0] * window.kernel[1]);
                    let chosen = block * channels..(block + 1) * channels;
                    window.push_patch(data, *shape, chosen, *position, vectors);
                }
            }
        }
    }
}

impl Window {
    /// Appends what the kernel sees of `channels` at one position; outside the image it sees zeros.
    fn push_patch(
        &self,
        data: &[f32],
        [count, height, width]: [usize; 3],
        channels: Range<usize>,
        position: usize,
        patch: &mut Vec<f32>,
    ) {
        let [rows, columns] = self.output;
        let image = position / (rows * columns);
        let place = [position / columns % rows, position % columns];
        let at = |axis: usize, step: usize, size: usize| {
            let padded = place[axis] * self.strides[axis] + step * self.dilations[axis];
            padded.checked_sub(self.pads[axis]).filter(|index| *index < size)
        };
        for channel in channels {
            let plane = &data[(image * count + channel) * height * width..][..height * width];
            for y in 0..self.kernel[0] {
                let row = at(0, y, height).map(|y| &plane[y * width..(y + 1) * width]);
                for x in 0..self.kernel[1] {
                    let value = row.and_then(|row| at(1, x, width).map(|x| row[x]));
                    patch.push(value.unwrap_or(0.0));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_of_rows_are_exact_for_small_integers() {
        let data = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let mut gram = Gram::new(1, 2).unwrap();
        gram.add(Source::Rows(&data), &[0, 2]).unwrap();
        assert!(!gram.is_finished());
        gram.finish().unwrap();
        assert!(gram.is_finished());
        assert_eq!(gram.first(), [6.0, 8.0]);
        assert_eq!([gram.second()[0], gram.second()[2], gram.second()[3]], [26.0, 32.0, 40.0]);
        assert_eq!(gram.count(), 2);
    }

    #[test]
    fn waiting_vectors_count_once_however_they_come() {
        let data: Vec<f32> = (0..3 * WAITING * 40).map(|value| (value * 7 % 11) as f32 - 5.0).collect();
        let sums = |size: usize| {
            let mut gram = Gram::new(1, 40).unwrap();
            let positions: Vec<usize> = (0..3 * WAITING).collect();
            for chosen in positions.chunks(size) {
                gram.add(Source::Rows(&data), chosen).unwrap();
            }
            gram.finish().unwrap();
            gram.finish().unwrap();
            gram
        };
        let (whole, parts) = (sums(3 * WAITING), sums(100));
        assert_eq!(whole.first(), parts.first());
        for row in 0..40 {
            assert_eq!(whole.second()[row * 40..][..=row], parts.second()[row * 40..][..=row]);
        }
    }

    #[test]
    fn a_patch_at_the_border_sees_zeros() {
        let data: Vec<f32> = (1..=9).map(|value| value as f32).collect();
        let window =
            Window { kernel: [2, 2], strides: [2, 2], dilations: [1, 1], pads: [1, 1], output: [2, 2] };
        let mut gram = Gram::new(1, 4).unwrap();
        gram.add(Source::Patches(&data, [1, 3, 3], window), &[0, 3]).unwrap();
        // Patches: (0, 0, 0, 1) and (5, 6, 8, 9).
        assert_eq!(gram.first(), [5.0, 6.0, 8.0, 10.0]);
    }

    #[test]
    fn a_position_outside_is_refused() {
        let mut gram = Gram::new(1, 2).unwrap();
        assert!(gram.add(Source::Rows(&[1.0, 2.0]), &[1]).is_err());
        assert!(gram.add(Source::Rows(&[1.0]), &[0]).is_err());
        assert!(gram.add(Source::Rows(&[f32::NAN, 0.0]), &[0]).is_err());
    }
}
