//! Wrapper of `xslim_kernels::threshold`.

use pyo3::prelude::*;
use xslim_kernels::threshold::{self as kernel, Levels, Method, Params};

use crate::boundary::detached;
use crate::errors::{ArgumentError, Error};
use crate::sketch::Sketch;

/// Find scale and zero point of a sketch.
#[pyfunction]
#[pyo3(signature = (sketch, method, *, bits=8, symmetric=false, max_percentile=0.9999))]
pub fn search(
    py: Python<'_>,
    sketch: &Sketch,
    method: &str,
    bits: u32,
    symmetric: bool,
    max_percentile: f64,
) -> PyResult<(f32, i32)> {
    let params = detached(py, || {
        let method = match method.parse()? {
            Method::Percentile { .. } => Method::Percentile { fraction: max_percentile },
            other => other,
        };
        kernel::search(&sketch.lock(), method, Levels::new(bits, symmetric)?)
    })?;
    Ok((params.scale, params.zero_point))
}

/// Return scale and zero point of the range `[lo, hi]`, extended to contain zero.
#[pyfunction]
#[pyo3(signature = (lo, hi, *, bits=8, symmetric=false))]
pub fn range_params(lo: f64, hi: f64, bits: u32, symmetric: bool) -> PyResult<(f32, i32)> {
    if !(lo.is_finite() && hi.is_finite() && lo <= hi) {
        return Err(ArgumentError::new_err(format!("a finite range is needed, not [{lo}, {hi}]")));
    }
    let params = Params::of_range(lo, hi, Levels::new(bits, symmetric).map_err(Error::from)?);
    Ok((params.scale, params.zero_point))
}
