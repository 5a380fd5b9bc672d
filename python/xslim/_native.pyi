"""Signatures of the compiled extension; ``tests/kernels/check_stubs.py`` compares them with the binary."""

from collections.abc import Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

class ArgumentError(ValueError):
    """An argument is outside of its documented range."""

class ShapeError(ValueError):
    """Shapes or lengths do not fit each other."""

class DtypeError(TypeError):
    """An array has a type with which no kernel computes."""

class NonFiniteError(ValueError):
    """A value is NaN or infinite where none may be."""

class SketchFullError(ValueError):
    """A sketch would count more than 2**53 values."""

class CorruptSketchError(ValueError):
    """The bytes are not those of a sketch."""

class ThreadsError(RuntimeError):
    """The system does not start as many threads."""

@final
class Sketch:
    """Exactly mergeable histogram of the values of a tensor.

    What a sketch holds depends only on the multiset of values that it has observed: not on their order, on
    batches, threads or shards. Its bins have a relative width of 2^-9, its extremes are exact. NaN and
    infinities are counted but influence nothing else. Float64 is rounded to float32 first.
    """

    def __init__(self) -> None: ...
    def observe(self, x: NDArray[Any]) -> None:
        """Observe every element of a float16, float32 or float64 array of any shape."""

    def merge(self, other: Sketch) -> None:
        """Add everything that another sketch has observed; SketchFullError beyond 2**53 values."""

    def copy(self) -> Sketch:
        """Return an independent copy."""

    @property
    def min(self) -> float:
        """Smallest finite value; NaN when there is none."""

    @property
    def max(self) -> float:
        """Largest finite value; NaN when there is none."""

    @property
    def count(self) -> int:
        """Number of finite values."""

    @property
    def zero_count(self) -> int:
        """Number of zeros, subnormal float32 values included."""

    @property
    def nan_count(self) -> int:
        """Number of NaN."""

    @property
    def pos_inf_count(self) -> int:
        """Number of positive infinities."""

    @property
    def neg_inf_count(self) -> int:
        """Number of negative infinities."""

    @property
    def is_empty(self) -> bool:
        """Whether no finite value was observed."""

    def percentile(self, q: float) -> float:
        """Return the value below which the fraction `q` (0 to 1) of the finite values lies.

        NaN when there is none.
        """

    def histogram(self, bins: int, lo: float, hi: float) -> NDArray[np.uint64]:
        """Return the counts of the finite values over `bins` equal bins from `lo` to `hi`."""

    def to_bytes(self) -> bytes:
        """Encode the sketch; equal sketches give equal bytes."""

    @staticmethod
    def from_bytes(data: bytes) -> Sketch:
        """Decode what `to_bytes` returned; CorruptSketchError for anything else."""

    def __eq__(self, other: object) -> bool: ...
    def __reduce__(self) -> tuple[Any, tuple[bytes]]: ...

@final
class ErrorMetrics:
    """Sums over pairs of a reference and a test tensor, and the measures that follow from them.

    Pairs with a NaN or an infinity are left out of every sum and counted in `non_finite_count`. Sums are
    float64 in an order that does not depend on threads.
    """

    def __init__(self) -> None: ...
    def update(self, reference: NDArray[Any], test: NDArray[Any]) -> None:
        """Add the pairs of two floating-point arrays of equal size."""

    def merge(self, other: ErrorMetrics) -> None:
        """Add the sums of other pairs; merge in a fixed order for fixed bits."""

    @property
    def count(self) -> int:
        """Pairs of finite values."""

    @property
    def non_finite_count(self) -> int:
        """Pairs with a NaN or an infinity."""

    @property
    def reference_energy(self) -> float:
        """Sum of the squared reference values."""

    @property
    def test_energy(self) -> float:
        """Sum of the squared test values."""

    @property
    def product(self) -> float:
        """Sum of the products of both."""

    @property
    def noise_energy(self) -> float:
        """Sum of the squared differences."""

    @property
    def max_abs_error(self) -> float:
        """Largest absolute difference."""

    @property
    def reference_range(self) -> tuple[float, float]:
        """Smallest and largest reference value; (inf, -inf) without pairs."""

    @property
    def test_range(self) -> tuple[float, float]:
        """Smallest and largest test value; (inf, -inf) without pairs."""

    @property
    def noise_ratio(self) -> float:
        """Noise energy over signal energy, lower is better: 0 without noise, infinite on silence."""

    @property
    def sqnr_db(self) -> float:
        """Signal-to-quantisation-noise ratio in decibels; infinite without noise. Higher is better."""

    @property
    def mse(self) -> float:
        """Mean squared error; 0 without pairs."""

    @property
    def cosine(self) -> float:
        """Cosine similarity, -1 to 1: 1 when both tensors are zero, 0 when one is."""

