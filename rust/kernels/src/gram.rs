//! Gram matrices of layer inputs: the second moments that second-order rounding needs.
//!
//! A layer computes `y = W x` for many vectors `x`. [`Gram`] holds the sums of `x - o` and of its products. The
//! origin `o` is the mean of the first vectors. Without it, the covariance of inputs with a large mean and a small
//! variance would be the difference of two large sums, which is rounding noise; with it, the variance of a constant
//! input is exactly zero. Where the products are too large or too small for float32, they are stored in units of a
//! power of two. The columns may be cut into blocks with a matrix each: one for each group of a grouped convolution,
//! or several where one matrix would be too large. Products between two blocks are not stored.
//!
//! A vector costs `blocks * columns^2 / 2` multiplications. A matrix is larger than a cache, so [`WAITING`] vectors
//! are collected and added in one pass over the matrix. The pass runs in parallel over panels of rows. One thread
//! computes a panel, so the result depends neither on the number of threads nor on the number of vectors per call.
//!
//! Source: Chan, Golub and LeVeque, "Algorithms for Computing the Sample Variance", The American Statistician 37
//! (1983), section 3: shifted data.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use rayon::prelude::*;

use crate::error::{KernelError, Result};
use crate::threads;
pub use crate::vectors::{Images, Source, Window};

/// Largest number of columns for which plain loops are faster than a matrix product, as in depthwise layers.
const SMALL: usize = 32;

/// Least number of blocks that one task computes.
const BLOCKS: usize = 16;

/// Rows of a matrix that one task computes.
const PANEL: usize = 128;

/// Number of vectors that are multiplied in one pass; the mean of the first such vectors is the origin.
const WAITING: usize = 256;

/// Range of the largest value for which sums of products in `f32` neither overflow nor underflow.
const PLAIN: std::ops::RangeInclusive<f32> = 1e-9..=1e12;

/// Sums over the input vectors of one layer.
#[derive(Debug, Clone)]
pub struct Gram {
    blocks: usize,
    columns: usize,
    /// `blocks x columns`; computed when the first vectors are added to `second`.
    origin: Vec<f32>,
    settled: bool,
    /// `blocks x columns x columns`, in units of `4^exponent`; only the lower triangle is complete.
    second: Vec<f32>,
    exponent: i32,
    /// Largest distance from the origin, in any column.
    largest: f32,
    /// `blocks x columns`.
    first: Vec<f64>,
    count: u64,
    /// For each block, the vectors that are not in `second` yet.
    waiting: Vec<Vec<f32>>,
    finite: bool,
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
        Ok(Self {
            blocks,
            columns,
            origin: vec![0.0; blocks * columns],
            settled: false,
            second: vec![0.0; blocks * columns * columns],
            exponent: 0,
            largest: 0.0,
            first: vec![0.0; blocks * columns],
            count: 0,
            waiting: vec![Vec::new(); blocks],
            finite: true,
        })
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

    /// Whether all vectors were finite, and their distances from each other too.
    pub fn is_finite(&self) -> bool {
        self.finite
    }

    /// `sum x`, block by block.
    pub fn first(&self) -> &[f64] {
        &self.first
    }

    /// Whether every vector is in the sums of products.
    pub fn is_finished(&self) -> bool {
        self.waiting.iter().all(Vec::is_empty)
    }

    /// The unit of [`Covariance::at`]; 1 unless values are extreme.
    pub fn unit(&self) -> f64 {
        power_of_two(2 * self.exponent)
    }

