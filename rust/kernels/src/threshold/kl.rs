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
//! At 8 bits 255 levels of one logarithm and two table look-ups a scale, 3 to 8 us; about 150 scales.
//!
//! # Source
//! S. Migacz, *8-bit inference with TensorRT*, GPU Technology Conference (2017), slides 21 to 38: symmetric,
//! 128 levels. Zero points and unequal bin widths are this module's extension.

use super::{Levels, Params, widest_scale};
use crate::sketch::{BINS, MANTISSA_BITS, Sketch, edges};

/// Ratio of neighbouring scales of the grid.
const RATIO: f64 = 1.0 - 1.0 / 64.0;
/// Finer steps around the best scale of the grid, on either side.
const FINER: usize = 8;
/// The grid ends where more than this fraction of the values would be clipped.
const MOST_CLIPPED: f64 = 0.1;
/// Safety net for degenerate data: no range is narrowed by more than this.
const NARROWEST: f64 = 1.0 / (1u64 << 32) as f64;
/// Magnitudes up to the octave of this quantile have linear bins.
const BODY: f64 = 0.999;
/// What an empty outermost level counts as.
const SMOOTHING: f64 = 0.5;

/// Finds the scale and zero point of least divergence.
pub fn search(sketch: &Sketch, levels: Levels) -> Params {
    let widest = widest_scale(sketch, levels);
    let mut problem = Problem::new(sketch, levels);
    let mut best = problem.candidate(widest);
    let mut scale = widest;
    while scale > widest * NARROWEST {
        scale *= RATIO;
        let candidate = problem.candidate(scale);
        if candidate.clipped > MOST_CLIPPED {
            break;
        }
        best = best.better(candidate);
    }
    let (centre, width) = (best.scale, (1.0 - RATIO) / FINER as f64);
    for step in 1..FINER {
        let offset = width * step as f64;
        best = best.better(problem.candidate(centre * (1.0 - offset)));
        best = best.better(problem.candidate(centre * (1.0 + offset)));
    }
    let zero_point = if levels.symmetric {
        0
    } else {
        levels.qmax - best.above as i32
    };
    Params::new(best.scale, zero_point, levels)
}

#[derive(Debug, Clone, Copy)]
struct Candidate {
    scale: f64,
    /// Steps above zero.
    above: usize,
    /// `N KL`.
    divergence: f64,
    /// Fraction of the values outside.
    clipped: f64,
}

impl Candidate {
    /// The better of two; the first of equals, which is the wider.
    fn better(self, other: Self) -> Self {
        if other.divergence < self.divergence {
            other
        } else {
            self
        }
    }
}

/// A side's share of the divergence at each number of steps, and what it clips.
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
    shares_above: Vec<Share>,
    shares_below: Vec<Share>,
}

impl Problem {
    fn new(sketch: &Sketch, levels: Levels) -> Self {
        let body = body_exponent(sketch);
        let (above, below) = (
            Side::new(sketch, false, body),
            Side::new(sketch, true, body),
        );
        let total = above.total() + below.total();
        Self {
            above,
            below,
            total,
            levels,
            shares_above: Vec::new(),
            shares_below: Vec::new(),
        }
    }

    /// The best zero point of a scale.
    fn candidate(&mut self, scale: f64) -> Candidate {
        let (steps, most) = if self.levels.symmetric {
            (2 * self.levels.qmax as usize, self.levels.qmax as usize)
        } else {
            (self.levels.steps(), self.levels.steps())
        };
        self.above.shares(scale, most, &mut self.shares_above);
        self.below.shares(scale, most, &mut self.shares_below);
        let zero = xlogx(
            self.above.sum(0.5 * scale).count + self.below.sum(0.5 * scale).count,
            self.above.sum(0.5 * scale).support + self.below.sum(0.5 * scale).support,
        );
        // Beyond the last entry nothing changes.
        let at = |shares: &[Share], n: usize| shares[n.min(shares.len() - 1)];
        let mut best = Candidate {
            scale,
            above: 0,
            divergence: f64::INFINITY,
            clipped: 1.0,
        };
        for n in steps - most..=most {
            let (up, down) = (at(&self.shares_above, n), at(&self.shares_below, steps - n));
            let clipped = (up.outside + down.outside) / self.total;
            let divergence =
                up.divergence + down.divergence - zero + self.total * (-clipped).ln_1p();
            best = best.better(Candidate {
                scale,
                above: n,
                divergence,
                clipped,
            });
        }
        best
    }
}

/// Prefix sums over the bins of one sign, from zero outwards.
struct Side {
    /// Largest exponent field with linear bins.
    body: u16,
    /// Width of a linear bin.
    width: f64,
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
        let top = sketch
            .octaves(negative)
            .next_back()
            .map_or(body, |(exponent, _)| exponent.max(body));
        let mut bins = vec![(0.0, 0.0); linear + usize::from(top - body) * BINS];
        let width = edges(body, 0).0 / BINS as f64;
        let mut side = Self {
            body,
            width,
            sums: Vec::new(),
        };
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
        let linear = magnitude / self.width;
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
        self.position(boundary + 0.5 * self.width)
            .min(self.sums.len() - 1)
    }

    /// The divergence and the clipped values at 0, 1, ... `most` steps; shorter where nothing lies beyond.
    fn shares(&self, scale: f64, most: usize, shares: &mut Vec<Share>) {
        shares.clear();
        let mut levels = 0.0;
        let mut previous = 0;
        for step in 0..=most {
            let edge = self.edge(scale * (step as f64 + 0.5));
            let (start, end) = (self.sums[previous], self.sums[edge]);
            let level = Sums {
                count: end.count - start.count,
                support: end.support - start.support,
                entropy: end.entropy - start.entropy,
            };
            if step > 0 {
                levels += xlogx(level.count, level.support);
            }
            let outside = self.total() - end.count;
            let folded = if outside > 0.0 {
                self.folded(edge, level, outside)
            } else {
                0.0
            };
            shares.push(Share {
                divergence: end.entropy - levels + folded,
                outside,
            });
            if outside <= 0.0 {
                break;
            }
            previous = edge;
        }
    }

    /// What `outside` values add that are counted in the last bin before `edge`, within the outermost level.
    fn folded(&self, edge: usize, level: Sums, outside: f64) -> f64 {
        let before = self.sums[edge.saturating_sub(1)];
        let count = self.sums[edge].count - before.count;
        let support = self.sums[edge].support - before.support;
        let width = if support > 0.0 { support } else { self.width };
        let density = level.count.max(SMOOTHING) / level.support.max(width);
        xlogx(count + outside, width) - xlogx(count, width) - outside * density.ln()
    }
}

/// `c ln(c / w)`, zero for an empty bin.
fn xlogx(count: f64, width: f64) -> f64 {
    if count > 0.0 {
        count * (count / width).ln()
    } else {
        0.0
    }
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
