//! Threshold search: from the sketch of a tensor to the scale and zero point of its quantiser.
//!
//! A quantiser with scale `s` and zero point `z` represents `s (q - z)` for integers `q`. Zero is always one
//! of them: ranges are extended to contain zero. A quantiser is therefore a scale and a number of steps on either
//! side of zero. For a given scale, the errors of both sides depend on each other only through the total number of
//! steps. The searches [`mse`] and [`kl`] use this to find the best zero point of a scale without trying all of them.
//!
//! Empty sketches and tensors of zeros get scale 1 and zero point 0. NaN and infinities have no influence.

pub mod kl;
pub mod mse;
mod tail;

use std::str::FromStr;

use crate::error::{KernelError, Result};
use crate::sketch::Sketch;

/// How a range is chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Method {
    /// All values.
    MinMax,
    /// The central fraction of the values: `(1 - fraction) / 2` are cut off on either side.
    Percentile {
        /// Fraction that the range covers, in `(0, 1]`.
        fraction: f64,
    },
    /// Least expected squared error.
    Mse,
    /// Least Kullback-Leibler divergence.
    Kl,
}

/// Names of the methods, for messages and tables.
pub const METHODS: [&str; 4] = ["minmax", "percentile", "mse", "kl"];

impl FromStr for Method {
    type Err = KernelError;

    /// Parses a name of [`METHODS`]; `percentile` covers everything until its fraction is set.
    fn from_str(name: &str) -> Result<Self> {
        match name {
            "minmax" => Ok(Self::MinMax),
            "percentile" => Ok(Self::Percentile { fraction: 1.0 }),
            "mse" => Ok(Self::Mse),
            "kl" => Ok(Self::Kl),
            _ => Err(KernelError::Argument(format!(
                "unknown method {name:?}, known are {}",
                METHODS.join(", ")
            ))),
        }
    }
}

/// The integers that a quantiser may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Levels {
    /// Smallest integer.
    pub qmin: i32,
    /// Largest integer.
    pub qmax: i32,
    /// Whether the zero point is fixed at 0.
    pub symmetric: bool,
}

impl Levels {
    /// Signed integers of `bits` bits; the symmetric set leaves out the most negative one.
    ///
    /// # Errors
    /// `bits` is not within 2..=8.
    pub fn new(bits: u32, symmetric: bool) -> Result<Self> {
        if !(2..=8).contains(&bits) {
            return Err(KernelError::Argument(format!("bits must be within 2 and 8, not {bits}")));
        }
        let half = 1 << (bits - 1);
        Ok(Self { qmin: if symmetric { 1 - half } else { -half }, qmax: half - 1, symmetric })
    }

    /// Steps between the smallest and the largest integer.
    pub fn steps(&self) -> usize {
        (self.qmax - self.qmin) as usize
    }
}

/// Scale and zero point of a quantiser.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Params {
    /// Distance of two neighbouring representable values; positive and normal.
    pub scale: f32,
    /// The integer that represents zero.
    pub zero_point: i32,
}

impl Params {
    /// The quantiser of a tensor of zeros.
    const UNIT: Self = Self { scale: 1.0, zero_point: 0 };

    /// The quantiser of the range `[lo, hi]`, extended to contain zero; the zero point is rounded to nearest.
    pub fn of_range(lo: f64, hi: f64, levels: Levels) -> Self {
        let (lo, hi) = (lo.min(0.0), hi.max(0.0));
        let scale = if levels.symmetric {
            hi.max(-lo) / f64::from(levels.qmax)
        } else {
            (hi - lo) / levels.steps() as f64
        };
        if scale == 0.0 {
            return Self::UNIT;
        }
        let zero = if levels.symmetric { 0.0 } else { f64::from(levels.qmin) - lo / scale };
        Self::new(scale, zero.round_ties_even() as i32, levels)
    }

    fn new(scale: f64, zero_point: i32, levels: Levels) -> Self {
        let scale = scale.clamp(f64::from(f32::MIN_POSITIVE), f64::from(f32::MAX)) as f32;
        Self { scale, zero_point: zero_point.clamp(levels.qmin, levels.qmax) }
    }
}

/// Finds the quantiser of a tensor.
///
/// # Errors
/// The fraction of [`Method::Percentile`] is not within (0, 1].
pub fn search(sketch: &Sketch, method: Method, levels: Levels) -> Result<Params> {
    if let Method::Percentile { fraction } = method
        && !(fraction > 0.0 && fraction <= 1.0)
    {
        return Err(KernelError::Argument(format!("the percentile must be within (0, 1], not {fraction}")));
    }
    let Some((min, max)) = sketch.range() else {
        return Ok(Params::UNIT);
    };
    let (min, max) = (f64::from(min), f64::from(max));
    let smallest_bin = f64::from(f32::MIN_POSITIVE);
    if min == max || max.max(-min) < smallest_bin {
        return Ok(Params::of_range(min, max, levels));
    }
    Ok(match method {
        Method::MinMax => Params::of_range(min, max, levels),
        Method::Percentile { fraction } => {
            let tail = (1.0 - fraction) / 2.0;
            let lo = sketch.percentile(tail).unwrap_or(min);
            let hi = sketch.percentile(1.0 - tail).unwrap_or(max);
            Params::of_range(lo, hi, levels)
        }
        Method::Mse => mse::search(sketch, levels),
        Method::Kl => kl::search(sketch, levels),
    })
}

/// The largest scale worth trying: the range of the tensor over all steps.
fn widest_scale(sketch: &Sketch, levels: Levels) -> f64 {
    let (min, max) = sketch.range().unwrap_or((0.0, 0.0));
    let (below, above) = (-f64::from(min.min(0.0)), f64::from(max.max(0.0)));
    if levels.symmetric {
        above.max(below) / f64::from(levels.qmax)
    } else {
        (above + below) / levels.steps() as f64
    }
}
