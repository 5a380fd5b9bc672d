"""Compare the tensors that the provider dumped on the board with those of onnxruntime on a PC."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx import numpy_helper

from xslim import kernels
from xslim.commands.compared_samples import samples_to_compare
from xslim.errors import DataError
from xslim.graph.inputs import input_specs
from xslim.graph.io import load_model
from xslim.graph.outputs import values_by_name, with_outputs
from xslim.runtime import Feeds, Isolated

Array = NDArray[np.generic]

INPUT_FILE = "test_data_0/input_{}.pb"
"""Where ``xslim board export`` keeps the inputs of its first sample."""


@dataclass(frozen=True)
class TensorDifference:
    """A tensor on the board against the same tensor on a PC.

    Attributes
    ----------
    tensor, node : str
        The tensor, and the operator that writes it.
    depth : int
        Place of the operator in the graph.
    sqnr_db : float
        Signal energy over the energy of the difference in decibels; infinite if both are equal.
    max_abs_error : float
        Largest difference.
    """

    tensor: str
    node: str
    depth: int
    sqnr_db: float
    max_abs_error: float

    def as_json(self) -> dict[str, Any]:
        """Return plain data for JSON; an infinite ratio is null."""
        return asdict(self) | {"sqnr_db": self.sqnr_db if math.isfinite(self.sqnr_db) else None}


def compare_dumps(dumps: Path, model: Path, data: Path | None) -> list[TensorDifference]:
    """Compare dumped tensors with those of a model on the same sample.

    Parameters
    ----------
    dumps : Path
        Folder of ``.npy`` files, named after the tensors; characters that file names cannot hold may be
        replaced.
    model : Path
        The model that ran on the board.
    data : Path or None
        What ran on the board: a folder of ``xslim board export`` (its first sample is taken), or data as for
        ``xslim compare``. Without it, the folder of the model is taken for such a folder.

    Returns
    -------
    list of TensorDifference
        In the order of the graph.

    Raises
    ------
    DataError
        There are no dumps, or none belongs to a tensor of the model.
    """
    loaded = load_model(model)
    files = _files(dumps, loaded)
    names = list(files)
    with Isolated() as isolated:
        session = isolated.session(with_outputs(loaded, names), names, qdq_as_written=True)
        feeds = _sample(loaded, model, data, isolated)
        found = dict(zip(names, session.run(feeds), strict=True))
    order = {node: depth for depth, node in enumerate(loaded.graph)}
    rows = []
    for name, value in ((name, values_by_name(loaded.graph)[name]) for name in names):
        node = value.producer()
        dumped = _read(files[name], found[name])
        errors = kernels.ErrorMetrics()
        errors.update(found[name].astype(np.float32), dumped.astype(np.float32))
        depth = order.get(node, -1) if node is not None else -1
        writer = f"{node.name} ({node.op_type})" if node is not None else "the caller"
        rows.append(TensorDifference(name, writer, depth, errors.sqnr_db, errors.max_abs_error))
    return sorted(rows, key=lambda row: row.depth)


def _files(dumps: Path, model: ir.Model) -> Mapping[str, Path]:
    """Return the file of every dumped tensor of the model that holds numbers."""
    if not dumps.is_dir():
        raise DataError(
            "there is no such folder", where=str(dumps), hint="SPACEMIT_EP_DUMP_TENSORS names it on the board"
        )
    by_stem = {_plain(path.stem): path for path in sorted(dumps.rglob("*.npy"))}
    written = [output for node in model.graph for output in node.outputs]
    found = {value.name: by_stem[_plain(value.name)] for value in written if _plain(value.name) in by_stem}
    files = {name: path for name, path in found.items() if name}
    if not files:
        raise DataError(
            f"none of {len(by_stem)} .npy files has the name of a tensor of the model",
            where=str(dumps),
            hint="give the model that ran on the board",
        )
    return files


def _plain(name: str | None) -> str:
    """Return a name as a dump may spell it: every character that is no letter or digit is one underscore."""
    return re.sub(r"[^A-Za-z0-9]", "_", name or "")


def _read(path: Path, reference: Array) -> Array:
    try:
        array: Array = np.load(path, allow_pickle=False)
    except Exception as error:
        raise DataError(f"not a npy file: {error}", where=str(path), hint="copy the dumps again") from error
    if array.size != reference.size:
        raise DataError(
            f"has the shape {array.shape} but the tensor of the model has {reference.shape}",
            where=str(path),
            hint="give the sample that ran on the board with --data",
        )
    return array.reshape(reference.shape)


def _sample(model: ir.Model, path: Path, data: Path | None, isolated: Isolated) -> Feeds:
    """Return the sample that ran on the board."""
    folder = path.parent if data is None else data
    files = [folder / INPUT_FILE.format(number) for number in range(len(input_specs(model)))]
    if all(file.is_file() for file in files):
        arrays = [numpy_helper.to_array(onnx.load_tensor(file)) for file in files]
        return {spec.name: array for spec, array in zip(input_specs(model), arrays, strict=True)}
    if data is None:
        raise DataError(
            "no sample is named", where="--data", hint="give the folder of xslim board export, or the data"
        )
    session = isolated.session(path, qdq_as_written=True)
    return next(iter(samples_to_compare(model, session, data, 1)))