@final
class Gram:
    """Second moments of the input vectors of one layer, in blocks of columns.

    Parameters
    ----------
    blocks : int
        Blocks with a matrix each; products between blocks are not kept.
    columns : int
        Elements of a vector in each block; a vector has ``blocks * columns`` of them.
    """

    def __init__(self, blocks: int, columns: int) -> None: ...
    def add_rows(self, x: NDArray[Any], positions: Sequence[int]) -> None:
        """Add rows of a floating-point array whose last axis is a vector.

        NonFiniteError for NaN and infinity.
        """

    def add_patches(
        self,
        x: NDArray[Any],
        positions: Sequence[int],
        kernel: tuple[int, int],
        strides: tuple[int, int],
        dilations: tuple[int, int],
        pads: tuple[int, int],
        output: tuple[int, int],
        block: int = 1,
    ) -> None:
        """Add the patches that a convolution sees in an array of shape (batch, channels, height, width).

        In memory, the array may have the order (batch, channels / block, height, width, block). A position is
        ``(image * output_height + y) * output_width + x``; `pads` are those before the first row and column,
        `output` is the size of the output. NonFiniteError for NaN and infinity.
        """

    @property
    def is_finite(self) -> bool:
        """Whether all vectors were finite, and their distances from each other too; else it is of no use."""

    @property
    def count(self) -> int:
        """Number of vectors that were added."""

    @property
    def mean(self) -> NDArray[np.float64]:
        """Mean vector, shape (blocks * columns,)."""

    @property
    def second(self) -> NDArray[np.float32]:
        """Mean of ``x x'``, shape (blocks, columns, columns)."""

