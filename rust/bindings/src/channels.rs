//! Wrapper of `xslim_kernels::channels`.

use numpy::PyArray1;
use pyo3::prelude::*;
use xslim_kernels::channels::{self as kernel, Layout};

use crate::boundary::{Floats, detached};

type Extremes<'py> = (Bound<'py, PyArray1<f32>>, Bound<'py, PyArray1<f32>>);

/// Smallest and largest value of every channel.
#[pyfunction]
pub fn channel_ranges<'py>(
    x: &Bound<'py, PyAny>,
    layout: (usize, usize, usize, usize),
) -> PyResult<Extremes<'py>> {
    let py = x.py();
    let floats = Floats::new(x)?;
    let values = floats.values()?;
    let (outer, groups, rows, block) = layout;
    let layout = Layout { outer, groups, rows, block };
    let (low, high) = detached(py, || kernel::channel_ranges(values, layout))?;
    Ok((PyArray1::from_vec(py, low), PyArray1::from_vec(py, high)))
}
