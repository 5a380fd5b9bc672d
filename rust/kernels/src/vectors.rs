//! Where the input vectors of a layer lie: rows of a matrix, or the patches that a convolution looks at.
//!
//! Patches are copied for the chosen positions only, so the unfolded image is never held in memory.

use std::ops::Range;

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
                let area = window.kernel[0] * window.kernel[1];
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

    /// Appends the block's part of every chosen vector.
    pub(crate) fn gather(
        &self,
        block: usize,
        columns: usize,
        blocks: usize,
        positions: &[usize],
        vectors: &mut Vec<f32>,
    ) {
        vectors.reserve(positions.len() * columns);
        for position in positions {
            match self {
                Self::Rows(data) => {
                    let start = (position * blocks + block) * columns;
                    vectors.extend_from_slice(&data[start..start + columns]);
                }
                Self::Patches(images, window) => {
                    let channels = columns / (window.kernel[0] * window.kernel[1]);
                    let chosen = block * channels..(block + 1) * channels;
                    window.push_patch(*images, chosen, *position, vectors);
                }
            }
        }
    }
}

impl Window {
    /// Appends the patch of `channels` at one position; elements outside of the image are zero.
    fn push_patch(
        &self,
        Images { data, shape: [count, height, width], block }: Images<'_>,
        channels: Range<usize>,
        position: usize,
        patch: &mut Vec<f32>,
    ) {
        let [rows, columns] = self.output;
        let image = position / (rows * columns);
        let place = [position / columns % rows, position % columns];
        let at = |axis: usize, step: usize, size: usize| {
            let padded = place[axis] * self.strides[axis] + step * self.dilations[axis];
            padded.checked_sub(self.pads[axis]).filter(|index| *index < size)
        };
        for channel in channels {
            let (size, lane) = (height * width * block, channel % block);
            let plane = &data[(image * count + channel) / block * size..][..size];
            for y in 0..self.kernel[0] {
                let row = at(0, y, height).map(|y| &plane[y * width * block..(y + 1) * width * block]);
                for x in 0..self.kernel[1] {
                    let value = row.and_then(|row| at(1, x, width).map(|x| row[x * block + lane]));
                    patch.push(value.unwrap_or(0.0));
                }
            }
        }
    }
}