def channel_ranges(
    x: NDArray[Any], layout: tuple[int, int, int, int]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the smallest and the largest value of every channel, each of shape (channels,).

    A channel with a NaN has NaN as both. The values of a float64 array are rounded to float32.

    Parameters
    ----------
    x : float16, float32 or float64 array of any shape
    layout : tuple of int
        ``(outer, groups, rows, block)``: the array has this shape in memory, and channel ``g * block + b`` is
        group ``g`` at place ``b`` of a block. The extremes are taken over `outer` and `rows`.

    Raises
    ------
    ShapeError
        The layout does not fit the size of the array, or holds no value.
    """

def observe_many(
    sketches: Sequence[Sketch], arrays: Sequence[NDArray[Any]], *, parallel: bool = True
) -> None:
    """Let ``sketches[i]`` observe ``arrays[i]`` without the GIL, in all threads or in the calling one."""

def search(
    sketch: Sketch,
    method: str,
    *,
    bits: int = 8,
    symmetric: bool = False,
    max_percentile: float = 0.9999,
) -> tuple[float, int]:
    """Find scale and zero point of a sketch.

    Zero is always representable, the scale a positive normal float32. Asymmetric: integers from
    ``-2^(bits-1)`` to ``2^(bits-1) - 1``. Symmetric: zero point 0, without the most negative integer.
    A sketch that is empty or holds only zeros gives ``(1.0, 0)``.

    At 8 bits ``mse`` looks at 100 to 1,000 scales and computes the best zero point of each from 255 tail
    moments (0.1 to 1 ms); ``kl`` at up to 84 scales with all their zero points, 510 levels each (about 1 ms).

    Parameters
    ----------
    sketch : Sketch
    method : str
        ``minmax``; ``percentile``; ``mse``, least squared error over scale and zero point (Krishnamoorthi
        2018; Nagel et al. 2021); ``kl``, least Kullback-Leibler divergence (Migacz 2017).
    bits : int
        2 to 8.
    symmetric : bool
    max_percentile : float
        In (0, 1], for ``percentile``: the range covers this fraction of the values, so that half of the rest
        is cut off on either side.

    Returns
    -------
    scale : float
    zero_point : int

    Raises
    ------
    ArgumentError
        Unknown method, bits or percentile out of range.
    """

def range_params(lo: float, hi: float, *, bits: int = 8, symmetric: bool = False) -> tuple[float, int]:
    """Return scale and zero point of the finite range ``[lo, hi]``, extended to contain zero."""

def quantize_per_channel(
    w: NDArray[Any], axis: int, *, bits: int = 8, method: str = "minmax", balanced: bool = False
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Quantise weights symmetrically with one scale per channel.

    Parameters
    ----------
    w : ndarray of float16, float32 or float64
        Finite.
    axis : int
        The axis of the channels; negative counts from the end.
    bits : int
        2 to 8; integers lie within ``+-(2^(bits-1) - 1)``.
    method : str
        ``minmax`` or ``mse``: clip where that lowers the squared error of the channel.
    balanced : bool
        Round some weights to their second-nearest integer, so that the errors of every kernel (the axes
        from the third on) and of every channel sum up to little. Inputs that are alike then cancel them.

    Returns
    -------
    quantized : ndarray of int8
        In the shape of ``w``.
    scales : ndarray of float32, shape (channels,)
        Positive and normal; 1 for a channel of zeros.

    Raises
    ------
    NonFiniteError
        NaN or infinite weights; the channel is named.
    ArgumentError
        Unknown method, or bits out of range.
    ShapeError
        There is no such axis.
    """

def resize_antialiased(
    image: NDArray[np.uint8], size: tuple[int, int], crop: tuple[int, int, int, int]
) -> NDArray[np.uint8]:
    """Resize an 8-bit image with an antialiasing triangle filter and cut out a window.

    Bit for bit what Pillow calls ``BILINEAR`` and torchvision computes for such images.

    Parameters
    ----------
    image : uint8 array, shape (height, width, channels)
        C-contiguous, with 1 to 4 channels.
    size : (int, int)
        Height and width of the whole resized image.
    crop : (int, int, int, int)
        Top, left, height and width of the window; only it is computed.

    Returns
    -------
    uint8 array, shape (crop height, crop width, channels)

    Raises
    ------
    ShapeError
        The window leaves the image, a size is zero, or there are more than 4 channels.
    """

def round_weights(
    w: NDArray[Any],
    gram: Gram,
    *,
    groups: int = 1,
    bits: int = 8,
    damping: float = 0.01,
    factors: Sequence[float] = [1.0],
) -> tuple[NDArray[np.int8], NDArray[np.float32], NDArray[np.float64]]:
    """Round the weights of a layer so that their errors cancel in its output (Frantar et al., GPTQ, 2023).

    Symmetric, one scale per row, found by clipping under the diagonal of the covariance. The mean of the
    error is left to the bias.

    Parameters
    ----------
    w : ndarray, shape (rows, columns of one group)
        Finite.
    gram : Gram
        Of the layer's inputs; a group owns ``blocks / groups`` consecutive blocks.
    groups : int
        Rows are split evenly among them.
    bits : int
        2 to 8.
    damping : float
        Added to the diagonal of the covariance, as a part of its mean.
    factors : sequence of float
        Multiples of the scale that are tried with feedback, the best is kept per row.

    Returns
    -------
    quantized : ndarray of int8
        In the shape of ``w``.
    scales : ndarray of float32, shape (rows,)
    losses : ndarray of float64, shape (rows,)
        Mean squared error of the outputs over the vectors of `gram`, damping included.

    Raises
    ------
    ShapeError
        Weights, groups and the Gram matrix do not fit each other.
    ArgumentError
        An empty Gram matrix, no factor, or bits out of range.
    NonFiniteError
        Weights or inputs that are not finite.
    """

def fake_quantize(
    x: NDArray[Any],
    scales: NDArray[np.float32],
    zero_points: NDArray[np.int32],
    axis: int | None,
    qmin: int,
    qmax: int,
) -> NDArray[np.float32]:
    """Quantise and dequantise; see `xslim.kernels.fake_quantize`."""

def quantize(
    x: NDArray[Any],
    scales: NDArray[np.float32],
    zero_points: NDArray[np.int32],
    axis: int | None,
    qmin: int,
    qmax: int,
) -> NDArray[np.int8]:
    """Quantise to int8; see `xslim.kernels.quantize`."""

def error_sums(reference: NDArray[Any], test: NDArray[Any]) -> ErrorMetrics:
    """Compare two floating-point arrays of equal size in one pass."""

def threads() -> int:
    """Return the number of threads that the kernels use; see `threads_wanted` and `set_threads`."""

def threads_wanted() -> int:
    """Return ``XSLIM_THREADS``, else the number of processors that the process may use.

    ArgumentError if the variable is not a whole number from 1 to 1024.
    """

def set_threads(count: int) -> None:
    """Set the number of threads of every following kernel call."""

def data_address(x: NDArray[Any]) -> int:
    """Return the address of the first element that a kernel would read, to test that nothing is copied."""
