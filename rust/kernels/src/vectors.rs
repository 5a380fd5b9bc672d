//! Where the input vectors of a layer lie: rows of a matrix, or the patches that a convolution looks at.
//!
//! Patches are copied for the chosen positions only, so the unfolded image is never held in memory.

use crate::error::{KernelError, Result};

/// How a convolution looks at a tensor of shape `(batch, channels, height, width)`.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// Height and width of the kernel.
    pub kernel: [usize; 2],
    /// Step between positions.
    pub strides: [usize; 2],
    /// Distance between the elements of the kernel.
    pub dilations: [usize; 2],
    /// Zeros before the first row and the first column.
    pub pads: [usize; 2],
    /// Positions along both axes.
    pub output: [usize; 2],
}

/// Images that a convolution looks at.
#[derive(Debug, Clone, Copy)]
pub struct Images<'a> {
    /// The values of all images, in the order (image, channel / block, row, column, channel % block).
    pub data: &'a [f32],
    /// Channels, height and width of one image.
    pub shape: [usize; 3],
    /// Number of channels that lie side by side; 1 in the usual order.
    pub block: usize,
}

/// A tensor and the vectors in it.
#[derive(Debug, Clone, Copy)]
pub enum Source<'a> {
    /// Vectors are the rows of a matrix with `blocks * columns` columns.
    Rows(&'a [f32]),
    /// Vectors are the patches of images: channel, row, column.
    Patches(Images<'a>, Window),
}

impl Source<'_> {
    pub(crate) fn check(&self, blocks: usize, columns: usize, positions: &[usize]) -> Result<()> {
        let total = blocks * columns;
        let (fits, available) = match self {
            Self::Rows(data) => (data.len().is_multiple_of(total), data.len() / total),
            Self::Patches(Images { data, shape: [channels, height, width], block }, window) => {
                let image = channels * height * width;
                let area = window.area();
                let fits = channels * area == total
                    && columns.checked_rem(area) == Some(0)
                    && channels.checked_rem(*block) == Some(0)
                    && image > 0
                    && data.len().is_multiple_of(image);
                (fits, data.len().checked_div(image).unwrap_or(0) * window.output[0] * window.output[1])
            }
        };
        if !fits {
            return Err(KernelError::Shape(format!("the tensor has no vectors of {total} elements")));
        }
        match positions.iter().find(|position| **position >= available) {
            Some(position) => Err(KernelError::Shape(format!("there is no vector {position}"))),
            None => Ok(()),
        }
    }

    /// Appends the parts of every chosen vector to the lists of their blocks.
    pub(crate) fn gather(&self, columns: usize, positions: &[usize], blocks: &mut [Vec<f32>]) {
        blocks.iter_mut().for_each(|vectors| vectors.reserve(positions.len() * columns));
        match self {
            Self::Rows(data) => {
                let total = blocks.len() * columns;
                for position in positions {
                    let row = &data[position * total..][..total];
                    for (vectors, part) in blocks.iter_mut().zip(row.chunks_exact(columns)) {
                        vectors.extend_from_slice(part);
                    }
                }
            }
            Self::Patches(images, window) => {
                let mut offsets = Vec::with_capacity(window.area());
                for position in positions {
                    let image = window.place(images, *position, &mut offsets);
                    let mut channels = 0..;
                    for vectors in &mut *blocks {
                        let start = vectors.len();
                        vectors.resize(start + columns, 0.0);
                        let patches = vectors[start..].chunks_exact_mut(offsets.len());
                        for (patch, channel) in patches.zip(&mut channels) {
                            images.copy_patch(image, channel, &offsets, patch);
                        }
                    }
                }
            }
        }
    }
}

/// The offset of an element outside of the image.
const OUTSIDE: usize = usize::MAX;

impl Images<'_> {
    /// Copies the elements of one channel at these offsets; elements outside of the image stay as they are.
    fn copy_patch(&self, image: usize, channel: usize, offsets: &[usize], patch: &mut [f32]) {
        let [count, height, width] = self.shape;
        let (size, lane) = (height * width * self.block, channel % self.block);
        let plane = &self.data[(image * count + channel) / self.block * size..][..size];
        for (value, offset) in patch.iter_mut().zip(offsets) {
            if *offset != OUTSIDE {
                *value = plane[offset + lane];
            }
        }
    }
}

impl Window {
    fn area(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Returns the image of a position, and where the elements of a patch lie in a plane of that image.
    fn place(&self, images: &Images<'_>, position: usize, offsets: &mut Vec<usize>) -> usize {
        let ([rows, columns], [_, height, width]) = (self.output, images.shape);
        let place = [position / columns % rows, position % columns];
        let at = |axis: usize, step: usize, size: usize| {
            let padded = place[axis] * self.strides[axis] + step * self.dilations[axis];
            padded.checked_sub(self.pads[axis]).filter(|index| *index < size)
        };
        offsets.clear();
        for y in 0..self.kernel[0] {
            let row = at(0, y, height);
            offsets.extend((0..self.kernel[1]).map(|x| match (row, at(1, x, width)) {
                (Some(row), Some(column)) => (row * width + column) * images.block,
                _ => OUTSIDE,
            }));
        }
        position / (rows * columns)
    }
}
