//! Borrowed floating-point data of the three widths that ONNX tensors have, read as float32.

use half::f16;
use half::slice::HalfFloatSliceExt;

/// A contiguous tensor as it lies in memory.
///
/// Kernels compute in float32, as onnxruntime does. Float64 values are rounded to the nearest float32; values
/// beyond its range become infinite.
#[derive(Debug, Clone, Copy)]
pub enum Values<'a> {
    /// IEEE half precision.
    F16(&'a [f16]),
    /// IEEE single precision.
    F32(&'a [f32]),
    /// IEEE double precision.
    F64(&'a [f64]),
}

impl<'a> Values<'a> {
    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Self::F16(data) => data.len(),
            Self::F32(data) => data.len(),
            Self::F64(data) => data.len(),
        }
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements `start..end`.
    ///
    /// # Panics
    /// The range exceeds the data.
    pub fn range(&self, start: usize, end: usize) -> Values<'a> {
        match self {
            Self::F16(data) => Values::F16(&data[start..end]),
            Self::F32(data) => Values::F32(&data[start..end]),
            Self::F64(data) => Values::F64(&data[start..end]),
        }
    }

    /// Returns a buffer for [`Values::as_f32`]; the buffer is empty if the data need no conversion.
    pub fn buffer(&self) -> Vec<f32> {
        if let Self::F32(_) = self { Vec::new() } else { vec![0.0; self.len()] }
    }

    /// Returns the data as float32: borrowed if they are float32, else converted into `buffer`.
    ///
    /// # Panics
    /// The data need conversion and `buffer` is too short.
    pub fn as_f32<'b>(&self, buffer: &'b mut [f32]) -> &'b [f32]
    where
        'a: 'b,
    {
        if let Self::F32(data) = self {
            return data;
        }
        let buffer = &mut buffer[..self.len()];
        match self {
            Self::F32(_) => {}
            Self::F16(data) => data.convert_to_f32_slice(buffer),
            Self::F64(data) => {
                for (to, from) in buffer.iter_mut().zip(*data) {
                    *to = *from as f32;
                }
            }
        }
        buffer
    }
}

/// Maps float bits to integers in the order of the floats, NaN beyond the infinities; its own inverse.
#[inline(always)]
pub(crate) fn ordered(bits: u32) -> i32 {
    let bits = bits as i32;
    bits ^ (((bits >> 31) as u32) >> 1) as i32
}