    /// The covariance of one block's columns.
    ///
    /// It is meaningful only after [`Gram::finish`], with at least one vector, and if [`Gram::is_finite`] holds.
    pub fn covariance(&self, block: usize) -> Covariance<'_> {
        let (count, size) = (self.count.max(1) as f64, self.columns * self.columns);
        let places = block * self.columns..(block + 1) * self.columns;
        let shrink = power_of_two(-self.exponent);
        let means = self.first[places.clone()].iter().zip(&self.origin[places]);
        let shifts = means.map(|(first, origin)| (first / count - f64::from(*origin)) * shrink).collect();
        Covariance { products: &self.second[block * size..][..size], shifts, count }
    }

    /// Adds the vectors at `positions`.
    ///
    /// A position is the index of a row, or `(image * output_height + y) * output_width + x`.
    ///
    /// # Errors
    /// A position lies outside the tensor, the size of the tensor does not fit, or a value is not finite. After a
    /// value that is not finite the sums are useless, and [`Gram::is_finite`] returns false.
    pub fn add(&mut self, source: Source<'_>, positions: &[usize]) -> Result<()> {
        source.check(self.blocks, self.columns, positions)?;
        let columns = self.columns;
        let start = self.waiting[0].len();
        source.gather(columns, positions, &mut self.waiting);
        for (waiting, first) in self.waiting.iter().zip(self.first.chunks_exact_mut(columns)) {
            add_sums(first, &waiting[start..]);
            self.finite &= first.iter().all(|sum| sum.is_finite());
        }
        self.count += positions.len() as u64;
        if !self.finite {
            return Err(KernelError::NotFinite("a layer input is NaN or infinite".into()));
        }
        self.flush(self.waiting[0].len() / columns / WAITING * WAITING)
    }

    /// Adds the products of all collected vectors.
    ///
    /// # Errors
    /// The pool of threads cannot be built.
    pub fn finish(&mut self) -> Result<()> {
        self.flush(self.waiting[0].len() / self.columns)
    }

    /// Adds the products of the first `count` collected vectors, [`WAITING`] vectors per pass.
    fn flush(&mut self, count: usize) -> Result<()> {
        if count == 0 {
            return Ok(());
        }
        threads::run(|| {
            for start in (0..count).step_by(WAITING) {
                self.add_waiting(start..count.min(start + WAITING));
            }
        })?;
        let used = count * self.columns;
        self.waiting.iter_mut().for_each(|vectors| drop(vectors.drain(..used)));
        Ok(())
    }

    /// Subtracts the origin from a range of the collected vectors and adds their products.
    fn add_waiting(&mut self, range: std::ops::Range<usize>) {
        let (columns, size) = (self.columns, self.columns * self.columns);
        let range = range.start * columns..range.end * columns;
        if !self.settled {
            self.settled = true;
            self.origin =
                self.waiting.iter().flat_map(|vectors| mean(&vectors[range.clone()], columns)).collect();
        }
        let least = if columns > SMALL { 1 } else { BLOCKS };
        let centred = self.waiting.par_iter_mut().zip(self.origin.par_chunks(columns)).with_min_len(least);
        let largest: Vec<f32> =
            centred.map(|(vectors, origin)| centre(&mut vectors[range.clone()], origin)).collect();
        self.set_unit(largest.into_iter().fold(self.largest, f32::max));
        let factor = (self.exponent != 0).then(|| power_of_two(-self.exponent));
        let blocks = self.second.par_chunks_mut(size).zip(self.waiting.par_iter_mut());
        blocks.with_min_len(least).for_each(|(second, vectors)| {
            let vectors = &mut vectors[range.clone()];
            if let Some(factor) = factor {
                rescale(vectors, factor);
            }
            add_products(second, vectors, columns);
        });
    }

    /// Chooses the unit in which values up to `largest` have products that `f32` can sum.
    fn set_unit(&mut self, largest: f32) {
        self.largest = largest;
        self.finite &= largest.is_finite();
        let plain = largest == 0.0 || PLAIN.contains(&largest) || !largest.is_finite();
        let exponent = if plain { 0 } else { largest.log2().floor() as i32 };
        if exponent != self.exponent {
            rescale(&mut self.second, power_of_two(2 * (self.exponent - exponent)));
            self.exponent = exponent;
        }
    }
}

/// The covariance of the columns of one block, in units of [`Gram::unit`].
#[derive(Debug, Clone)]
pub struct Covariance<'a> {
    products: &'a [f32],
    /// Mean of each column minus the origin.
    shifts: Vec<f64>,
    count: f64,
}

impl Covariance<'_> {
    /// Covariance of two columns; a variance is never negative.
    pub fn at(&self, row: usize, column: usize) -> f64 {
        let (row, column) = (row.max(column), row.min(column));
        let product = f64::from(self.products[row * self.shifts.len() + column]);
        let found = product / self.count - self.shifts[row] * self.shifts[column];
        if row == column { found.max(0.0) } else { found }
    }
}

fn power_of_two(exponent: i32) -> f64 {
    f64::from(exponent).exp2()
}

fn rescale(values: &mut [f32], factor: f64) {
    values.iter_mut().for_each(|value| *value = (f64::from(*value) * factor) as f32);
}

fn mean(vectors: &[f32], columns: usize) -> Vec<f32> {
    let mut sums = vec![0.0; columns];
    add_sums(&mut sums, vectors);
    let count = (vectors.len() / columns) as f64;
    sums.into_iter().map(|sum| (sum / count) as f32).collect()
}

/// Subtracts the origin from every vector; returns the largest distance.
fn centre(vectors: &mut [f32], origin: &[f32]) -> f32 {
    let mut largest = 0.0f32;
    for vector in vectors.chunks_exact_mut(origin.len()) {
        for (value, origin) in vector.iter_mut().zip(origin) {
            *value -= origin;
            largest = if value.abs() > largest { value.abs() } else { largest };
        }
    }
    largest
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
        let covariance = gram.covariance(0);
        let product =
            |i: usize, j: usize| 2.0 * covariance.at(i, j) + gram.first()[i] * gram.first()[j] / 2.0;
        assert_eq!([product(0, 0), product(1, 0), product(1, 1)], [26.0, 32.0, 40.0]);
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
        let (whole, parts) = (whole.covariance(0), parts.covariance(0));
        for row in 0..40 {
            for column in 0..=row {
                assert_eq!(whole.at(row, column), parts.at(row, column));
            }
        }
    }

    #[test]
    fn a_patch_at_the_border_sees_zeros() {
        let data: Vec<f32> = (1..=9).map(|value| value as f32).collect();
        let window =
            Window { kernel: [2, 2], strides: [2, 2], dilations: [1, 1], pads: [1, 1], output: [2, 2] };
        let mut gram = Gram::new(1, 4).unwrap();
        let images = Images { data: &data, shape: [1, 3, 3], block: 1 };
        gram.add(Source::Patches(images, window), &[0, 3]).unwrap();
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
