"""Load OpenCV when the first image is read."""

from __future__ import annotations

from typing import Any

from xslim.errors import DataError


def opencv() -> Any:
    """Return the module ``cv2``.

    Raises
    ------
    DataError
        It does not load. The packages ``opencv-python`` and ``opencv-python-headless`` write the same files:
        the one that was installed last wins, and the first needs libraries of the desktop.
    """
    try:
        import cv2

        # If one of two packages is uninstalled, an empty folder may remain, which imports without an error.
        _ = cv2.imdecode
    except (ImportError, AttributeError) as error:
        raise DataError(
            f"images cannot be read, as OpenCV does not load: {error}",
            hint="pip uninstall -y opencv-python opencv-python-headless, "
            "then pip install opencv-python-headless",
        ) from error
    return cv2
