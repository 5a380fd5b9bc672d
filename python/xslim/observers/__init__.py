"""The calibration methods by name: each computes a scale and a zero point from a sketch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

from xslim import kernels
from xslim.errors import InternalError

__all__ = ["METHODS", "search"]

Search = Callable[..., tuple[float, int]]

METHODS: Mapping[str, Search] = MappingProxyType(
    {
        "minmax": partial(kernels.search, method="minmax"),
        "percentile": partial(kernels.search, method="percentile"),
        "mse": partial(kernels.search, method="mse"),
        "kl": partial(kernels.search, method="kl"),
        # The method with the best mean result over the models of the accuracy suite.
        "default": partial(kernels.search, method="mse"),
    }
)
"""The methods by the values of ``calibration_type``."""


def search(
    sketch: kernels.Sketch,
    method: str,
    *,
    bits: int = 8,
    symmetric: bool = False,
    max_percentile: float = 0.9999,
) -> tuple[float, int]:
    """Find the scale and zero point of a tensor by the named method.

    Parameters
    ----------
    sketch : Sketch
        Histogram of the tensor's values.
    method : str
        A key of `METHODS`.
    bits : int
        2 to 8.
    symmetric : bool
        Whether the zero point is fixed at 0.
    max_percentile : float
        In (0, 1]: the fraction of the values that ``percentile`` covers.

    Returns
    -------
    scale : float
        Positive, a normal float32.
    zero_point : int

    Raises
    ------
    InternalError
        The method is unknown; the configuration admits only known ones.
    """
    if method not in METHODS:
        raise InternalError(f"unknown calibration method {method!r}", hint=f"known are {', '.join(METHODS)}")
    return METHODS[method](sketch, bits=bits, symmetric=symmetric, max_percentile=max_percentile)
