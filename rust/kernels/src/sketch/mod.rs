//! The sketch: a histogram of leading float bits, exactly mergeable.
//!
//! # Grid
//! A finite value falls into the bin of its sign, its exponent and the first [`MANTISSA_BITS`] bits of its
//! mantissa: every octave `[2^e, 2^(e+1))` of either sign holds [`BINS`] bins of the dyadic width
//! `2^(e - MANTISSA_BITS)`. The bin index is therefore the float's own bit pattern shifted right, which
//! needs neither the range of the data nor a second pass, and no bin ever changes when larger values
//! arrive. Hence a sketch depends only on the multiset of values: not on order, batch size, threads or
//! shards, and [`Sketch::merge`] is an addition of integers: associative, commutative, exact.
//!
//! Relative resolution is 2^-9 everywhere, so a few far outliers cannot blur the body. The top octave alone
//! is resolved like 1,024 linear bins over the range of its sign, the octaves below it like 2,048, 4,096, 8,192 and
//! so on. An 8-bit step spans at least four bins at the very top of a one-sided range, and hundreds of bins where
//! most values lie. Measured on 100,000 normal, rectified, Laplace and Swish values: the search on the sketch finds
//! the scale and zero point with the least squared error on the values themselves, among all scales within 3 %
//! (steps of 0.05 %) and all zero points within 4. Only octaves that hold values are stored, typically 20 to 30 per
//! sign: 80 to 200 KB.
//!
//! # Exceptions
//! Zeros are counted by themselves (half of a tensor after Relu), together with subnormal float32 values
//! (below 1.2e-38). NaN and the infinities are only counted: they never widen a range. Extremes are exact.

mod codec;
mod observe;

use std::collections::BTreeMap;

pub use observe::observe_many;

use crate::error::{KernelError, Result};

/// Mantissa bits that a bin keeps.
pub const MANTISSA_BITS: u32 = 9;
/// Bins of one octave of one sign.
pub const BINS: usize = 1 << MANTISSA_BITS;
/// Mantissa bits of a float32 that a bin drops.
pub(crate) const DROPPED_BITS: u32 = f32::MANTISSA_DIGITS - 1 - MANTISSA_BITS;
/// Sign and exponent of a float32 as one number: the key of an octave.
pub(crate) type OctaveKey = u16;
/// The sign in an [`OctaveKey`].
pub(crate) const NEGATIVE: OctaveKey = 1 << 8;
/// The exponent that marks NaN and infinity.
pub(crate) const NON_FINITE: OctaveKey = 255;

type Counts = [u64; BINS];

/// Largest number of values in one sketch: float64 counts exactly up to it, and no calibration reaches it.
pub const MOST: u64 = 1 << 53;

/// Histogram of a tensor's values; see the [module](self) for its grid.
#[derive(Debug, Clone, PartialEq)]
pub struct Sketch {
    octaves: BTreeMap<OctaveKey, Box<Counts>>,
    zeros: u64,
    nan: u64,
    pos_inf: u64,
    neg_inf: u64,
    min: f32,
    max: f32,
}

/// One bin: `count` values in `[lo, hi)` (mirrored for negative ones).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bin {
    /// Smaller edge.
    pub lo: f64,
    /// Larger edge.
    pub hi: f64,
    /// Number of values.
    pub count: u64,
}

impl Default for Sketch {
    fn default() -> Self {
        Self::new()
    }
}

impl Sketch {
    /// Returns a sketch without values.
    pub fn new() -> Self {
        Self {
            octaves: BTreeMap::new(),
            zeros: 0,
            nan: 0,
            pos_inf: 0,
            neg_inf: 0,
            min: f32::INFINITY,
            max: f32::NEG_INFINITY,
        }
    }

