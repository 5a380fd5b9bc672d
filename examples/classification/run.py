"""Quantise a classifier and compare its top-1 and top-5 with float, on labelled images.

python examples/classification/run.py [OUTPUT]
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np

import xslim

HERE = Path(__file__).resolve().parent
QUICKSTART = HERE.parent / "quickstart"


def write_labelled_images(folder: Path) -> None:
    """Write the held-back digits of the quick start as images, with one sub-folder for each class."""
    held_back = np.load(QUICKSTART / "held_back.npz")
    for number, (image, label) in enumerate(zip(held_back["images"], held_back["labels"], strict=True)):
        place = folder / str(label)
        place.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(place / f"{number:03d}.png"), image)


def main() -> None:
    output = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "output"
    labelled, int8_model = output / "held_back", output / "digits.q.onnx"
    write_labelled_images(labelled)
    config = QUICKSTART / "config.json"
    xslim.quantize_onnx_model(config, output_path=int8_model)

    # The configuration says how images are read; the labels say which images.
    found = xslim.compare(QUICKSTART / "digits.onnx", int8_model, config, labels=labelled)
    assert found.accuracy is not None
    print(*found.accuracy.lines(), sep="\n")


if __name__ == "__main__":
    main()
