//! Least Kullback-Leibler divergence between the histogram of the values and its quantised version.
//!
//! # Formula
//! Over the bins `i` inside a range let `c_i` be counts, `w_i` widths, `N` all values, `M` those inside. As in
//! TensorRT's calibration, `P` is the histogram with what lies outside added to the outermost bin of its side
//! (`O` values), and `Q` spreads the `C_k` values of each level evenly over the `W_k`, the total width of its
//! non-empty bins:
//!
//! ```text
//! KL(P || Q) = sum over i of p_i ln(p_i / q_i),   p_i = (c_i + O_i) / N,   q_i = (C_k / M) (w_i / W_k)
//!
//! N KL = sum of c ln(c / w) - sum over levels of C ln(C / W) + N ln(M / N)
//!      + per clipped side: (c + O) ln((c + O) / w) - c ln(c / w) - O ln(C / W)
//! ```
//!
//! Both distributions live on the same bins and `P` is nowhere positive where `Q` is zero, except where the
//! outermost level is empty: it then counts as half a value (the smoothing that Jeffreys' prior gives). Every
//! sum is a difference of prefix sums. For one scale, the terms of a side with `n` steps follow from those
//! with `n - 1`, so all 256 zero points cost as much as one.
//!
//! Exact zeros are left out: every quantiser represents them exactly. Bins are linear up to the octave of the
//! 99.9th percentile of the magnitudes and the sketch's own above, so that neither the fine bins around zero
//! nor a far outlier distort the measure.
//!
//! # Cost
//! At 8 bits a scale takes 255 logarithms and table look-ups, 3 to 8 us. At most 84 scales are tried.
//!
//! # Source
//! S. Migacz, *8-bit inference with TensorRT*, GPU Technology Conference (2017), slides 21 to 38: symmetric,
//! 128 levels. Zero points and unequal bin widths are this module's extension.

use super::{Levels, Params, widest_scale};
use crate::sketch::{BINS, MANTISSA_BITS, Sketch, edges};

/// Number of scales of the grid, and the ratio of neighbouring scales beyond which a finer grid gains nothing.
const GRID: usize = 64;
const FINEST: f64 = 1.0 - 1.0 / 64.0;
/// Number of finer steps on either side of the best scale, and number of refinements.
const FINER: usize = 6;
const ROUNDS: usize = 2;
/// The grid ends where more than this fraction of the values would be clipped.
const MOST_CLIPPED: f64 = 0.1;
/// Magnitudes up to the octave of this quantile have linear bins.
const BODY: f64 = 0.999;
/// Number of values that an empty outermost level counts as.
const SMOOTHING: f64 = 0.5;

/// Finds the scale and zero point of least divergence.
pub fn search(sketch: &Sketch, levels: Levels) -> Params {
    let widest = widest_scale(sketch, levels);
    let mut problem = Problem::new(sketch, levels);
    let narrowest = problem.magnitude(1.0 - MOST_CLIPPED) / levels.steps() as f64;
    let ratio = (narrowest / widest).powf(1.0 / GRID as f64).min(FINEST);
    let mut best = problem.candidate(widest);
    let mut scale = widest;
    for _ in 0..GRID {
        scale *= ratio;
        let candidate = problem.candidate(scale);
        if candidate.divergence == f64::INFINITY {
            break;
        }
        best = best.better(candidate);
    }
    let mut width = 1.0 - ratio;
    for _ in 0..ROUNDS {
        let centre = best.scale;
        width /= FINER as f64;
        for step in 1..FINER {
            let offset = width * step as f64;
            best = best.better(problem.candidate(centre * (1.0 - offset)));
            best = best.better(problem.candidate(centre * (1.0 + offset)));
        }
    }
    let zero_point = if levels.symmetric { 0 } else { levels.qmax - best.above as i32 };
    Params::new(best.scale, zero_point, levels)
}

