//! Differences of a tensor from its reference: one pass computes every sum that the usual measures need.
//!
//! Sums are float64, over fixed chunks with fixed lanes, added in order: the same bits whatever the number of
//! threads. Pairs in which either value is NaN or infinite are left out of every sum and counted apart.

use multiversion::multiversion;
use rayon::prelude::*;

use crate::error::{KernelError, Result};
use crate::threads;
use crate::values::Values;

/// Number of elements per chunk; the sums of chunks are added in order.
const CHUNK: usize = 1 << 14;
/// Lanes of the sums within a chunk.
const LANES: usize = 8;

/// Sums over pairs (reference `a`, test `b`).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ErrorSums {
    /// Pairs of finite values.
    pub count: u64,
    /// Pairs with a NaN or an infinity.
    pub non_finite: u64,
    /// Sum of `a^2`.
    pub reference_energy: f64,
    /// Sum of `b^2`.
    pub test_energy: f64,
    /// Sum of `a b`.
    pub product: f64,
    /// Sum of `(a - b)^2`.
    pub noise_energy: f64,
    /// Largest `|a - b|`.
    pub max_abs_error: f64,
    /// Smallest and largest `a`; `(inf, -inf)` without pairs.
    pub reference_range: (f64, f64),
    /// Smallest and largest `b`; `(inf, -inf)` without pairs.
    pub test_range: (f64, f64),
}

const NO_RANGE: (f64, f64) = (f64::INFINITY, f64::NEG_INFINITY);

impl Default for ErrorSums {
    fn default() -> Self {
        Self {
            count: 0,
            non_finite: 0,
            reference_energy: 0.0,
            test_energy: 0.0,
            product: 0.0,
            noise_energy: 0.0,
            max_abs_error: 0.0,
            reference_range: NO_RANGE,
            test_range: NO_RANGE,
        }
    }
}

impl ErrorSums {
    /// Adds the sums of further pairs. Floating-point addition rounds: the same bits need the same order of merging.
    pub fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.non_finite += other.non_finite;
        self.reference_energy += other.reference_energy;
        self.test_energy += other.test_energy;
        self.product += other.product;
        self.noise_energy += other.noise_energy;
        self.max_abs_error = self.max_abs_error.max(other.max_abs_error);
        self.reference_range = join(self.reference_range, other.reference_range);
        self.test_range = join(self.test_range, other.test_range);
    }

    /// Noise energy over signal energy (lower is better): 0 without noise, infinite for noise on silence.
    pub fn noise_ratio(&self) -> f64 {
        if self.noise_energy == 0.0 { 0.0 } else { self.noise_energy / self.reference_energy }
    }

    /// Signal-to-quantisation-noise ratio in decibels (higher is better); infinite without noise.
    pub fn sqnr_db(&self) -> f64 {
        -10.0 * self.noise_ratio().log10()
    }

    /// Mean squared error; 0 without pairs.
    pub fn mse(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.noise_energy / self.count as f64 }
    }

    /// Cosine of the angle between the tensors; 1 when both are zero, 0 when one is.
    pub fn cosine(&self) -> f64 {
        let norms = (self.reference_energy * self.test_energy).sqrt();
        if norms > 0.0 {
            (self.product / norms).clamp(-1.0, 1.0)
        } else {
            f64::from(u8::from(self.reference_energy == self.test_energy))
        }
    }
}

fn join(a: (f64, f64), b: (f64, f64)) -> (f64, f64) {
    (a.0.min(b.0), a.1.max(b.1))
}

/// Sums over two tensors of equal length.
///
/// # Errors
/// Different lengths.
pub fn error_sums(reference: Values<'_>, test: Values<'_>) -> Result<ErrorSums> {
    let len = reference.len();
    if len != test.len() {
        return Err(KernelError::Shape(format!("{len} reference values and {} test values", test.len())));
    }
    let chunk = |start: usize| {
        let end = len.min(start + CHUNK);
        let (a, b) = (reference.range(start, end), test.range(start, end));
        let (mut left, mut right) = (a.buffer(), b.buffer());
        let (a, b) = (a.as_f32(&mut left), b.as_f32(&mut right));
        chunk_sums(a, b).unwrap_or_else(|| careful_sums(a, b))
    };
    let starts: Vec<usize> = (0..len).step_by(CHUNK).collect();
    let parts: Vec<ErrorSums> = if starts.len() < 4 {
        starts.into_iter().map(chunk).collect()
    } else {
        threads::run(|| starts.into_par_iter().map(chunk).collect())?
    };
    Ok(parts.iter().fold(ErrorSums::default(), |mut total, part| {
        total.merge(part);
        total
    }))
}

/// Sums of a chunk of finite values; `None` when one is not finite.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2", "aarch64+neon",))]
fn chunk_sums(a: &[f32], b: &[f32]) -> Option<ErrorSums> {
    const INFINITE: u32 = 0xff << 23;
    let largest = a.iter().chain(b).fold(0, |largest, value| largest.max(value.to_bits() & (u32::MAX >> 1)));
    if largest >= INFINITE {
        return None;
    }
    let mut sums = [[0.0f64; LANES]; 4];
    let mut error = [0.0f64; LANES];
    let mut ranges = [
        [f32::INFINITY; LANES],
        [f32::NEG_INFINITY; LANES],
        [f32::INFINITY; LANES],
        [f32::NEG_INFINITY; LANES],
    ];
    let mut add = |lane: usize, a: f32, b: f32| {
        ranges[0][lane] = if a < ranges[0][lane] { a } else { ranges[0][lane] };
        ranges[1][lane] = if a > ranges[1][lane] { a } else { ranges[1][lane] };
        ranges[2][lane] = if b < ranges[2][lane] { b } else { ranges[2][lane] };
        ranges[3][lane] = if b > ranges[3][lane] { b } else { ranges[3][lane] };
        let (a, b) = (f64::from(a), f64::from(b));
        let noise = a - b;
        sums[0][lane] += a * a;
        sums[1][lane] += b * b;
        sums[2][lane] += a * b;
        sums[3][lane] += noise * noise;
        error[lane] = if noise.abs() > error[lane] { noise.abs() } else { error[lane] };
    };
    let ((left, left_rest), (right, right_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in left.iter().zip(right) {
        for lane in 0..LANES {
            add(lane, a[lane], b[lane]);
        }
    }
    for (lane, (a, b)) in left_rest.iter().zip(right_rest).enumerate() {
        add(lane, *a, *b);
    }
    let sum = |index: usize| sums[index].iter().sum();
    let least = |index: usize| f64::from(ranges[index].iter().copied().fold(f32::INFINITY, f32::min)) + 0.0;
    let most =
        |index: usize| f64::from(ranges[index].iter().copied().fold(f32::NEG_INFINITY, f32::max)) + 0.0;
    Some(ErrorSums {
        count: a.len() as u64,
        non_finite: 0,
        reference_energy: sum(0),
        test_energy: sum(1),
        product: sum(2),
        noise_energy: sum(3),
        max_abs_error: error.iter().copied().fold(0.0, f64::max),
        reference_range: (least(0), most(1)),
        test_range: (least(2), most(3)),
    })
}

/// Sums over the pairs of a chunk in which both values are finite.
fn careful_sums(a: &[f32], b: &[f32]) -> ErrorSums {
    let (left, right): (Vec<f32>, Vec<f32>) =
        a.iter().zip(b).filter(|(a, b)| a.is_finite() && b.is_finite()).unzip();
    let kept = chunk_sums(&left, &right).unwrap_or_default();
    ErrorSums { non_finite: (a.len() - left.len()) as u64, ..kept }
}
