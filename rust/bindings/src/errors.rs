//! The exceptions of the kernels in Python: one class for each kind of fault.
//!
//! Each class derives from the built-in exception that Python code expects for such a fault.

use pyo3::create_exception;
use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use xslim_kernels::KernelError;

create_exception!(
    xslim.kernels,
    ArgumentError,
    PyValueError,
    "An argument is outside of its documented range."
);
create_exception!(xslim.kernels, ShapeError, PyValueError, "Shapes or lengths do not fit each other.");
create_exception!(
    xslim.kernels,
    DtypeError,
    PyTypeError,
    "An array has a type with which no kernel computes."
);
create_exception!(
    xslim.kernels,
    NonFiniteError,
    PyValueError,
    "A value is NaN or infinite where none may be."
);
create_exception!(
    xslim.kernels,
    SketchFullError,
    PyValueError,
    "A sketch would count more than 2**53 values."
);
create_exception!(xslim.kernels, CorruptSketchError, PyValueError, "The bytes are not those of a sketch.");
create_exception!(xslim.kernels, ThreadsError, PyRuntimeError, "The system does not start as many threads.");

/// A kernel's error. The conversion to `PyErr` needs a type of this crate (orphan rule).
pub struct Error(KernelError);

impl From<KernelError> for Error {
    fn from(error: KernelError) -> Self {
        Self(error)
    }
}

impl From<Error> for PyErr {
    fn from(Error(error): Error) -> Self {
        let message = error.to_string();
        match error {
            KernelError::Argument(_) => ArgumentError::new_err(message),
            KernelError::Shape(_) => ShapeError::new_err(message),
            KernelError::NotFinite(_) => NonFiniteError::new_err(message),
            KernelError::SketchFull { .. } => SketchFullError::new_err(message),
            KernelError::CorruptSketch(_) => CorruptSketchError::new_err(message),
            KernelError::Threads { .. } => ThreadsError::new_err(message),
        }
    }
}
