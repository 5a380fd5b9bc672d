//! `xslim._native`: registration only; every wrapper lives in the module named after its kernel.

use pyo3::prelude::*;

#[pymodule]
fn _native(_module: &Bound<'_, PyModule>) -> PyResult<()> {
    Ok(())
}
