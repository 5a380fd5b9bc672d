"""Own preprocessing: scans of dark digits on bright paper become the network's bright digits on black.

The configuration names the function as ``scans.py:digits``. The application on the board must do the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

MEAN, STD = 78.0, 96.0


def digits(paths: Sequence[str], entry: dict[str, Any]) -> np.ndarray:
    """Return a batch of the network's inputs, float32 (batch, 1, 8, 8), from the paths of scans."""
    height, width = entry["input_shape"][2:]
    rows = []
    for path in paths:
        scan = cv2.imread(path, cv2.IMREAD_COLOR)
        ink = 255.0 - scan.min(axis=2).astype(np.float32)
        small = cv2.resize(ink, (width, height), interpolation=cv2.INTER_AREA)
        rows.append((small[None] - MEAN) / STD)
    return np.stack(rows).astype(np.float32)
