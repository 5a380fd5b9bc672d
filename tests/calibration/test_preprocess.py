"""Tests of preprocessing functions that users write."""

from __future__ import annotations

import json
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xslim.calibration.data import CalibrationData
from xslim.config import CalibrationParameters
from xslim.errors import DataError
from xslim.graph.inputs import InputSpec


def prepare(
    folder: Path,
    body: str,
    *,
    shape: tuple[int | None, ...] = (None, 2),
    dtype: str = "float32",
    reference: str = "pre.py:run",
    count: int = 3,
    **fields: Any,
) -> CalibrationData:
    """Write a preprocessing file and open data that use it; the calibration files do not matter."""
    (folder / "pre.py").write_text(textwrap.dedent(body), "utf-8")
    for index in range(count):
        (folder / f"{index}.any").write_text(str(index), "utf-8")
    (folder / "list.txt").write_text("".join(f"{index}.any\n" for index in range(count)), "utf-8")
    entry = {"data_list_path": str(folder / "list.txt"), "preprocess_file": reference, **fields}
    parameters = CalibrationParameters.model_validate({"input_parameters": [entry]})
    return CalibrationData([InputSpec("x", shape, np.dtype(dtype))], parameters, base_dir=folder)


GOOD = """
    import numpy as np

    def run(paths, parameters):
        return np.array([[float(open(path).read()), len(paths)] for path in paths])
"""


@pytest.mark.parametrize(("batch_size", "expected"), [(1, [1, 1, 1]), (2, [2, 2, 1])])
def test_it_is_called_with_the_paths_of_a_batch(tmp_path: Path, batch_size: int, expected: list[int]) -> None:
    batches = [feeds["x"] for feeds in prepare(tmp_path, GOOD).batches(batch_size, workers=2)]
    assert np.concatenate(batches).tolist() == [[index, size] for index, size in enumerate(expected)]
    assert batches[0].dtype == np.float32


def test_a_fixed_batch_gets_that_many_paths(tmp_path: Path) -> None:
    data = prepare(tmp_path, GOOD, shape=(3, 2))
    (feeds,) = data.batches()
    assert feeds["x"].tolist() == [[0, 3], [1, 3], [2, 3]]


def test_it_sees_the_parameters_of_its_input(tmp_path: Path) -> None:
    body = """
        import json
        import numpy as np

        def run(paths, parameters):
            with open(__file__ + ".json", "w") as file:
                json.dump(parameters, file)
            return np.zeros((len(paths), 2))
    """
    next(prepare(tmp_path, body, mean_value=[1, 2], std_value=[3, 4]).batches())
    seen = json.loads((tmp_path / "pre.py.json").read_text("utf-8"))
    assert seen["input_name"] == "x"
    assert seen["input_shape"] == [1, 2]
    assert seen["dtype"] == "float32"
    assert (seen["mean_value"], seen["std_value"]) == ([1.0, 2.0], [3.0, 4.0])
    assert (seen["file_type"], seen["color_format"]) == ("img", "bgr")
    assert Path(seen["data_list_path"]).name == "list.txt"


@pytest.mark.parametrize("method", ["__array__", "__dlpack__"])
def test_tensors_of_other_libraries_are_taken(tmp_path: Path, method: str) -> None:
    protocol = {
        "__array__": "def __array__(self, dtype=None, copy=None): return self.a",
        "__dlpack__": "def __dlpack__(self, **options): return self.a.__dlpack__(**options)\n"
        "            def __dlpack_device__(self): return self.a.__dlpack_device__()",
    }[method]
    body = f"""
        import numpy as np

        class Tensor:
            def __init__(self, a): self.a = a
            {protocol}

        def run(paths, parameters):
            return Tensor(np.full((len(paths), 2), 5, np.float32))
    """
    (feeds, *_) = prepare(tmp_path, body).batches()
    assert feeds["x"].tolist() == [[5, 5]]


def test_modules_beside_it_can_be_imported_and_the_path_stays_clean(tmp_path: Path) -> None:
    (tmp_path / "beside_helper_one.py").write_text("VALUE = 3\n", "utf-8")
    (tmp_path / "beside_helper_two.py").write_text("VALUE = 4\n", "utf-8")
    body = """
        from __future__ import annotations
        from dataclasses import dataclass
        import numpy as np
        import beside_helper_one

        @dataclass
        class Point:
            x: int

        def run(paths, parameters):
            import beside_helper_two
            return np.full((len(paths), 2), Point(beside_helper_one.VALUE * beside_helper_two.VALUE).x)
    """
    before, loaded = list(sys.path), set(sys.modules)
    (feeds, *_) = prepare(tmp_path, body, dtype="int64").batches()
    assert feeds["x"].tolist() == [[12, 12]]
    assert sys.path == before
    assert not [name for name in set(sys.modules) - loaded if "preprocess" in name]


@pytest.mark.parametrize(
    ("body", "fields", "fragment"),
    [
        ("run = 3", {}, "the file has no function 'run'"),
        ("def other(): ...", {}, "the file has no function 'run'"),
        ("import no_such_module", {}, "importing the file raised ModuleNotFoundError: No module named"),
        ("def run(:", {}, "importing the file raised SyntaxError"),
        (GOOD, {"reference": "none.py:run"}, "there is no such file"),
    ],
)
def test_what_cannot_be_loaded_is_refused_at_once(
    tmp_path: Path, body: str, fields: dict[str, Any], fragment: str
) -> None:
    with pytest.raises(DataError) as caught:
        prepare(tmp_path, body, **fields)
    assert fragment in str(caught.value)
    assert "preprocess_file" in str(caught.value)


@pytest.mark.parametrize(
    ("result", "fragment"),
    [
        ("1 / 0", "the function raised ZeroDivisionError: division by zero"),
        ("None", "the function returned NoneType, not a numpy array"),
        ("'text'", "values but the input is float32"),
        ("np.zeros((1, 3))", "has the shape [1, 3] but the input x has [?, 2]"),
        ("np.zeros((2, 2))", "has the shape [2, 2] but the input x has [?, 2]"),
        ("np.full((1, 2), np.nan)", "holds NaN"),
        ("np.zeros((1, 2), complex)", "holds complex128 values but the input is float32"),
    ],
)
def test_wrong_results_name_the_function_and_the_file(tmp_path: Path, result: str, fragment: str) -> None:
    body = f"""
        import numpy as np

        def run(paths, parameters):
            return {result}
    """
    with pytest.raises(DataError) as caught:
        next(prepare(tmp_path, body).batches())
    message = str(caught.value)
    assert fragment in message
    assert "pre.py:run for " in message
    assert "line 1: 0.any" in message
