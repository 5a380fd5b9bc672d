//! Wrapper of `xslim_kernels::resize`.

use numpy::{PyArrayDyn, PyUntypedArrayMethods};
use pyo3::prelude::*;
use xslim_kernels::resize::{self as kernel, Window};

use crate::boundary::{detached, elements, shaped};
use crate::errors::ShapeError;

/// Resize an 8-bit image with an antialiasing triangle filter and cut out a window.
#[pyfunction]
pub fn resize_antialiased<'py>(
    image: &Bound<'py, PyAny>,
    size: (u32, u32),
    crop: (u32, u32, u32, u32),
) -> PyResult<Bound<'py, PyArrayDyn<u8>>> {
    let py = image.py();
    let image = elements::<u8>(image, 3)?;
    let dimension = |axis: usize| {
        u32::try_from(image.shape()[axis]).map_err(|_| ShapeError::new_err("the image is too large"))
    };
    let source = (dimension(0)?, dimension(1)?, dimension(2)?);
    let (top, left, height, width) = crop;
    let pixels = image.as_slice()?;
    let window = Window { top, left, height, width };
    let result = detached(py, || kernel::resize_antialiased(pixels, source, size, window))?;
    shaped(py, result, &[height as usize, width as usize, image.shape()[2]])
}
