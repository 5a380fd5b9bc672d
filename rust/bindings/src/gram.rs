//! Wrapper of `xslim_kernels::gram`.

use numpy::{PyArray1, PyArrayDyn};
use pyo3::prelude::*;
use xslim_kernels::gram::{self, Images, Source, Window};

use crate::boundary::{Floats, detached, shaped};
use crate::errors::{Error, ShapeError};

/// Sums of products of the inputs of one layer.
#[pyclass(module = "xslim._native")]
pub struct Gram {
    pub inner: gram::Gram,
}

#[pymethods]
impl Gram {
    #[new]
    fn new(blocks: usize, columns: usize) -> PyResult<Self> {
        Ok(Self { inner: gram::Gram::new(blocks, columns).map_err(Error::from)? })
    }

    /// Add rows of a matrix.
    fn add_rows(&mut self, x: &Bound<'_, PyAny>, positions: Vec<usize>) -> PyResult<()> {
        let floats = Floats::new(x)?;
        let data = floats.as_f32()?;
        let inner = &mut self.inner;
        Ok(detached(x.py(), || inner.add(Source::Rows(&data), &positions))?)
    }

    /// Add patches of images.
    #[pyo3(signature = (x, positions, kernel, strides, dilations, pads, output, block = 1))]
    #[expect(clippy::too_many_arguments, reason = "the attributes of a convolution")]
    fn add_patches(
        &mut self,
        x: &Bound<'_, PyAny>,
        positions: Vec<usize>,
        kernel: [usize; 2],
        strides: [usize; 2],
        dilations: [usize; 2],
        pads: [usize; 2],
        output: [usize; 2],
        block: usize,
    ) -> PyResult<()> {
        let floats = Floats::new(x)?;
        let &[_, channels, height, width] = floats.shape() else {
            return Err(ShapeError::new_err("images have four dimensions"));
        };
        let data = floats.as_f32()?;
        let window = Window { kernel, strides, dilations, pads, output };
        let images = Images { data: &data, shape: [channels, height, width], block };
        let source = Source::Patches(images, window);
        let inner = &mut self.inner;
        Ok(detached(x.py(), || inner.add(source, &positions))?)
    }

    /// Number of vectors.
    #[getter]
    fn count(&self) -> u64 {
        self.inner.count()
    }

    /// Mean vector.
    #[getter]
    fn mean<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<f64>> {
        let count = self.inner.count().max(1) as f64;
        PyArray1::from_vec(py, self.inner.first().iter().map(|sum| sum / count).collect())
    }

    /// Whether all vectors were finite, and their distances from each other too.
    #[getter]
    fn is_finite(&self) -> bool {
        self.inner.is_finite()
    }

    /// Mean of the products, one full matrix per block.
    #[getter]
    fn second<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyArrayDyn<f32>>> {
        let inner = &mut self.inner;
        detached(py, || inner.finish())?;
        let (blocks, columns) = (self.inner.blocks(), self.inner.columns());
        let (count, unit) = (self.inner.count().max(1) as f64, self.inner.unit());
        let mut full = Vec::with_capacity(blocks * columns * columns);
        for (block, sums) in self.inner.first().chunks_exact(columns).enumerate() {
            let covariance = self.inner.covariance(block);
            for row in 0..columns {
                let mean = sums[row] / count;
                let product =
                    |column: usize| covariance.at(row, column) * unit + mean * (sums[column] / count);
                full.extend((0..columns).map(|column| product(column) as f32));
            }
        }
        shaped(py, full, &[blocks, columns, columns])
    }
}
