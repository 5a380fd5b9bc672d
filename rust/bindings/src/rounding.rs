//! Wrapper of `xslim_kernels::rounding`.

use numpy::{PyArray1, PyArrayDyn};
use pyo3::prelude::*;
use xslim_kernels::rounding::{self, Options};

use crate::boundary::{Floats, detached, shaped};
use crate::errors::ShapeError;
use crate::gram::Gram;

type Rounded<'py> = (Bound<'py, PyArrayDyn<i8>>, Bound<'py, PyArray1<f32>>, Bound<'py, PyArray1<f64>>);

/// Round the weights of a layer, feeding errors back.
#[pyfunction]
#[pyo3(signature = (w, gram, *, groups=1, bits=8, damping=0.01, factors=vec![1.0]))]
pub fn round_weights<'py>(
    w: &Bound<'py, PyAny>,
    mut gram: PyRefMut<'py, Gram>,
    groups: usize,
    bits: u32,
    damping: f64,
    factors: Vec<f32>,
) -> PyResult<Rounded<'py>> {
    let py = w.py();
    let floats = Floats::new(w)?;
    let &[rows, _] = floats.shape() else {
        return Err(ShapeError::new_err("the weights of a layer are a matrix"));
    };
    let weights = floats.as_f32()?;
    let inner = &mut gram.inner;
    let rounded = detached(py, || {
        inner.finish()?;
        rounding::round_weights(&weights, rows, groups, inner, Options { bits, damping, factors: &factors })
    })?;
    let integers = shaped(py, rounded.integers, floats.shape())?;
    Ok((integers, PyArray1::from_vec(py, rounded.scales), PyArray1::from_vec(py, rounded.losses)))
}
