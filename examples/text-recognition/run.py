"""Quantise a text recogniser of PP-OCR and read lines before and after.

pip install rapidocr
python examples/text-recognition/run.py

Another recogniser that carries its characters can be given as an argument.
"""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnxruntime as ort
from lines import characters, drawn, edits, model_input, read, texts

import xslim

CALIBRATION, MEASURED = 32, 60


def model_of_rapidocr() -> Path:
    """Return the recogniser that the package rapidocr brings."""
    spec = find_spec("rapidocr")
    folders = [Path(place) / "models" for place in (spec.submodule_search_locations or [])] if spec else []
    found = sorted(path for folder in folders for path in folder.glob("*rec*.onnx"))
    if not found:
        raise SystemExit("no model: pip install rapidocr, or name a file")
    return found[0]


def readings(model: Path, inputs: list[np.ndarray], known: list[str]) -> list[str]:
    """Return what a model reads."""
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return [read(session.run(None, {name: row[None]})[0][0], known) for row in inputs]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?")
    parser.add_argument("--level", type=int, default=0, help="precision_level (default 0)")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "output" / "rec.q.onnx")
    options = parser.parse_args()
    model = options.model or model_of_rapidocr()
    known, truth = characters(model), texts(MEASURED, seed=2)
    calibration = [model_input(picture) for picture in drawn(texts(CALIBRATION, seed=0), seed=1)]
    xslim.quantize(model, calibration, output=options.output, precision_level=options.level)

    inputs = [model_input(picture) for picture in drawn(truth, seed=3)]
    before, after = readings(model, inputs, known), readings(options.output, inputs, known)
    print(f"{'text':<28}{'float':<28}int8")
    for row in list(zip(truth, before, after, strict=True))[:5]:
        print("".join(f"{text:<28}" for text in row).rstrip())
    print(f"\n{f'{len(truth)} lines':<24}{'float':>10}{'int8':>10}")
    total = sum(map(len, truth))
    exact = [
        np.mean([one == other for one, other in zip(truth, found, strict=True)]) for found in (before, after)
    ]
    right = [
        1 - sum(edits(one, other) for one, other in zip(truth, found, strict=True)) / total
        for found in (before, after)
    ]
    same = np.mean([one == other for one, other in zip(before, after, strict=True)])
    print(f"{'lines read exactly':<24}{exact[0]:>10.2%}{exact[1]:>10.2%}")
    print(f"{'characters right':<24}{right[0]:>10.2%}{right[1]:>10.2%}")
    print(f"{'same text as float':<24}{'':>10}{same:>10.2%}")


if __name__ == "__main__":
    main()