/// `KL(P || Q)` of a quantiser, in nats; infinite where it clips more than a tenth of the values.
pub fn divergence(sketch: &Sketch, params: Params, levels: Levels) -> f64 {
    let mut problem = Problem::new(sketch, levels);
    problem.prepare(f64::from(params.scale));
    problem.divergence((levels.qmax - params.zero_point) as usize) / problem.total
}

#[derive(Debug, Clone, Copy)]
struct Candidate {
    scale: f64,
    /// Steps above zero.
    above: usize,
    /// `N KL`.
    divergence: f64,
}

impl Candidate {
    /// Returns the quantiser of smaller divergence; of two equal ones the first, which has the wider range.
    fn better(self, other: Self) -> Self {
        if other.divergence < self.divergence { other } else { self }
    }
}

/// For one side and each number of steps: its terms of the divergence, and the number of values it clips.
#[derive(Debug, Clone, Copy, Default)]
struct Share {
    divergence: f64,
    outside: f64,
}

struct Problem {
    above: Side,
    below: Side,
    total: f64,
    levels: Levels,
    /// Steps above zero if both sides get steps in proportion to their ranges.
    proportional: usize,
    shares_above: Vec<Share>,
    shares_below: Vec<Share>,
    /// The term of the level that represents zero, which both sides share.
    zero: f64,
}

impl Problem {
    fn new(sketch: &Sketch, levels: Levels) -> Self {
        let body = body_exponent(sketch);
        let (above, below) = (Side::new(sketch, false, body), Side::new(sketch, true, body));
        let total = above.total() + below.total();
        let (min, max) = sketch.range().unwrap_or((0.0, 0.0));
        let (down, up) = (-f64::from(min.min(0.0)), f64::from(max.max(0.0)));
        let proportional = (levels.steps() as f64 * (up / (up + down))).round() as usize;
        let (shares_above, shares_below) = (Vec::new(), Vec::new());
        Self { above, below, total, levels, proportional, shares_above, shares_below, zero: 0.0 }
    }

    /// The best zero point of a scale; infinite where every one clips too much.
    fn candidate(&mut self, scale: f64) -> Candidate {
        let (steps, most) = self.steps();
        let (first_above, first_below) = self.prepare(scale);
        let mut best = Candidate { scale, above: 0, divergence: f64::INFINITY };
        let mut consider = |above: usize| {
            best = best.better(Candidate { scale, above, divergence: self.divergence(above) });
        };
        let (low, high) = (first_above.max(steps - most), most.min(steps - first_below.min(steps)));
        if low <= high {
            // The split in proportion to the ranges comes first, so that it wins ties.
            consider(self.proportional.clamp(low, high));
            (low..=high).for_each(consider);
        }
        best
    }

    /// Computes the shares of both sides at a scale; returns the fewest steps that each of them needs.
    fn prepare(&mut self, scale: f64) -> (usize, usize) {
        let (_, most) = self.steps();
        let limit = MOST_CLIPPED * self.total;
        let first_above = self.above.shares(scale, most, limit, &mut self.shares_above);
        let first_below = self.below.shares(scale, most, limit, &mut self.shares_below);
        let (above, below) = (self.above.sum(0.5 * scale), self.below.sum(0.5 * scale));
        self.zero = xlogx(above.count + below.count, above.support + below.support);
        (first_above, first_below)
    }

    /// Returns `N KL` of the prepared scale with the given number of steps above zero.
    fn divergence(&self, steps_above: usize) -> f64 {
        // Beyond the last entry nothing changes.
        let at = |shares: &[Share], steps: usize| shares[steps.min(shares.len() - 1)];
        let above = at(&self.shares_above, steps_above);
        let below = at(&self.shares_below, self.steps().0 - steps_above);
        let outside = above.outside + below.outside;
        if outside > MOST_CLIPPED * self.total {
            return f64::INFINITY;
        }
        let scarcer = if outside > 0.0 { self.total * ln(1.0 - outside / self.total) } else { 0.0 };
        above.divergence + below.divergence - self.zero + scarcer
    }

