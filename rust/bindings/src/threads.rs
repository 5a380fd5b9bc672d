//! Wrapper of `xslim_kernels::threads`.

use pyo3::prelude::*;
use xslim_kernels::threads as kernel;

use crate::boundary::detached;
use crate::errors::Error;

/// Return the number of threads that the kernels use.
#[pyfunction]
pub fn threads() -> PyResult<usize> {
    Ok(kernel::threads().map_err(Error::from)?)
}

/// Return `XSLIM_THREADS`, else the number of processors that the process may use; ArgumentError if it is no number.
#[pyfunction]
pub fn threads_wanted() -> PyResult<usize> {
    Ok(kernel::from_environment().map_err(Error::from)?)
}

/// Set the number of threads of every following kernel call.
#[pyfunction]
pub fn set_threads(py: Python<'_>, count: usize) -> PyResult<()> {
    Ok(detached(py, || kernel::set_threads(count))?)
}
