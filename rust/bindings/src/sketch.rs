//! Wrapper of `xslim_kernels::sketch`.

use std::sync::{Mutex, MutexGuard, PoisonError};

use numpy::PyArray1;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use xslim_kernels::sketch as kernel;

use crate::boundary::{Floats, detached};
use crate::errors::{ArgumentError, ShapeError};

/// Exactly mergeable histogram of the values of a tensor.
///
/// What a sketch holds depends only on the multiset of values that it has observed: not on their order, on
/// batches, threads or shards. NaN and infinities are counted but influence nothing else. Float64 is rounded
/// to float32 first. Threads that may wait for the lock inside do not hold the GIL.
#[pyclass(frozen, module = "xslim.kernels")]
pub struct Sketch(Mutex<kernel::Sketch>);

impl Sketch {
    pub fn lock(&self) -> MutexGuard<'_, kernel::Sketch> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a copy of the content; does not hold the GIL while it waits for a running observation.
    pub fn snapshot(&self, py: Python<'_>) -> kernel::Sketch {
        py.detach(|| self.lock().clone())
    }

    fn read<R: Send>(&self, py: Python<'_>, get: impl FnOnce(&kernel::Sketch) -> R + Send) -> R {
        py.detach(|| get(&self.lock()))
    }
}

#[pymethods]
impl Sketch {
    #[new]
    fn new() -> Self {
        Self(Mutex::new(kernel::Sketch::new()))
    }

    /// Observe every element of a float16, float32 or float64 array of any shape.
    fn observe(&self, py: Python<'_>, x: &Bound<'_, PyAny>) -> PyResult<()> {
        let floats = Floats::new(x)?;
        let values = floats.values()?;
        Ok(detached(py, || kernel::observe_many(&[(&self.0, values)], true))?)
    }

    /// Add everything that another sketch has observed; SketchFullError beyond 2**53 values.
    fn merge(&self, py: Python<'_>, other: &Self) -> PyResult<()> {
        let other = other.snapshot(py);
        Ok(detached(py, || self.lock().merge(&other))?)
    }

    /// Return an independent copy.
    fn copy(&self, py: Python<'_>) -> Self {
        Self(Mutex::new(self.snapshot(py)))
    }

    /// Smallest finite value; NaN when there is none.
    #[getter]
    fn min(&self, py: Python<'_>) -> f64 {
        self.read(py, |sketch| sketch.range().map_or(f64::NAN, |(min, _)| f64::from(min)))
    }

    /// Largest finite value; NaN when there is none.
    #[getter]
    fn max(&self, py: Python<'_>) -> f64 {
        self.read(py, |sketch| sketch.range().map_or(f64::NAN, |(_, max)| f64::from(max)))
    }

    /// Number of finite values.
    #[getter]
    fn count(&self, py: Python<'_>) -> u64 {
        self.read(py, kernel::Sketch::count)
    }

    /// Number of zeros, subnormal float32 values included.
    #[getter]
    fn zero_count(&self, py: Python<'_>) -> u64 {
        self.read(py, kernel::Sketch::zero_count)
    }

    /// Number of NaN.
    #[getter]
    fn nan_count(&self, py: Python<'_>) -> u64 {
        self.read(py, kernel::Sketch::nan_count)
    }

    /// Number of positive infinities.
    #[getter]
    fn pos_inf_count(&self, py: Python<'_>) -> u64 {
        self.read(py, kernel::Sketch::pos_inf_count)
    }

    /// Number of negative infinities.
    #[getter]
    fn neg_inf_count(&self, py: Python<'_>) -> u64 {
        self.read(py, kernel::Sketch::neg_inf_count)
    }

    /// Whether no finite value was observed.
    #[getter]
    fn is_empty(&self, py: Python<'_>) -> bool {
        self.read(py, kernel::Sketch::is_empty)
    }

    /// Return the value below which the fraction `q` (0 to 1) of the finite values lies; NaN when empty.
    fn percentile(&self, py: Python<'_>, q: f64) -> PyResult<f64> {
        if !(0.0..=1.0).contains(&q) {
            return Err(ArgumentError::new_err(format!("q must be within 0 and 1, not {q}")));
        }
        Ok(self.read(py, |sketch| sketch.percentile(q).unwrap_or(f64::NAN)))
    }

    /// Return the counts of the finite values over `bins` equal bins from `lo` to `hi` (uint64).
    fn histogram<'py>(
        &self,
        py: Python<'py>,
        bins: usize,
        lo: f64,
        hi: f64,
    ) -> PyResult<Bound<'py, PyArray1<u64>>> {
        if bins == 0 || !(lo < hi && (hi - lo).is_finite()) {
            return Err(ArgumentError::new_err(format!(
                "{bins} bins from {lo} to {hi}: at least one, lo < hi, finite"
            )));
        }
        Ok(PyArray1::from_vec(py, self.read(py, |sketch| sketch.histogram(bins, lo, hi))))
    }

    /// Encode the sketch; equal sketches give equal bytes.
    fn to_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.read(py, kernel::Sketch::to_bytes))
    }

    /// Decode what `to_bytes` returned; CorruptSketchError for anything else.
    #[staticmethod]
    fn from_bytes(py: Python<'_>, data: &[u8]) -> PyResult<Self> {
        Ok(Self(Mutex::new(detached(py, || kernel::Sketch::from_bytes(data))?)))
    }

    fn __eq__(&self, py: Python<'_>, other: &Self) -> bool {
        let other = other.snapshot(py);
        self.read(py, |sketch| *sketch == other)
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, (Bound<'py, PyBytes>,))> {
        Ok((slf.getattr("from_bytes")?, (slf.get().to_bytes(slf.py()),)))
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        self.read(py, |sketch| match sketch.range() {
            Some((min, max)) => format!("Sketch(count={}, min={min}, max={max})", sketch.count()),
            None => "Sketch(empty)".to_owned(),
        })
    }
}

/// Let `sketches[i]` observe `arrays[i]` without the GIL, in all threads or in the calling thread alone.
#[pyfunction]
#[pyo3(signature = (sketches, arrays, *, parallel = true))]
pub fn observe_many(
    py: Python<'_>,
    sketches: Vec<PyRef<'_, Sketch>>,
    arrays: Vec<Bound<'_, PyAny>>,
    parallel: bool,
) -> PyResult<()> {
    if sketches.len() != arrays.len() {
        let message = format!("{} sketches and {} arrays", sketches.len(), arrays.len());
        return Err(ShapeError::new_err(message));
    }
    let floats = arrays.iter().map(Floats::new).collect::<PyResult<Vec<_>>>()?;
    let values = floats.iter().map(Floats::values).collect::<PyResult<Vec<_>>>()?;
    let pairs: Vec<_> = sketches.iter().map(|sketch| &sketch.0).zip(values).collect();
    Ok(detached(py, || kernel::observe_many(&pairs, parallel))?)
}
