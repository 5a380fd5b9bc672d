"""Quantise a model with two inputs: it tells which of two handwritten digits is larger.

python examples/several-inputs/run.py

The model is made of the quick start's classifier, once for each picture. Each input has a list of files of
its own; the files in the same line of both lists are one sample.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, compose, helper, numpy_helper

import xslim

HERE = Path(__file__).resolve().parent
QUICKSTART = HERE.parent / "quickstart"
INPUTS = ("first", "second")
MEAN, STD = 78.0, 96.0
CALIBRATION = 64


def comparing_model(classifier: Path) -> onnx.ModelProto:
    """Return a model of two pictures: the expected value of the first digit minus that of the second."""
    copies = [compose.add_prefix(onnx.load(classifier), f"{name}_") for name in INPUTS]
    values = numpy_helper.from_array(np.arange(10, dtype=np.float32)[:, None], "values")
    graph = copies[0].graph
    graph.node.extend(copies[1].graph.node)
    graph.input.extend(copies[1].graph.input)
    graph.initializer.extend([*copies[1].graph.initializer, values])
    del graph.output[:], graph.value_info[:]
    for name in INPUTS:
        graph.node.append(helper.make_node("Softmax", [f"{name}_logits"], [f"{name}_shares"], axis=1))
        graph.node.append(helper.make_node("MatMul", [f"{name}_shares", "values"], [f"{name}_value"]))
    graph.node.append(helper.make_node("Sub", [f"{name}_value" for name in INPUTS], ["difference"]))
    graph.output.append(helper.make_tensor_value_info("difference", TensorProto.FLOAT, ["batch", 1]))
    return copies[0]


def write_samples(folder: Path, pictures: dict[str, np.ndarray]) -> dict[str, Path]:
    """Write an array file for every picture, and a list for every input; return the lists."""
    lists = {}
    for name, arrays in pictures.items():
        files = [folder / name / f"{number:03}.npy" for number in range(len(arrays))]
        (folder / name).mkdir(parents=True, exist_ok=True)
        for file, array in zip(files, arrays, strict=True):
            np.save(file, array)
        lists[name] = folder / f"{name}.txt"
        lists[name].write_text("".join(f"{file.relative_to(folder)}\n" for file in files), "utf-8")
    return lists


def configuration(model: Path, lists: dict[str, Path]) -> dict[str, object]:
    """Return the configuration: one entry for every input."""
    return {
        "model_parameters": {
            "onnx_model": str(model),
            "output_prefix": "larger.q",
            "working_dir": str(model.parent),
        },
        "calibration_parameters": {
            "calibration_step": CALIBRATION,
            "input_parameters": [
                {"input_name": f"{name}_image", "file_type": "npy", "data_list_path": str(path)}
                for name, path in lists.items()
            ],
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--output", type=Path, default=HERE / "output", help="folder of the results")
    folder = parser.parse_args().output

    data = np.load(QUICKSTART / "held_back.npz")
    images = ((data["images"][:, None] - np.float32(MEAN)) / np.float32(STD)).astype(np.float32)
    order = np.random.default_rng(0).permutation(len(images))
    left, right = np.array_split(order, 2)
    chosen = data["labels"][left] != data["labels"][right]
    left, right = left[chosen], right[chosen]
    pictures = {"first": images[left], "second": images[right]}

    folder.mkdir(parents=True, exist_ok=True)
    model = folder / "larger.onnx"
    onnx.save(comparing_model(QUICKSTART / "digits.onnx"), model)
    lists = write_samples(folder, {name: arrays[:CALIBRATION] for name, arrays in pictures.items()})
    config = folder / "config.json"
    config.write_text(json.dumps(configuration(model, lists), indent=2), "utf-8")
    xslim.quantize_onnx_model(config)

    feeds = {f"{name}_image": arrays[CALIBRATION:] for name, arrays in pictures.items()}
    truth = (data["labels"][left] > data["labels"][right])[CALIBRATION:]
    answers = []
    for path in (model, folder / "larger.q.onnx"):
        session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
        answers.append(session.run(None, feeds)[0][:, 0])
    before, after = answers
    print(f"\n{f'{len(truth)} pairs':<28}{'float':>10}{'int8':>10}")
    print(f"{'right':<28}{((before > 0) == truth).mean():>10.2%}{((after > 0) == truth).mean():>10.2%}")
    print(f"{'same answer as float':<28}{'':>10}{((before > 0) == (after > 0)).mean():>10.2%}")


if __name__ == "__main__":
    main()
