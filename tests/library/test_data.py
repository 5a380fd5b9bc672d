"""Samples from memory: every form gives the bytes of files, and every wrong form one clear error."""

from __future__ import annotations

import gc
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper

import xslim
from tests import models

Samples = NDArray[np.float32]
COUNT = 12


def images(count: int = COUNT) -> Samples:
    return np.random.default_rng(0).standard_normal((count, 3, 8, 8)).astype(np.float32)


def two_inputs() -> onnx.ModelProto:
    """Add two images after a convolution of the first."""
    nodes = [
        helper.make_node("Conv", ["a", "w"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["c", "b"], ["y"], name="add"),
    ]
    shapes: dict[str, models.Dims] = {"a": ["n", 3, 8, 8], "b": ["n", 3, 8, 8]}
    return models.model(nodes, shapes, {"y": ["n", 3, 8, 8]}, {"w": models.draw(1, 3, 3, 3, 3)})


class Reader:
    """Has the method of onnxruntime's CalibrationDataReader."""

    def __init__(self, samples: Samples) -> None:
        self._rows = iter(samples)

    def get_next(self) -> dict[str, Samples] | None:
        row = next(self._rows, None)
        return None if row is None else {"x": row[None]}


class Loader:
    """Iterates over batches of tensors, as torch's DataLoader does."""

    def __init__(self, samples: Samples, size: int) -> None:
        self._samples, self._size = samples, size

    def __iter__(self) -> Iterator[list[Tensor]]:
        for start in range(0, len(self._samples), self._size):
            yield [Tensor(self._samples[start : start + self._size])]


class Tensor:
    """Shows its values through ``__array__`` alone."""

    def __init__(self, values: Samples) -> None:
        self._values = values

    def __array__(self, dtype: Any = None, copy: Any = None) -> Samples:
        return self._values


class OnlyDlpack:
    """Shows its values through DLPack alone."""

    def __init__(self, values: Samples) -> None:
        self._values = values

    def __dlpack__(self, **options: Any) -> Any:
        return self._values.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._values.__dlpack_device__()


FORMS: dict[str, Callable[[Samples], object]] = {
    "an array": lambda x: x,
    "a dict of arrays": lambda x: {"x": x},
    "a list of arrays": list,
    "arrays with a batch": lambda x: [row[None] for row in x],
    "a generator": lambda x: (row for row in x),
    "dicts": lambda x: [{"x": row} for row in x],
    "tuples": lambda x: [(row,) for row in x],
    "a reader": Reader,
    "a function": lambda x: lambda: iter(x),
    "a loader of batches": lambda x: Loader(x, 5),
    "tensors with DLPack": lambda x: [OnlyDlpack(row) for row in x],
    "float64": lambda x: x.astype(np.float64),
    "nested lists": lambda x: [[row.tolist()] for row in x],
}


@pytest.fixture(scope="module")
def from_files(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("files")
    for number, row in enumerate(images()):
        np.save(folder / f"{number:02d}.npy", row)
    (folder / "list.txt").write_text("".join(f"{number:02d}.npy\n" for number in range(COUNT)), "utf-8")
    entry = {"file_type": "npy", "data_list_path": str(folder / "list.txt")}
    config = {"calibration_parameters": {"input_parameters": [entry]}}
    model = xslim.quantize_onnx_model(config, models.conv_net("n"), folder / "out.onnx")
    return model.SerializeToString(deterministic=True)


@pytest.mark.parametrize("name", FORMS)
def test_every_form_gives_the_bytes_of_files(name: str, from_files: bytes) -> None:
    result = xslim.quantize(models.conv_net("n"), FORMS[name](images()))
    assert result.model.SerializeToString(deterministic=True) == from_files


def test_a_fixed_batch_is_filled_from_rows_or_kept_whole() -> None:
    model = models.conv_net(4)
    rows = xslim.quantize(model, images())
    batches = xslim.quantize(model, [images()[start : start + 4] for start in (0, 4, 8)])
    assert rows.model == batches.model


def test_several_inputs_by_name_and_by_order() -> None:
    a, b = images(), images()[::-1].copy()
    model = two_inputs()
    named = xslim.quantize(model, {"b": b, "a": a})
    ordered = xslim.quantize(model, zip(a, b, strict=True))
    swapped = xslim.quantize(model, zip(b * 3, a, strict=True))
    assert named.model == ordered.model
    assert named.model != swapped.model


def test_no_more_samples_are_read_than_needed() -> None:
    taken = []

    def endless() -> Iterator[Samples]:
        while True:
            taken.append(1)
            yield images(1)[0]

    xslim.quantize(models.conv_net("n"), endless(), calibration_step=10)
    assert len(taken) < 25


def test_the_samples_disappear_with_the_run(tmp_path: Path) -> None:
    seen = []

    def samples() -> Iterator[Samples]:
        for row in images():
            seen.append(sorted(path.name for path in tmp_path.iterdir()))
            yield row

    xslim.quantize(models.conv_net("n"), samples(), spool=tmp_path)
    assert seen[-1], "the samples are kept in the folder that was named"
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(xslim.DataError):
        xslim.quantize(models.conv_net("n"), [images()[0], None], spool=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_memory_stays_bounded() -> None:
    def peak(count: int) -> int:
        gc.collect()
        tracemalloc.start()
        samples = (np.full((3, 64, 64), number / count, np.float32) for number in range(count))
        xslim.quantize(models.conv_net("n", 64), samples, calibration_step=count, finetune_level=0)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    few, many = peak(40), peak(400)
    # 360 more samples hold 17.7 MB.
    assert many - few < 4_000_000


def bad(x: Samples, number: int, value: object) -> list[object]:
    """Replace one sample."""
    samples: list[object] = list(x)
    samples[number] = value
    return samples


def raising() -> Iterator[Samples]:
    yield images()[0]
    raise OSError("disk gone")


def nan() -> Samples:
    array = images()[0]
    array[0, 0, 0] = np.nan
    return array


ONE, TWO = "one input", "two inputs"

WRONG: dict[str, tuple[str, Callable[[Samples], object], str]] = {
    "text": (ONE, lambda x: "samples", "must hold samples, not str"),
    "a path": (ONE, lambda x: Path("list.txt"), "files are named in a configuration"),
    "bytes": (ONE, lambda x: b"123", "must hold samples, not bytes"),
    "a number": (ONE, lambda x: 7, "a int holds no samples"),
    "an object": (ONE, lambda x: object(), "holds no samples"),
    "no sample": (ONE, lambda x: [], "there is no sample"),
    "an empty generator": (ONE, lambda x: iter(()), "there is no sample"),
    "an empty array": (ONE, lambda x: x[:0], "there is no sample"),
    "an empty reader": (ONE, lambda x: Reader(x[:0]), "there is no sample"),
    "a function of nothing": (ONE, lambda x: lambda: None, "must hold samples, not NoneType"),
    "a function of a function": (ONE, lambda x: lambda: lambda: x, "returned a function"),
    "a function that raises": (ONE, lambda x: lambda: 1 / 0, "ZeroDivisionError"),
    "a function that exits": (ONE, lambda x: lambda: sys.exit(0), "the data raised SystemExit: 0"),
    "an iterable that exits": (
        ONE,
        lambda x: (sys.exit(3) for _ in x),
        "the data raised SystemExit: 3",
    ),
    "a function with a parameter": (ONE, lambda x: lambda y: y, "TypeError"),
    "an iterable that raises": (ONE, lambda x: raising(), "sample 1: the data raised OSError: disk gone"),
    "no sample axis": (ONE, lambda x: np.float32(3), "has no sample axis"),
    "a sample without the axis": (ONE, lambda x: x[0], "is a single sample (stack several"),
    "a channel too many": (ONE, lambda x: np.zeros((4, 4, 8, 8), np.float32), "but the model's input has"),
    "channels last": (ONE, lambda x: x.transpose(0, 2, 3, 1), "sample 0, input x: has the shape [8, 8, 3]"),
    "channels last, what to do": (ONE, lambda x: x.transpose(0, 2, 3, 1), "array.transpose(2, 0, 1)"),
    "batches with channels last": (ONE, lambda x: [x.transpose(0, 2, 3, 1)], "array.transpose(0, 3, 1, 2)"),
    "images and labels": (ONE, lambda x: (x, np.arange(12)), "is a sample, without its label"),
    "lists of numbers": (ONE, lambda x: [row.tolist() for row in x], "numpy.asarray makes one"),
    "too few values": (TWO, lambda x: [(row,) for row in x], "give an array for every input"),
    "a rank too many": (ONE, lambda x: x[:, None, None], "has the shape [1, 1, 3, 8, 8]"),
    "a later shape": (ONE, lambda x: bad(x, 5, x[5][:, :7]), "sample 5, input x: has the shape [3, 7, 8]"),
    "an empty sample": (ONE, lambda x: bad(x, 1, x[:0]), "sample 1, input x: holds no value"),
    "NaN": (ONE, lambda x: bad(x, 3, nan()), "sample 3, input x: holds NaN"),
    "infinity": (ONE, lambda x: bad(x, 2, x[2] / 0), "sample 2, input x: holds infinite values"),
    "too large for float32": (
        ONE,
        lambda x: bad(x, 2, np.full((3, 8, 8), 1e300)),
        "values that do not fit into the input's type",
    ),
    "images": (
        ONE,
        lambda x: np.zeros((4, 3, 8, 8), np.uint8),
        "holds uint8 values but the input is float32",
    ),
    "int8": (ONE, lambda x: np.zeros((4, 3, 8, 8), np.int8), "holds int8 values but the input is float32"),
    "complex": (ONE, lambda x: x.astype(np.complex64), "holds complex64 values"),
    "words": (ONE, lambda x: bad(x, 1, np.full((3, 8, 8), "a")), "sample 1, input x: holds"),
    "objects": (ONE, lambda x: bad(x, 1, [{}]), "sample 1, input x: cannot be read as an array"),
    "ragged lists": (ONE, lambda x: bad(x, 1, [[[1.0], [1.0, 2.0]]]), "cannot be read as an array"),
    "None": (ONE, lambda x: bad(x, 4, None), "sample 4: is None"),
    "a label beside the image": (ONE, lambda x: [(row, 3) for row in x], "sample 0: has 2 values but"),
    "an empty tuple": (ONE, lambda x: bad(x, 1, ()), "sample 1: has 0 values"),
    "a wrong name": (ONE, lambda x: {"image": x}, "data: has no input 'x'"),
    "a wrong name in a sample": (ONE, lambda x: bad(x, 6, {"image": x[0]}), "sample 6: has no input 'x'"),
    "a name too many": (ONE, lambda x: {"x": x, "y": x}, "names 'y', which is no input"),
    "a name that is no text": (ONE, lambda x: bad(x, 0, {0: x[0]}), "sample 0: has no input 'x'"),
    "one array for two inputs": (TWO, lambda x: x, "is one array, but the model has 2 inputs: a, b"),
    "one array per sample": (TWO, lambda x: list(x), "sample 0: is one array"),
    "one value for two inputs": (TWO, lambda x: [(row,) for row in x], "sample 0: has 1 values but"),
    "three values": (TWO, lambda x: [(row, row, row) for row in x], "sample 0: has 3 values but"),
    "an input left out": (TWO, lambda x: {"a": x}, "data: has no input 'b'"),
    "different lengths": (TWO, lambda x: {"a": x, "b": x[:5]}, "a 12, b 5"),
    "different batches": (
        TWO,
        lambda x: [(x[:3], x[:2])],
        "sample 0: the inputs have different batches: a 3",
    ),
    "NaN in the second input": (TWO, lambda x: [(x[0], x[0]), (x[0], nan())], "sample 1, input b: holds NaN"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_data_are_refused_before_the_model_runs(name: str, caplog: pytest.LogCaptureFixture) -> None:
    which, made, message = WRONG[name]
    model = models.conv_net("n") if which == ONE else two_inputs()
    with np.errstate(divide="ignore", invalid="ignore"):
        data = made(images())
    phases: list[str] = []
    with pytest.raises(xslim.DataError) as caught:
        xslim.quantize(model, data, progress=lambda phase, done, total: phases.append(phase))
    assert message in str(caught.value)
    assert caught.value.hint
    assert not phases


@pytest.mark.parametrize("size", [5, 12])
def test_batches_of_a_loader_fill_a_model_with_a_batch_of_one(size: int) -> None:
    """torch.onnx.export fixes the batch at that of its example, and loaders end with a smaller batch."""
    x = images()
    loader = [x[start : start + size] for start in range(0, len(x), size)]
    single = xslim.quantize(models.conv_net(1), list(x))
    assert xslim.quantize(models.conv_net(1), loader).model == single.model


def test_a_last_batch_that_does_not_fill_the_model_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    x = images(10)
    whole = xslim.quantize(models.conv_net(4), [x[:4], x[4:8]])
    with caplog.at_level("WARNING", logger="xslim"):
        found = xslim.quantize(models.conv_net(4), [x[:4], x[4:8], x[8:]])
    assert found.model == whole.model
    assert "sample 2: its batch of 2 does not fill the model's batch and is left out" in caplog.messages


def test_too_few_samples_for_a_fixed_batch() -> None:
    with pytest.raises(xslim.DataError, match="batch is 4"):
        xslim.quantize(models.conv_net(4), images(3))


def test_values_that_do_not_fit_an_integer_input() -> None:
    node = helper.make_node("Gather", ["w", "i"], ["g"], name="gather")
    product = helper.make_node("MatMul", ["g", "u"], ["y"], name="product")
    weights = {"w": models.draw(1, 20, 4), "u": models.draw(2, 4, 4)}
    model = models.model(
        [node, product], {"i": ["n", 3]}, {"y": ["n", 3, 4]}, weights, input_type=onnx.TensorProto.INT64
    )
    with pytest.raises(
        xslim.DataError, match="sample 0, input i: holds float32 values but the input is int64"
    ):
        xslim.quantize(model, np.zeros((4, 3), np.float32))
    assert xslim.quantize(model, np.arange(24).reshape(8, 3) % 20).model.graph.node


def test_float64_gets_a_notice(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="xslim"):
        xslim.quantize(models.conv_net("n"), images().astype(np.float64))
    notices = [record.message for record in caplog.records if "converted" in record.message]
    assert notices == ["input x: float64 values are converted to float32"]
