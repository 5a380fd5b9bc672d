"""Tests of calibration data: lists, arrays, raw files, several inputs, batches."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from tests import models
from xslim.calibration.data import CalibrationData
from xslim.config import CalibrationParameters
from xslim.errors import ConfigError, DataError, ModelError
from xslim.graph.inputs import InputSpec, input_specs

Shape = tuple[int | None, ...] | None


def spec(name: str = "x", shape: Shape = (None, 3), dtype: Any = "float32") -> InputSpec:
    return InputSpec(name, shape, np.dtype(dtype))


def parameters(*entries: dict[str, Any], **fields: Any) -> CalibrationParameters:
    return CalibrationParameters.model_validate({"input_parameters": list(entries), **fields})


def listing(folder: Path, name: str, arrays: list[NDArray[np.generic]]) -> dict[str, Any]:
    """Write npy files with a list and return the entry for them."""
    for index, array in enumerate(arrays):
        np.save(folder / f"{name}{index}.npy", array)
    path = folder / f"{name}.txt"
    path.write_text("".join(f"{name}{index}.npy\n" for index in range(len(arrays))), "utf-8")
    return {"data_list_path": str(path), "file_type": "npy"}


def rows(count: int, *shape: int) -> list[NDArray[np.float32]]:
    return [np.full(shape, index, np.float32) for index in range(count)]


def shapes(data: CalibrationData, name: str = "x", **options: Any) -> list[tuple[int, ...]]:
    return [feeds[name].shape for feeds in data.batches(**options)]


# Lists


def test_blank_lines_crlf_and_both_kinds_of_paths(tmp_path: Path) -> None:
    entry = listing(tmp_path, "x", rows(3, 1, 3))
    text = f"\r\n  x1.npy \r\n\r\n{tmp_path / 'x0.npy'}\r\n"
    Path(entry["data_list_path"]).write_bytes(b"\xef\xbb\xbf" + text.encode())
    data = CalibrationData([spec()], parameters(entry))
    assert [feeds["x"][0, 0] for feeds in data.batches()] == [1, 0]


def test_the_list_may_stand_beside_the_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    entry = listing(tmp_path, "x", rows(2, 1, 3)) | {"data_list_path": "x.txt"}
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert len(CalibrationData([spec()], parameters(entry), base_dir=tmp_path)) == 2
    with pytest.raises(DataError, match="there is no such list file"):
        CalibrationData([spec()], parameters(entry))


def test_no_more_samples_than_asked_for(tmp_path: Path) -> None:
    entry = listing(tmp_path, "x", rows(5, 1, 3))
    data = CalibrationData([spec()], parameters(entry, calibration_step=3))
    assert len(data) == 3
    assert len(list(data.batches())) == 3


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        ("", "x.txt: the list file names no file"),
        ("\n \r\n", "x.txt: the list file names no file"),
        ("x0.npy\n\nnone.npy\n", "x.txt, line 3: none.npy: there is no such file"),
        ("x0.npy\n.\n", "x.txt, line 2: .: this is a folder, not a file"),
    ],
)
def test_wrong_lists(tmp_path: Path, text: str, fragment: str) -> None:
    entry = listing(tmp_path, "x", rows(1, 1, 3))
    Path(entry["data_list_path"]).write_text(text, "utf-8")
    with pytest.raises(DataError) as caught:
        CalibrationData([spec()], parameters(entry))
    assert fragment in str(caught.value)


def test_a_list_that_is_no_text(tmp_path: Path) -> None:
    entry = listing(tmp_path, "x", rows(1, 1, 3))
    for path, problem in ((tmp_path, "this is a folder"), (tmp_path / "x0.npy", "is not UTF-8 text")):
        with pytest.raises(DataError, match=problem):
            CalibrationData([spec()], parameters(entry | {"data_list_path": str(path)}))


# Arrays


@pytest.mark.parametrize("shape", [(1, 3), (3,)])
def test_a_batch_dimension_is_added_where_it_is_missing(tmp_path: Path, shape: tuple[int, ...]) -> None:
    data = CalibrationData([spec()], parameters(listing(tmp_path, "x", rows(2, *shape))))
    assert shapes(data) == [(1, 3), (1, 3)]


def test_scalars_and_unknown_ranks(tmp_path: Path) -> None:
    scalar = listing(tmp_path, "s", [np.array(2, np.float32)])
    free = listing(tmp_path, "f", rows(1, 2, 3, 4))
    data = CalibrationData([spec("s", ()), spec("f", None)], parameters(scalar, free))
    (feeds,) = data.batches(batch_size=4)
    assert (feeds["s"].shape, feeds["f"].shape) == ((), (2, 3, 4))


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("float64", "float32"),
        ("float32", "float16"),
        ("float16", "float64"),
        ("int64", "float32"),
        ("uint8", "float32"),
        ("int64", "int32"),
        ("int64", "uint8"),
        ("int32", "int64"),
        ("bool", "int64"),
        ("bool", "bool"),
        ("float32", ml_dtypes.bfloat16),
        (">f4", "float32"),
    ],
)
def test_types_that_convert(tmp_path: Path, source: str, target: Any) -> None:
    values = np.array([[0, 1, 1]]).astype(source)
    data = CalibrationData(
        [spec(dtype=target)], parameters(listing(tmp_path, "x", [np.asfortranarray(values)]))
    )
    (feeds,) = data.batches()
    assert feeds["x"].dtype == np.dtype(target)
    assert feeds["x"].dtype.isnative
    assert feeds["x"].flags.c_contiguous
    assert feeds["x"].astype(np.int64).tolist() == [[0, 1, 1]]


@pytest.mark.parametrize(
    ("values", "target", "fragment"),
    [
        ([[0.5, 1, 2]], "int64", "holds float64 values but the input is int64"),
        ([["a", "b", "c"]], "float32", "values but the input is float32"),
        ([[1j, 0, 0]], "float32", "holds complex128 values"),
        ([[1, 2]], "float32", "has the shape [1, 2] but the input x has [?, 3]"),
        ([[[1, 2, 3]]], "float32", "has the shape [1, 1, 3]"),
    ],
)
def test_headers_are_checked_before_anything_runs(
    tmp_path: Path, values: Any, target: str, fragment: str
) -> None:
    entry = listing(tmp_path, "x", [np.zeros((1, 3), np.int8), np.array(values)])
    with pytest.raises(DataError) as caught:
        CalibrationData([spec(dtype=target)], parameters(entry))
    assert "x.txt, line 2: x1.npy: " in str(caught.value)
    assert fragment in str(caught.value)


@pytest.mark.parametrize(
    ("values", "target", "fragment"),
    [
        ([[np.nan, 0, 0]], "float32", "holds NaN"),
        ([[np.inf, 0, 0]], "float32", "holds infinite values"),
        ([[-np.inf, 0, 0]], ml_dtypes.bfloat16, "holds infinite values"),
        ([[1e300, 0, 0]], "float32", "do not fit into the input's type float32"),
        ([[70000.0, 0, 0]], "float16", "do not fit into the input's type float16"),
        ([[300, 0, 0]], "uint8", "do not fit into the input's type uint8"),
        ([[-1, 0, 0]], "uint64", "do not fit into the input's type uint64"),
    ],
)
def test_values_are_checked_when_read(tmp_path: Path, values: Any, target: Any, fragment: str) -> None:
    entry = listing(tmp_path, "x", [np.array([[0, 0, 0]]), np.array(values)])
    batches = CalibrationData([spec(dtype=target)], parameters(entry)).batches()
    next(batches)
    with pytest.raises(DataError) as caught:
        next(batches)
    assert "x.txt, line 2: x1.npy: " in str(caught.value)
    assert fragment in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY\x01\x00", b"some text that is long enough"])
def test_what_is_no_npy_file(tmp_path: Path, content: bytes) -> None:
    entry = listing(tmp_path, "x", rows(1, 1, 3))
    (tmp_path / "x0.npy").write_bytes(content)
    with pytest.raises(DataError, match=r"line 1: x0\.npy: not a npy file"):
        CalibrationData([spec()], parameters(entry))


def test_a_npy_file_that_ends_early(tmp_path: Path) -> None:
    entry = listing(tmp_path, "x", rows(1, 1, 3))
    path = tmp_path / "x0.npy"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(DataError, match=r"line 1: x0\.npy: cannot read the npy file"):
        list(CalibrationData([spec()], parameters(entry)).batches())


def test_python_objects_are_refused(tmp_path: Path) -> None:
    entry = listing(tmp_path, "x", [np.array([{}], object)])
    with pytest.raises(DataError, match="holds Python objects"):
        CalibrationData([spec()], parameters(entry))


def test_a_mean_for_arrays_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    entry = listing(tmp_path, "x", rows(1, 1, 3)) | {"mean_value": [1]}
    with caplog.at_level(logging.WARNING, "xslim"):
        CalibrationData([spec()], parameters(entry))
    assert "apply to images, not to npy files" in caplog.text


# Raw files


def raw(folder: Path, *contents: bytes) -> dict[str, Any]:
    for index, content in enumerate(contents):
        (folder / f"{index}.bin").write_bytes(content)
    path = folder / "raw.txt"
    path.write_text("".join(f"{index}.bin\n" for index in range(len(contents))), "utf-8")
    return {"data_list_path": str(path), "file_type": "raw"}


@pytest.mark.parametrize("dtype", ["float32", "float16", "float64", "int64", "uint8", "bool"])
def test_raw_data_has_the_type_of_the_input(tmp_path: Path, dtype: str) -> None:
    values = np.array([[1, 0, 1], [0, 0, 1]]).astype(dtype)
    entry = raw(tmp_path, values.tobytes())
    data = CalibrationData([spec(shape=(None, 2, 3), dtype=dtype)], parameters(entry))
    (feeds,) = data.batches()
    assert feeds["x"].dtype == dtype
    assert np.array_equal(feeds["x"], values[None])


def test_raw_data_of_the_wrong_size(tmp_path: Path) -> None:
    entry = raw(tmp_path, bytes(12), bytes(13))
    with pytest.raises(DataError, match=r"raw.txt, line 2: 1.bin: the file has 13 bytes, the input needs 12"):
        CalibrationData([spec()], parameters(entry))


def test_raw_data_needs_a_known_shape(tmp_path: Path) -> None:
    entry = raw(tmp_path, bytes(24))
    with pytest.raises(ConfigError, match=r"raw files have no shape of their own .*set input_shape"):
        CalibrationData([spec(shape=(None, None))], parameters(entry))
    data = CalibrationData([spec(shape=(None, None))], parameters(entry | {"input_shape": [1, 6]}))
    assert shapes(data) == [(1, 6)]


def test_raw_data_may_hold_nan(tmp_path: Path) -> None:
    entry = raw(tmp_path, np.array([1, np.nan, 2], np.float32).tobytes())
    with pytest.raises(DataError, match=r"line 1: 0\.bin: holds NaN"):
        list(CalibrationData([spec()], parameters(entry)).batches())


# Several inputs


def test_lists_are_zipped_and_entries_found_by_name(tmp_path: Path) -> None:
    first = listing(tmp_path, "a", rows(3, 1, 3)) | {"input_name": "a"}
    second = listing(tmp_path, "b", [10 + row for row in rows(3, 1, 2)]) | {"input_name": "b"}
    data = CalibrationData([spec("a"), spec("b", (1, 2))], parameters(second, first))
    assert [(feeds["a"][0, 0], feeds["b"][0, 0]) for feeds in data.batches()] == [(0, 10), (1, 11), (2, 12)]


@pytest.mark.parametrize("batch_size", [1, 2])
def test_a_list_of_one_line_serves_all_samples(tmp_path: Path, batch_size: int) -> None:
    many, one = listing(tmp_path, "a", rows(4, 1, 3)), listing(tmp_path, "b", [np.float32([[7, 8]])])
    data = CalibrationData([spec("a"), spec("b", (None, 2))], parameters(many, one))
    assert len(data) == 4
    values = [feeds["b"] for feeds in data.batches(batch_size)]
    assert np.array_equal(np.concatenate(values), [[7, 8]] * 4)
    assert {value.shape[0] for value in values} == {batch_size}


def test_lists_of_unequal_length(tmp_path: Path) -> None:
    entries = listing(tmp_path, "a", rows(4, 1, 3)), listing(tmp_path, "b", rows(3, 1, 3))
    with pytest.raises(DataError) as caught:
        CalibrationData([spec("a"), spec("b")], parameters(*entries))
    assert "b.txt, line 3" in str(caught.value)
    assert "the list of input b ends after 3 files, the list of a has 4" in str(caught.value)


def test_entries_must_match_the_inputs(tmp_path: Path) -> None:
    entry = listing(tmp_path, "x", rows(1, 1, 3))
    cases: list[tuple[list[InputSpec], list[dict[str, Any]], str]] = [
        (
            [spec("a"), spec("b")],
            [entry],
            r"has 1 entries but the model has 2 inputs: a \[\?, 3\] float32, b",
        ),
        ([spec("a")], [entry, entry], "has 2 entries but the model has 1 inputs"),
        ([spec("images")], [entry | {"input_name": "image"}], "no input 'image' .did you mean images"),
        ([spec("images")], [entry | {"input_name": "q"}], "no input 'q' .the inputs are images"),
        ([spec("a"), spec("b")], [entry | {"input_name": "b"}, entry], "two entries feed the input 'b'"),
        ([spec()], [entry | {"dtype": "int64"}], r"\[0\].dtype: is int64 but the model's input x is float32"),
        ([spec()], [entry | {"input_shape": [1, 4]}], r"\[0\].input_shape: \[1, 4\] does not fit"),
        (
            [spec()],
            [entry | {"input_shape": [3]}],
            r"\[3\] does not fit the model's input x of shape \[\?, 3\]",
        ),
    ]
    for specs, entries, fragment in cases:
        with pytest.raises(ConfigError, match=fragment):
            CalibrationData(specs, parameters(*entries))


# Batches


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_batches_keep_the_order_and_the_last_is_smaller(tmp_path: Path, workers: int) -> None:
    data = CalibrationData([spec()], parameters(listing(tmp_path, "x", rows(7, 1, 3))))
    batches = [feeds["x"] for feeds in data.batches(3, workers)]
    assert [batch.shape for batch in batches] == [(3, 3), (3, 3), (1, 3)]
    assert np.concatenate(batches)[:, 0].tolist() == list(range(7))


def test_a_fixed_batch_of_one_runs_one_by_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = CalibrationData([spec(shape=(1, 3))], parameters(listing(tmp_path, "x", rows(3, 3))))
    with caplog.at_level(logging.INFO, "xslim"):
        assert shapes(data, batch_size=8) == [(1, 3)] * 3
    assert "samples run one by one" in caplog.text


def test_samples_of_different_shapes_come_alone(tmp_path: Path) -> None:
    arrays = [np.zeros((1, length), np.float32) for length in (4, 4, 5, 5, 6)]
    data = CalibrationData([spec(shape=(None, None))], parameters(listing(tmp_path, "x", arrays)))
    assert shapes(data, batch_size=2) == [(2, 4), (2, 5), (1, 6)]
    assert shapes(data, batch_size=3) == [(1, 4), (1, 4), (1, 5), (1, 5), (1, 6)]


@pytest.mark.parametrize("shape", [(3,), (1, 3)])
def test_a_fixed_batch_is_filled(
    tmp_path: Path, shape: tuple[int, ...], caplog: pytest.LogCaptureFixture
) -> None:
    data = CalibrationData([spec(shape=(2, 3))], parameters(listing(tmp_path, "x", rows(5, *shape))))
    with caplog.at_level(logging.WARNING, "xslim"):
        batches = [feeds["x"][:, 0].tolist() for feeds in data.batches()]
    assert batches == [[0, 1], [2, 3]]
    assert "the last 1 of 5 samples are left out" in caplog.text


def test_a_file_may_hold_a_whole_batch(tmp_path: Path) -> None:
    data = CalibrationData([spec(shape=(2, 3))], parameters(listing(tmp_path, "x", rows(3, 2, 3))))
    assert shapes(data) == [(2, 3)] * 3


def test_a_fixed_batch_needs_enough_samples(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the model's batch is 4 but there are only 3 samples"):
        CalibrationData([spec(shape=(4, 3))], parameters(listing(tmp_path, "x", rows(3, 3))))


def test_whole_and_part_batches_do_not_mix(tmp_path: Path) -> None:
    entry = listing(tmp_path, "x", [np.zeros((2, 3), np.float32), np.zeros((1, 3), np.float32)])
    with pytest.raises(DataError, match="some files of the list hold a whole batch"):
        CalibrationData([spec(shape=(2, 3))], parameters(entry))
    parts, wholes = listing(tmp_path, "a", rows(4, 3)), listing(tmp_path, "b", rows(4, 2, 3))
    with pytest.raises(DataError, match="one run takes 2 files for some inputs but 1 for b"):
        CalibrationData([spec("a", (2, 3)), spec("b", (2, 3))], parameters(parts, wholes))


def test_a_shared_whole_batch_serves_every_run(tmp_path: Path) -> None:
    parts, whole = listing(tmp_path, "a", rows(4, 3)), listing(tmp_path, "b", rows(1, 2, 3))
    data = CalibrationData([spec("a", (2, 3)), spec("b", (2, 3))], parameters(parts, whole))
    assert shapes(data, "a") == shapes(data, "b") == [(2, 3), (2, 3)]


# Inputs of a model


def test_specs_of_a_model() -> None:
    assert input_specs(ir.from_proto(models.two_inputs("n"))) == [
        InputSpec("image", (None, 3, 8, 8), np.dtype(np.float32)),
        InputSpec("vector", (None, 5), np.dtype(np.float32)),
    ]
    (tokens,) = input_specs(ir.from_proto(models.token_net()))
    assert (tokens.shape, tokens.dtype) == ((None, None), np.dtype(np.int64))


def test_initializers_listed_as_inputs_are_not_fed() -> None:
    proto = models.mlp()
    for initializer in proto.graph.initializer:
        info = helper.make_tensor_value_info(initializer.name, TensorProto.FLOAT, initializer.dims)
        proto.graph.input.append(info)
    assert [spec.name for spec in input_specs(ir.from_proto(proto))] == ["x"]


def test_text_cannot_be_fed() -> None:
    node = helper.make_node("Identity", ["x"], ["y"])
    proto: onnx.ModelProto = models.model(
        [node], {"x": [1]}, {"y": [1]}, input_type=TensorProto.STRING, output_type=TensorProto.STRING
    )
    with pytest.raises(ModelError, match="only tensors of numbers can be fed"):
        input_specs(ir.from_proto(proto))
