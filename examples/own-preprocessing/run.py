"""Quantise with preprocessing of one's own, and see what a guess would have cost.

python examples/own-preprocessing/run.py
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
import onnxruntime as ort
from scans import digits

import xslim

HERE = Path(__file__).resolve().parent
QUICKSTART = HERE.parent / "quickstart"
CALIBRATION, SIDE = 64, 48
GUESSED = {"mean_value": [0.0], "std_value": [255.0]}
OWN = {"preprocess_file": f"{HERE / 'scans.py'}:digits"}


def write_scans(folder: Path, images: np.ndarray) -> list[Path]:
    """Write the digits as dark ink on bright paper."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, image in enumerate(images):
        large = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_NEAREST)
        paths.append(folder / f"{number:03}.png")
        cv2.imwrite(str(paths[-1]), 255 - np.repeat(large[..., None], 3, axis=2))
    return paths


def quantised(folder: Path, name: str, scans: list[Path], entry: dict[str, object]) -> Path:
    """Quantise the classifier with the scans, prepared as the entry says; return the model."""
    listing = folder / f"{name}.txt"
    listing.write_text("".join(f"{path.relative_to(folder)}\n" for path in scans), "utf-8")
    config = folder / f"{name}.json"
    sections = {
        "model_parameters": {
            "onnx_model": str(QUICKSTART / "digits.onnx"),
            "output_prefix": name,
            "working_dir": str(folder),
        },
        "calibration_parameters": {
            "calibration_step": CALIBRATION,
            "input_parameters": [
                {"input_name": "image", "file_type": "img", "data_list_path": str(listing), **entry}
            ],
        },
        "quantization_parameters": {"analysis_enable": False},
    }
    config.write_text(json.dumps(sections, indent=2), "utf-8")
    xslim.quantize_onnx_model(config)
    return folder / f"{name}.onnx"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--output", type=Path, default=HERE / "output", help="folder of the results")
    folder = parser.parse_args().output.resolve()

    data = np.load(QUICKSTART / "held_back.npz")
    scans = write_scans(folder / "scans", data["images"])
    models = {
        "float": QUICKSTART / "digits.onnx",
        "int8, own function": quantised(folder, "own", scans[:CALIBRATION], OWN),
        "int8, pixels / 255": quantised(folder, "guessed", scans[:CALIBRATION], GUESSED),
    }
    inputs = digits([str(path) for path in scans[CALIBRATION:]], {"input_shape": [1, 1, 8, 8]})
    labels = data["labels"][CALIBRATION:]
    print(f"\n{f'{len(labels)} scans':<28}{'top-1':>10}")
    for name, path in models.items():
        session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
        guessed = session.run(None, {"image": inputs})[0].argmax(axis=1)
        print(f"{name:<28}{(guessed == labels).mean():>10.2%}")


if __name__ == "__main__":
    main()