    /// Adds everything that `other` has seen. Exact: the result is the sketch of both multisets together.
    ///
    /// # Errors
    /// Both together hold more than [`MOST`] values; the sketch stays as it was.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        if self.total().saturating_add(other.total()) > MOST {
            return Err(KernelError::SketchFull { most: MOST });
        }
        for (&key, counts) in &other.octaves {
            for (to, from) in self.octave(key).iter_mut().zip(counts.iter()) {
                *to += from;
            }
        }
        self.zeros += other.zeros;
        self.nan += other.nan;
        self.pos_inf += other.pos_inf;
        self.neg_inf += other.neg_inf;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        Ok(())
    }

    /// Number of all values seen, NaN and the infinities included.
    fn total(&self) -> u64 {
        self.count() + self.nan + self.pos_inf + self.neg_inf
    }

    /// Number of finite values seen.
    pub fn count(&self) -> u64 {
        self.zeros + self.octaves.values().flat_map(|counts| counts.iter()).sum::<u64>()
    }

    /// Number of zeros and subnormal values seen.
    pub fn zero_count(&self) -> u64 {
        self.zeros
    }

    /// Number of NaN seen.
    pub fn nan_count(&self) -> u64 {
        self.nan
    }

    /// Number of positive infinities seen.
    pub fn pos_inf_count(&self) -> u64 {
        self.pos_inf
    }

    /// Number of negative infinities seen.
    pub fn neg_inf_count(&self) -> u64 {
        self.neg_inf
    }

    /// Whether no finite value was seen.
    pub fn is_empty(&self) -> bool {
        self.min > self.max
    }

    /// Smallest and largest finite value, exactly; `None` when there is none.
    pub fn range(&self) -> Option<(f32, f32)> {
        (!self.is_empty()).then_some((self.min, self.max))
    }

    /// The bins that hold values, from the most negative to the largest. Zeros are the bin `[0, 0]`.
    pub fn bins(&self) -> Vec<Bin> {
        let mut bins = Vec::new();
        for (&key, counts) in self.octaves.range(NEGATIVE..).rev() {
            for (index, &count) in counts.iter().enumerate().rev().filter(|(_, count)| **count > 0) {
                let (lo, hi) = edges(key & !NEGATIVE, index);
                bins.push(Bin { lo: -hi, hi: -lo, count });
            }
        }
        if self.zeros > 0 {
            bins.push(Bin { lo: 0.0, hi: 0.0, count: self.zeros });
        }
        for (&key, counts) in self.octaves.range(..NEGATIVE) {
            for (index, &count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
                let (lo, hi) = edges(key, index);
                bins.push(Bin { lo, hi, count });
            }
        }
        bins
    }

    /// The octaves of one sign that hold values, ascending in magnitude: exponent field and counts.
    pub(crate) fn octaves(&self, negative: bool) -> impl DoubleEndedIterator<Item = (OctaveKey, &Counts)> {
        let sign = if negative { NEGATIVE } else { 0 };
        self.octaves.range(sign..sign + NEGATIVE).map(|(key, counts)| (key & !NEGATIVE, &**counts))
    }

    /// The value below which the fraction `q` of the finite values lies, linear within a bin and never
    /// outside the exact extremes; `None` when no finite value was seen.
    pub fn percentile(&self, q: f64) -> Option<f64> {
        let (min, max) = self.range()?;
        let bins = self.bins();
        let total: u64 = bins.iter().map(|bin| bin.count).sum();
        let target = q.clamp(0.0, 1.0) * total as f64;
        let mut below = 0.0;
        for bin in &bins {
            let count = bin.count as f64;
            if below + count >= target {
                let value = bin.lo + (bin.hi - bin.lo) * ((target - below) / count);
                return Some(value.clamp(f64::from(min), f64::from(max)));
            }
            below += count;
        }
        Some(f64::from(max))
    }

    /// Counts of the finite values over `count` equal bins from `lo` to `hi`, for reports. Values outside
    /// are left out, values on `hi` belong to the last bin. A bin of the sketch that straddles an edge is
    /// split in proportion; the counts are whole and add up to the values within `[lo, hi]`.
    pub fn histogram(&self, count: usize, lo: f64, hi: f64) -> Vec<u64> {
        let bins = self.bins();
        let mut position = 0;
        let mut passed = 0u64;
        let mut cumulative = |edge: f64, closed: bool| {
            let before = |bin: &Bin| bin.hi < edge || (bin.hi == edge && (closed || bin.lo < bin.hi));
            while position < bins.len() && before(&bins[position]) {
                passed += bins[position].count;
                position += 1;
            }
            let partial = bins
                .get(position)
                .filter(|bin| bin.lo < edge)
                .map_or(0.0, |bin| bin.count as f64 * ((edge - bin.lo) / (bin.hi - bin.lo)));
            passed + partial.round() as u64
        };
        let width = (hi - lo) / count as f64;
        let mut previous = cumulative(lo, false);
        (1..=count)
            .map(|index| {
                let last = index == count;
                let next = cumulative(if last { hi } else { lo + width * index as f64 }, last);
                let inside = next - previous;
                previous = next;
                inside
            })
            .collect()
    }

    /// The bins of an octave, which is added if it holds no value yet.
    fn octave(&mut self, key: OctaveKey) -> &mut Counts {
        self.octaves.entry(key).or_insert_with(|| Box::new([0; BINS]))
    }
}

/// Magnitudes of the edges of a bin.
pub(crate) fn edges(exponent: OctaveKey, index: usize) -> (f64, f64) {
    let octave = 2f64.powi(i32::from(exponent) - 127);
    let width = octave / BINS as f64;
    (octave + width * index as f64, octave + width * (index + 1) as f64)
}
