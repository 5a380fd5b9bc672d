//! Moments of the values of one sign beyond a boundary, in constant time per boundary.

use crate::sketch::{BINS, MANTISSA_BITS, Sketch};

/// Number of octaves below the largest magnitude that are resolved; smaller values count as zero.
const DEPTH: u16 = 32;
/// Mantissa bits of a float64 below a bin index.
const DROPPED_BITS: u32 = f64::MANTISSA_DIGITS - 1 - MANTISSA_BITS;

/// Tail moments of the magnitudes of one sign, values spread evenly within their bins.
///
/// With `N(b)` values beyond `b`:
/// `excess(b) = sum of (x - b) over x > b`, the integral of `N` from `b` upwards, and
/// `excess_squared(b) = sum of (x - b)^2 over x > b`, twice the integral of `excess`.
/// Within a bin, `N` is linear; the moments are then polynomials in the distance to the bin's upper edge.
pub(super) struct Tail {
    knots: Vec<Knot>,
    /// Bin index of `knots[0]`, in units of float64 bit patterns.
    base: u64,
    /// The moments at the lower edge of `knots[0]`.
    foot: Knot,
}

/// Moments at the upper edge of a bin, and half the density below it.
#[derive(Debug, Clone, Copy, Default)]
struct Knot {
    count: f64,
    excess: f64,
    squared: f64,
    half_density: f64,
}

impl Knot {
    fn excess(&self, t: f64) -> f64 {
        self.excess + t * (self.count + t * self.half_density)
    }

    fn squared(&self, t: f64) -> f64 {
        self.squared + t * (2.0 * self.excess + t * (self.count + t * self.half_density * (2.0 / 3.0)))
    }
}

impl Tail {
    pub(super) fn new(sketch: &Sketch, negative: bool) -> Self {
        let Some((top, _)) = sketch.octaves(negative).next_back() else {
            return Self { knots: Vec::new(), base: 0, foot: Knot::default() };
        };
        let floor = top.saturating_sub(DEPTH - 1);
        let lowest =
            sketch.octaves(negative).map(|(exponent, _)| exponent).find(|&e| e >= floor).unwrap_or(top);
        let base = (u64::from(lowest) + 1023 - 127) << MANTISSA_BITS;
        let mut knots = vec![Knot::default(); usize::from(top - lowest + 1) * BINS];
        let mut octaves = sketch.octaves(negative).rev().peekable();
        let mut above = Knot::default();
        for exponent in (lowest..=top).rev() {
            let counts = octaves.next_if(|(found, _)| *found == exponent).map(|(_, counts)| counts);
            let width = 2f64.powi(i32::from(exponent) - 127) / BINS as f64;
            let octave = &mut knots[usize::from(exponent - lowest) * BINS..][..BINS];
            for (index, knot) in octave.iter_mut().enumerate().rev() {
                let count = counts.map_or(0.0, |counts| counts[index] as f64);
                *knot = Knot { half_density: 0.5 * count / width, ..above };
                above = Knot {
                    count: above.count + count,
                    excess: knot.excess(width),
                    squared: knot.squared(width),
                    half_density: 0.0,
                };
            }
        }
        Self { knots, base, foot: above }
    }

    /// The knot of a boundary and its distance to the knot's edge.
    #[inline(always)]
    fn locate(&self, boundary: f64) -> (&Knot, f64) {
        const BEYOND: &Knot = &Knot { count: 0.0, excess: 0.0, squared: 0.0, half_density: 0.0 };
        let bin = boundary.to_bits() >> DROPPED_BITS;
        if bin < self.base {
            return (&self.foot, f64::from_bits(self.base << DROPPED_BITS) - boundary);
        }
        let edge = f64::from_bits((bin + 1) << DROPPED_BITS);
        (self.knots.get((bin - self.base) as usize).unwrap_or(BEYOND), edge - boundary)
    }

    /// Sum of `x - boundary` over the magnitudes `x` beyond a non-negative boundary.
    #[inline(always)]
    pub(super) fn excess(&self, boundary: f64) -> f64 {
        let (knot, distance) = self.locate(boundary);
        knot.excess(distance)
    }

    /// Sum of `(x - boundary)^2` over the magnitudes `x` beyond a non-negative boundary.
    pub(super) fn excess_squared(&self, boundary: f64) -> f64 {
        let (knot, distance) = self.locate(boundary);
        knot.squared(distance)
    }
}
