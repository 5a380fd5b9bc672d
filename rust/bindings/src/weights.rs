//! Wrapper of `xslim_kernels::weights`.

use numpy::{PyArray1, PyArrayDyn};
use pyo3::prelude::*;
use xslim_kernels::balance::balance;
use xslim_kernels::fake_quant::{Grid, quantize};
use xslim_kernels::weights::{Layout, channel_scales};

use crate::boundary::{Floats, detached, shaped, split_shape};

type Quantized<'py> = (Bound<'py, PyArrayDyn<i8>>, Bound<'py, PyArray1<f32>>);

/// Quantise weights symmetrically with one scale per channel.
#[pyfunction]
#[pyo3(signature = (w, axis, *, bits=8, method="minmax", balanced=false))]
pub fn quantize_per_channel<'py>(
    w: &Bound<'py, PyAny>,
    axis: isize,
    bits: u32,
    method: &str,
    balanced: bool,
) -> PyResult<Quantized<'py>> {
    let py = w.py();
    let floats = Floats::new(w)?;
    let weights = floats.as_f32()?;
    let (outer, channels, inner) = split_shape(floats.shape(), axis)?;
    let layout = Layout { outer, channels, inner };
    // The axes behind the two channel axes of a convolution are those of its kernel.
    let taps = floats.shape().iter().skip(2).product::<usize>();
    let taps = if taps > 0 && inner.is_multiple_of(taps) { taps } else { 1 };
    let (integers, scales) = detached(py, || {
        let scales = channel_scales(&weights, layout, bits, method.parse()?)?;
        let mut integers = vec![0; weights.len()];
        if !integers.is_empty() {
            let zero_points = vec![0; channels];
            let qmax = (1 << (bits - 1)) - 1;
            let grid = Grid { scales: &scales, zero_points: &zero_points, inner, qmin: -qmax, qmax };
            quantize(&weights, &mut integers, grid)?;
            if balanced {
                balance(&weights, &mut integers, &scales, layout, taps, qmax as i8)?;
            }
        }
        Ok((integers, scales))
    })?;
    Ok((shaped(py, integers, floats.shape())?, PyArray1::from_vec(py, scales)))
}
