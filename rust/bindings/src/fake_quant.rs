//! Wrapper of `xslim_kernels::fake_quant`.

use numpy::{PyArrayDyn, PyReadonlyArray1};
use pyo3::prelude::*;
use xslim_kernels::KernelError;
use xslim_kernels::fake_quant::{self as kernel, Grid};

use crate::boundary::{Error, Floats, detached, shaped, split_shape};

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
        return Err(Error::from(KernelError::Shape(message)).into());
    }
    Ok(inner)
}

/// Quantise and dequantise; the arithmetic of ONNX QuantizeLinear and DequantizeLinear.
#[pyfunction]
pub fn fake_quantize<'py>(
    x: &Bound<'py, PyAny>,
    scales: PyReadonlyArray1<'py, f32>,
    zero_points: PyReadonlyArray1<'py, i32>,
    axis: Option<isize>,
    qmin: i32,
    qmax: i32,
) -> PyResult<Bound<'py, PyArrayDyn<f32>>> {
    let py = x.py();
    let floats = Floats::new(x)?;
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
    scales: PyReadonlyArray1<'py, f32>,
    zero_points: PyReadonlyArray1<'py, i32>,
    axis: Option<isize>,
    qmin: i32,
    qmax: i32,
) -> PyResult<Bound<'py, PyArrayDyn<i8>>> {
    let py = x.py();
    let floats = Floats::new(x)?;
    let (input, scales, zero_points) = (floats.as_f32()?, scales.as_slice()?, zero_points.as_slice()?);
    let inner = inner(floats.shape(), axis, scales.len())?;
    let output = detached(py, || {
        let mut output = vec![0; input.len()];
        kernel::quantize(&input, &mut output, Grid { scales, zero_points, inner, qmin, qmax })?;
        Ok(output)
    })?;
    shaped(py, output, floats.shape())
}
