"""Quantise the digit classifier and measure it on images that neither training nor calibration saw.

python examples/quickstart/run.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort

import xslim

HERE = Path(__file__).resolve().parent
FLOAT_MODEL = HERE / "digits.onnx"
INT8_MODEL = HERE / "output" / "digits.q.onnx"
MEAN, STD = 78.0, 96.0  # as in config.json


def logits(model: Path, images: np.ndarray) -> np.ndarray:
    """Run a model on uint8 images [n, 8, 8]; return float32 [n, 10]."""
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    inputs = (images[:, None].astype(np.float32) - MEAN) / STD
    return session.run(None, {"image": inputs})[0]


def main() -> None:
    xslim.quantize_onnx_model(HERE / "config.json", output_path=INT8_MODEL)

    held_back = np.load(HERE / "held_back.npz")
    labels = held_back["labels"]
    expected = logits(FLOAT_MODEL, held_back["images"])
    measured = logits(INT8_MODEL, held_back["images"])
    guessed, guessed_int8 = expected.argmax(1), measured.argmax(1)

    noise = np.square(measured - expected).mean()
    sqnr = 10 * np.log10(np.square(expected).mean() / noise)

    def row(what: str, float_value: str, int8_value: str) -> None:
        print(f"{what:<24}{float_value:>10}{int8_value:>10}")

    print()
    row(f"{len(labels)} held-back images", "float", "int8")
    row("top-1 accuracy", f"{np.mean(guessed == labels):.2%}", f"{np.mean(guessed_int8 == labels):.2%}")
    row("same answer as float", "", f"{np.mean(guessed == guessed_int8):.2%}")
    row("SQNR of the logits", "", f"{sqnr:.1f} dB")
    row("file size", *(f"{model.stat().st_size / 1e3:.1f} kB" for model in (FLOAT_MODEL, INT8_MODEL)))
    print(f"\nwritten to {INT8_MODEL}")


if __name__ == "__main__":
    main()
