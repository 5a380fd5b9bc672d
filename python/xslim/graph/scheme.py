"""The data that describes a quantised model: what is int8, and with which parameters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class QuantParams:
    """Scale and zero point of one tensor: ``x ≈ (q - zero_point) * scale``.

    Attributes
    ----------
    scale : float32 array
        Shape ``()`` per tensor or ``(channels,)`` per channel; finite and positive.
    zero_point : int8 array
        Same shape as `scale`; all zero where the tensor is quantised symmetrically.
    axis : int or None
        Channel axis when quantised per channel.
    """

    scale: NDArray[np.float32]
    zero_point: NDArray[np.int8]
    axis: int | None = None