    /// An edge of a bin beyond which at most the fraction `1 - q` of the values lies.
    fn magnitude(&self, q: f64) -> f64 {
        let outside = |side: &Side, edge: f64| side.total() - side.sum(edge).count;
        let mut edge = self.above.width;
        while outside(&self.above, edge) + outside(&self.below, edge) > (1.0 - q) * self.total {
            edge *= 1.125;
        }
        edge
    }

    /// Number of steps of both sides together, and the largest number for one side.
    fn steps(&self) -> (usize, usize) {
        let most = self.levels.qmax as usize;
        if self.levels.symmetric { (2 * most, most) } else { (self.levels.steps(), self.levels.steps()) }
    }
}

/// Prefix sums over the bins of one sign, from zero outwards.
struct Side {
    /// Largest exponent field with linear bins.
    body: u16,
    /// Width of a linear bin, a power of two, and its inverse.
    width: f64,
    bins_per_unit: f64,
    /// Sums over the bins before each index.
    sums: Vec<Sums>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    count: f64,
    /// Width of the non-empty bins.
    support: f64,
    /// Sum of `c ln(c / w)`.
    entropy: f64,
}

impl Side {
    fn new(sketch: &Sketch, negative: bool, body: u16) -> Self {
        let linear = 2 * BINS;
        let top = sketch.octaves(negative).next_back().map_or(body, |(exponent, _)| exponent.max(body));
        let mut bins = vec![(0.0, 0.0); linear + usize::from(top - body) * BINS];
        let width = edges(body, 0).0 / BINS as f64;
        let mut side = Self { body, width, bins_per_unit: 1.0 / width, sums: Vec::new() };
        for (exponent, counts) in sketch.octaves(negative) {
            for (index, &count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
                let (lo, hi) = edges(exponent, index);
                let bin = &mut bins[side.position(lo)];
                bin.0 += count as f64;
                bin.1 = (hi - lo).max(width);
            }
        }
        let mut sums = Sums::default();
        side.sums.push(sums);
        for (count, width) in bins {
            sums.count += count;
            sums.support += width;
            sums.entropy += xlogx(count, width);
            side.sums.push(sums);
        }
        side
    }

    fn total(&self) -> f64 {
        self.sums[self.sums.len() - 1].count
    }

    /// Index of the bin that holds a magnitude.
    fn position(&self, magnitude: f64) -> usize {
        let linear = magnitude * self.bins_per_unit;
        if linear < (2 * BINS) as f64 {
            return linear as usize;
        }
        let bits = magnitude.to_bits() >> (f64::MANTISSA_DIGITS - 1 - MANTISSA_BITS);
        let base = (u64::from(self.body) + 1 + 1023 - 127) << MANTISSA_BITS;
        (2 * BINS) + (bits - base) as usize
    }

    /// Sums over the bins up to a boundary, which is moved to the nearest edge of a bin.
    fn sum(&self, boundary: f64) -> Sums {
        self.sums[self.edge(boundary)]
    }

    fn edge(&self, boundary: f64) -> usize {
        self.position(boundary + 0.5 * self.width).min(self.sums.len() - 1)
    }

    /// The divergence and the clipped values at 0, 1, ... `most` steps; shorter where nothing lies beyond.
    /// Returns the first number of steps that clips at most `limit` values; the entries before have no
    /// divergence.
    fn shares(&self, scale: f64, most: usize, limit: f64, shares: &mut Vec<Share>) -> usize {
        shares.clear();
        let mut levels = 0.0;
        let mut previous = 0;
        let mut first = most + 1;
        for step in 0..=most {
            let edge = self.edge(scale * (step as f64 + 0.5));
            let (start, end) = (self.sums[previous], self.sums[edge]);
            let (count, support) = (end.count - start.count, end.support - start.support);
            let log_density = ln(count.max(SMOOTHING) / support.max(self.width));
            if step > 0 && count > 0.0 {
                levels += count * log_density;
            }
            let outside = self.total() - end.count;
            let divergence = if outside <= limit {
                first = first.min(step);
                end.entropy - levels + self.folded(edge, log_density, outside)
            } else {
                f64::INFINITY
            };
            shares.push(Share { divergence, outside });
            if outside <= 0.0 {
                break;
            }
            previous = edge;
        }
        first
    }

