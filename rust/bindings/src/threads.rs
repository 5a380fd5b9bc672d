//! Wrapper of `xslim_kernels::threads`.

use pyo3::prelude::*;
use xslim_kernels::threads as kernel;

use crate::boundary::detached;
use crate::errors::Error;

/// Return the number of threads that the kernels use: `XSLIM_THREADS`, else what the machine offers.
#[pyfunction]
pub fn threads() -> PyResult<usize> {
    Ok(kernel::threads().map_err(Error::from)?)
}

/// Return the number of threads that the environment asks for; ArgumentError where it is no such number.
#[pyfunction]
pub fn threads_wanted() -> PyResult<usize> {
    Ok(kernel::from_environment().map_err(Error::from)?)
}

/// Set the number of threads of every following kernel call.
#[pyfunction]
pub fn set_threads(py: Python<'_>, count: usize) -> PyResult<()> {
    Ok(detached(py, || kernel::set_threads(count))?)
}
