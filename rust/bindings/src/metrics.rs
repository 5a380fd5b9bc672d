//! Wrapper of `xslim_kernels::metrics`.

use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;
use xslim_kernels::metrics as kernel;

use crate::boundary::{Floats, detached};

/// Sums over pairs of a reference and a test tensor, and the measures that follow from them.
///
/// Pairs with a NaN or an infinity are left out of every sum and counted in `non_finite_count`.
/// Sums are float64 in an order that does not depend on threads.
#[pyclass(frozen, module = "xslim.kernels")]
pub struct ErrorMetrics(Mutex<kernel::ErrorSums>);

impl ErrorMetrics {
    fn sums(&self) -> kernel::ErrorSums {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, further: &kernel::ErrorSums) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).merge(further);
    }
}

#[pymethods]
impl ErrorMetrics {
    #[new]
    fn new() -> Self {
        Self(Mutex::default())
    }

    /// Add the pairs of two arrays of equal size.
    fn update(&self, py: Python<'_>, reference: &Bound<'_, PyAny>, test: &Bound<'_, PyAny>) -> PyResult<()> {
        let (reference, test) = (Floats::new(reference)?, Floats::new(test)?);
        let (a, b) = (reference.values()?, test.values()?);
        self.add(&detached(py, || kernel::error_sums(a, b))?);
        Ok(())
    }

    /// Add the sums of other pairs; merge in a fixed order for fixed bits.
    fn merge(&self, other: &Self) {
        self.add(&other.sums());
    }

    /// Pairs of finite values.
    #[getter]
    fn count(&self) -> u64 {
        self.sums().count
    }

    /// Pairs with a NaN or an infinity.
    #[getter]
    fn non_finite_count(&self) -> u64 {
        self.sums().non_finite
    }

    /// Sum of the squared reference values.
    #[getter]
    fn reference_energy(&self) -> f64 {
        self.sums().reference_energy
    }

    /// Sum of the squared test values.
    #[getter]
    fn test_energy(&self) -> f64 {
        self.sums().test_energy
    }

    /// Sum of the products of both.
    #[getter]
    fn product(&self) -> f64 {
        self.sums().product
    }

    /// Sum of the squared differences.
    #[getter]
    fn noise_energy(&self) -> f64 {
        self.sums().noise_energy
    }

    /// Largest absolute difference.
    #[getter]
    fn max_abs_error(&self) -> f64 {
        self.sums().max_abs_error
    }

    /// Smallest and largest reference value; (inf, -inf) without pairs.
    #[getter]
    fn reference_range(&self) -> (f64, f64) {
        self.sums().reference_range
    }

    /// Smallest and largest test value; (inf, -inf) without pairs.
    #[getter]
    fn test_range(&self) -> (f64, f64) {
        self.sums().test_range
    }

    /// Noise energy over signal energy: 0 without noise, infinite for noise on silence. Lower is better.
    #[getter]
    fn noise_ratio(&self) -> f64 {
        self.sums().noise_ratio()
    }

    /// Signal-to-quantisation-noise ratio in decibels; infinite without noise. Higher is better.
    #[getter]
    fn sqnr_db(&self) -> f64 {
        self.sums().sqnr_db()
    }

    /// Mean squared error; 0 without pairs.
    #[getter]
    fn mse(&self) -> f64 {
        self.sums().mse()
    }

    /// Cosine similarity, -1 to 1: 1 when both tensors are zero, 0 when one is.
    #[getter]
    fn cosine(&self) -> f64 {
        self.sums().cosine()
    }

    fn __repr__(&self) -> String {
        let sums = self.sums();
        format!(
            "ErrorMetrics(count={}, sqnr_db={:.2}, cosine={:.6})",
            sums.count,
            sums.sqnr_db(),
            sums.cosine()
        )
    }
}

/// Compare two arrays of equal size in one pass.
#[pyfunction]
pub fn error_sums(
    py: Python<'_>,
    reference: &Bound<'_, PyAny>,
    test: &Bound<'_, PyAny>,
) -> PyResult<ErrorMetrics> {
    let metrics = ErrorMetrics::new();
    metrics.update(py, reference, test)?;
    Ok(metrics)
}