    /// Returns what `outside` clipped values add to the divergence: they count in the last bin before `edge`. The
    /// logarithm of the density of the outermost level is given.
    fn folded(&self, edge: usize, log_density: f64, outside: f64) -> f64 {
        if outside <= 0.0 {
            return 0.0;
        }
        let (before, bin) = (self.sums[edge.saturating_sub(1)], self.sums[edge]);
        let support = bin.support - before.support;
        let width = if support > 0.0 { support } else { self.width };
        let folded = xlogx(bin.count - before.count + outside, width);
        folded - (bin.entropy - before.entropy) - outside * log_density
    }
}

/// `c ln(c / w)`, zero for an empty bin.
#[inline(always)]
fn xlogx(count: f64, width: f64) -> f64 {
    if count > 0.0 { count * ln(count / width) } else { 0.0 }
}

/// Natural logarithm of a positive normal number, relative error below 1e-13.
///
/// Several times faster than the platform's, and the same on every platform. With `x = m 2^k`, `m` around 1 and
/// `z = (m - 1) / (m + 1)`: `ln m = 2 (z + z^3 / 3 + z^5 / 5 + ...)`, where `z^2 < 0.0295`.
#[inline(always)]
fn ln(x: f64) -> f64 {
    const SQRT_HALF: u64 = std::f64::consts::FRAC_1_SQRT_2.to_bits();
    const MANTISSA: u32 = f64::MANTISSA_DIGITS - 1;
    let offset = (x.to_bits() as i64).wrapping_sub(SQRT_HALF as i64);
    let exponent = offset >> MANTISSA;
    let mantissa = f64::from_bits((x.to_bits() as i64 - (exponent << MANTISSA)) as u64);
    let z = (mantissa - 1.0) / (mantissa + 1.0);
    let w = z * z;
    let upper = 1.0 / 9.0 + w * (1.0 / 11.0 + w * (1.0 / 13.0 + w * (1.0 / 15.0)));
    let series = 1.0 + w * (1.0 / 3.0 + w * (1.0 / 5.0 + w * (1.0 / 7.0 + w * upper)));
    exponent as f64 * std::f64::consts::LN_2 + 2.0 * z * series
}

/// Exponent field of the octave that holds the [`BODY`] quantile of the magnitudes.
fn body_exponent(sketch: &Sketch) -> u16 {
    let mut octaves = [0u64; 256];
    for negative in [false, true] {
        for (exponent, counts) in sketch.octaves(negative) {
            octaves[usize::from(exponent)] += counts.iter().sum::<u64>();
        }
    }
    let target = octaves.iter().sum::<u64>() as f64 * BODY;
    let mut below = 0.0;
    let found = octaves.iter().position(|&count| {
        below += count as f64;
        count > 0 && below >= target
    });
    found.unwrap_or(1) as u16
}

#[cfg(test)]
mod tests {
    use super::ln;

    #[test]
    fn logarithms_are_those_of_the_platform() {
        for step in -4000..4000 {
            let x = (f64::from(step) * 0.0171).exp() * (1.0 + f64::from(step).abs() * 1e-4);
            assert!((ln(x) - x.ln()).abs() <= 1e-13 * (1.0 + x.ln().abs()), "{x}");
        }
        assert_eq!(ln(1.0), 0.0);
    }
}
