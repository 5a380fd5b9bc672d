//! The one place where Python and the kernels meet: arrays are checked, and the GIL is released.
//!
//! Arrays are borrowed, not copied. While the GIL is released, Python code in another thread can write to a borrowed
//! array. The kernel then reads a mix of old and new values, as numpy's own functions do.

use std::borrow::Cow;

use numpy::{
    Element, PyArray1, PyArrayDyn, PyArrayMethods, PyReadonlyArrayDyn, PyUntypedArray, PyUntypedArrayMethods,
};
use pyo3::prelude::*;
use xslim_kernels::KernelError;
use xslim_kernels::values::Values;

use crate::errors::{DtypeError, Error, ShapeError};

/// Runs a kernel without the GIL.
pub fn detached<R: Send>(
    py: Python<'_>,
    kernel: impl FnOnce() -> Result<R, KernelError> + Send,
) -> Result<R, Error> {
    Ok(py.detach(kernel)?)
}

/// A borrowed array of float16, float32 or float64 in C order.
pub enum Floats<'py> {
    F16(PyReadonlyArrayDyn<'py, half::f16>),
    F32(PyReadonlyArrayDyn<'py, f32>),
    F64(PyReadonlyArrayDyn<'py, f64>),
}

impl<'py> Floats<'py> {
    /// Borrows an array. An array that is not C-contiguous or not aligned is copied.
    pub fn new(array: &Bound<'py, PyAny>) -> PyResult<Self> {
        let array = in_order(array)?;
        if let Ok(array) = array.cast::<PyArrayDyn<f32>>() {
            return Ok(Self::F32(array.try_readonly()?));
        }
        if let Ok(array) = array.cast::<PyArrayDyn<half::f16>>() {
            return Ok(Self::F16(array.try_readonly()?));
        }
        if let Ok(array) = array.cast::<PyArrayDyn<f64>>() {
            return Ok(Self::F64(array.try_readonly()?));
        }
        let found = array.dtype().str()?;
        Err(DtypeError::new_err(format!("float16, float32 or float64 expected, not {found}")))
    }

    pub fn values(&self) -> PyResult<Values<'_>> {
        Ok(match self {
            Self::F16(array) => Values::F16(array.as_slice()?),
            Self::F32(array) => Values::F32(array.as_slice()?),
            Self::F64(array) => Values::F64(array.as_slice()?),
        })
    }

    /// The data as float32, converted where they are not.
    pub fn as_f32(&self) -> PyResult<Cow<'_, [f32]>> {
        let values = self.values()?;
        if let Values::F32(data) = values {
            return Ok(Cow::Borrowed(data));
        }
        let mut converted = values.buffer();
        values.as_f32(&mut converted);
        Ok(Cow::Owned(converted))
    }

    pub fn shape(&self) -> &[usize] {
        match self {
            Self::F16(array) => array.shape(),
            Self::F32(array) => array.shape(),
            Self::F64(array) => array.shape(),
        }
    }
}

/// Borrows an array of one element type and a fixed number of dimensions.
pub fn elements<'py, T: Element>(
    array: &Bound<'py, PyAny>,
    dimensions: usize,
) -> PyResult<PyReadonlyArrayDyn<'py, T>> {
    let array = in_order(array)?;
    let Ok(typed) = array.cast::<PyArrayDyn<T>>() else {
        let (expected, found) = (T::get_dtype(array.py()).str()?, array.dtype().str()?);
        return Err(DtypeError::new_err(format!("{expected} expected, not {found}")));
    };
    if typed.ndim() != dimensions {
        let found = typed.ndim();
        return Err(ShapeError::new_err(format!("{dimensions} dimensions expected, not {found}")));
    }
    Ok(typed.try_readonly()?)
}

fn in_order<'py>(array: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyUntypedArray>> {
    let Ok(untyped) = array.cast::<PyUntypedArray>() else {
        let found = array.get_type().name()?;
        return Err(DtypeError::new_err(format!("numpy array expected, not {found}")));
    };
    let aligned: bool = array.getattr("flags")?.getattr("aligned")?.extract()?;
    if aligned && untyped.is_c_contiguous() {
        return Ok(untyped.clone());
    }
    let numpy = array.py().import("numpy")?;
    let copied = numpy.call_method1("require", (array, array.py().None(), ["C", "A"]))?;
    Ok(copied.cast_into::<PyUntypedArray>()?)
}

/// A new array of the given shape over a vector that already has its elements.
pub fn shaped<'py, T: Element>(
    py: Python<'py>,
    data: Vec<T>,
    shape: &[usize],
) -> PyResult<Bound<'py, PyArrayDyn<T>>> {
    PyArray1::from_vec(py, data).reshape(shape)
}

/// Products of the dimensions before and after an axis, and its own size. Negative axes count from the end.
pub fn split_shape(shape: &[usize], axis: isize) -> PyResult<(usize, usize, usize)> {
    let rank = shape.len() as isize;
    if !(-rank..rank).contains(&axis) {
        return Err(ShapeError::new_err(format!(
            "axis {axis} does not exist in an array of {rank} dimensions"
        )));
    }
    let axis = axis.rem_euclid(rank) as usize;
    Ok((shape[..axis].iter().product(), shape[axis], shape[axis + 1..].iter().product()))
}

/// Address of the first element that a kernel would read. Tests use it to show that nothing is copied.
#[pyfunction]
pub fn data_address(x: &Bound<'_, PyAny>) -> PyResult<usize> {
    Ok(match Floats::new(x)?.values()? {
        Values::F16(data) => data.as_ptr() as usize,
        Values::F32(data) => data.as_ptr() as usize,
        Values::F64(data) => data.as_ptr() as usize,
    })
}
