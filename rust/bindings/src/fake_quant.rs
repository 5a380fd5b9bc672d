//! Wrapper of `xslim_kernels::fake_quant`.

use numpy::PyArrayDyn;
use pyo3::prelude::*;
use xslim_kernels::fake_quant::{self as kernel, Grid};

use crate::boundary::{Floats, detached, elements, shaped, split_shape};
use crate::errors::ShapeError;

/// Checks the channels against the axis; returns the number of elements between two channels.
fn inner(shape: &[usize], axis: Option<isize>, channels: usize) -> PyResult<usize> {
    let (expected, inner) = match axis {
        Some(axis) => {
            let (_, channels, inner) = split_shape(shape, axis)?;
            (channels, inner)
        }
        None => (1, 1),
    };
    if channels != expected {
        let message = format!("{channels} scales for {expected} channels");
        return Err(ShapeError::new_err(message));
    }
    Ok(inner)
}

/// Quantise and dequantise; the arithmetic of ONNX QuantizeLinear and DequantizeLinear.
#[pyfunction]
pub fn fake_quantize<'py>(
    x: &Bound<'py, PyAny>,
    scales: &Bound<'py, PyAny>,
    zero_points: &Bound<'py, PyAny>,
    axis: Option<isize>,
    qmin: i32,
    qmax: i32,
) -> PyResult<Bound<'py, PyArrayDyn<f32>>> {
    let py = x.py();
    let floats = Floats::new(x)?;
    let (scales, zero_points) = (elements::<f32>(scales, 1)?, elements::<i32>(zero_points, 1)?);
    let (input, scales, zero_points) = (floats.as_f32()?, scales.as_slice()?, zero_points.as_slice()?);
    let inner = inner(floats.shape(), axis, scales.len())?;
    let output = detached(py, || {
        let mut output = vec![0.0; input.len()];
        kernel::fake_quantize(&input, &mut output, Grid { scales, zero_points, inner, qmin, qmax })?;
        Ok(output)
    })?;
    shaped(py, output, floats.shape())
}

/// Quantise to int8; the arithmetic of ONNX QuantizeLinear.
#[pyfunction]
pub fn quantize<'py>(
    x: &Bound<'py, PyAny>,
    scales: &Bound<'py, PyAny>,
    zero_points: &Bound<'py, PyAny>,
    axis: Option<isize>,
    qmin: i32,
    qmax: i32,
) -> PyResult<Bound<'py, PyArrayDyn<i8>>> {
    let py = x.py();
    let floats = Floats::new(x)?;
    let (scales, zero_points) = (elements::<f32>(scales, 1)?, elements::<i32>(zero_points, 1)?);
    let (input, scales, zero_points) = (floats.as_f32()?, scales.as_slice()?, zero_points.as_slice()?);
    let inner = inner(floats.shape(), axis, scales.len())?;
    let output = detached(py, || {
        let mut output = vec![0; input.len()];
        kernel::quantize(&input, &mut output, Grid { scales, zero_points, inner, qmin, qmax })?;
        Ok(output)
    })?;
    shaped(py, output, floats.shape())
}
