"""An input without dimensions takes one number, in whatever form a file or a function holds it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.promises.static_runs import Net, configuration, weights
from xslim import quantize_onnx_model
from xslim.calibration.data import CalibrationData
from xslim.commands.collect import collect_shard
from xslim.commands.compare import compare_models
from xslim.config import CalibrationParameters
from xslim.errors import DataError
from xslim.graph.inputs import InputSpec
from xslim.graph.io import load_model, save_model

COUNT = 4
K = InputSpec("k", (), np.dtype(np.float32))
NET = Net(
    "(float[batch, 32] x, float k) => (float[batch, 8] y) "
    "{ m = Mul(x, k)  a = MatMul(m, u)  r = Relu(a)  y = MatMul(r, v) }",
    {"u": weights(1, 32, 16), "v": weights(2, 16, 8)},
)


def write_npy(*shape: int) -> Callable[[Path, float], None]:
    return lambda path, value: np.save(path, np.full(shape, value, np.float32))


def write_raw(path: Path, value: float) -> None:
    np.float32(value).tofile(path)


FORMS: dict[str, tuple[str, str, Callable[[Path, float], None]]] = {
    "npy of no dimension": ("npy", ".npy", write_npy()),
    "npy of one element": ("npy", ".npy", write_npy(1)),
    "npy of one row": ("npy", ".npy", write_npy(1, 1)),
    "raw": ("raw", ".bin", write_raw),
}


def listing(folder: Path, suffix: str, write: Callable[[Path, float], None], count: int) -> str:
    for index in range(count):
        with (folder / f"k{index}{suffix}").open("wb") as file:
            write(Path(file.name), 0.5 + index)
    path = folder / "k.txt"
    path.write_text("".join(f"k{index}{suffix}\n" for index in range(count)), "utf-8")
    return str(path)


def numbers(entry: dict[str, Any], samples: int = COUNT) -> list[NDArray[Any]]:
    parameters = CalibrationParameters.model_validate({"input_parameters": [entry]})
    return [batch["k"] for batch in CalibrationData([K], parameters).samples(batch_size=samples)]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_number_is_read(form: str, tmp_path: Path) -> None:
    kind, suffix, write = FORMS[form]
    found = numbers({"file_type": kind, "data_list_path": listing(tmp_path, suffix, write, COUNT)})
    assert [(value.shape, float(value)) for value in found] == [((), 0.5 + index) for index in range(COUNT)]


@pytest.mark.parametrize("returned", ["np.float32(2)", "np.full(1, 2, 'f')", "np.full((1, 1), 2, 'f')"])
def test_a_function_may_return_any_form_of_a_number(returned: str, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(f"import numpy as np\ndef read(paths, entry): return {returned}\n")
    path = listing(tmp_path, ".npy", write_npy(), 1)
    entry = {"file_type": "npy", "data_list_path": path, "preprocess_file": f"{tmp_path / 'own.py'}:read"}
    assert [(value.shape, float(value)) for value in numbers(entry)] == [((), 2.0)]


def test_several_numbers_are_refused(tmp_path: Path) -> None:
    path = listing(tmp_path, ".npy", write_npy(2), 1)
    with pytest.raises(DataError, match=r"has the shape \[2\]"):
        numbers({"file_type": "npy", "data_list_path": path})


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("lines", [1, COUNT])
def test_a_run_takes_one_number_for_all_samples_or_one_for_each(
    lines: int, batch_size: int, tmp_path: Path
) -> None:
    config = configuration(tmp_path, NET.samples(COUNT), finetune_level=2, analysis_enable=True)
    calibration = config["calibration_parameters"]
    calibration["calibration_batch_size"] = batch_size
    calibration["input_parameters"][1]["data_list_path"] = listing(tmp_path, ".npy", write_npy(), lines)
    result = quantize_onnx_model(config, NET.proto, tmp_path / "result.onnx")
    assert len(result.graph.input[1].type.tensor_type.shape.dim) == 0


def test_samples_are_collected_and_compared(tmp_path: Path) -> None:
    samples = NET.samples(COUNT)
    model = tmp_path / "model.onnx"
    save_model(load_model(NET.proto), model)
    config = configuration(tmp_path, samples) | {"model_parameters": {"onnx_model": str(model)}}
    assert collect_shard(config, (0, 1), tmp_path / "all.sketches").stat().st_size
    for name, numbers_of_k in {"each": np.arange(COUNT), "all": np.float32(2)}.items():
        arrays = {"x": np.concatenate([sample["x"] for sample in samples]), "k": numbers_of_k}
        np.savez(tmp_path / f"{name}.npz", **arrays)
        found = compare_models(model, model, tmp_path / f"{name}.npz", COUNT)
        assert (found.samples, found.outputs[0].equal) == (COUNT, 1.0)
