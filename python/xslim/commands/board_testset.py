"""Write a folder for the vendor's ``onnx_test_runner``: a model, its inputs and the expected outputs."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from xslim.commands.compared_samples import samples_to_compare
from xslim.errors import OutputError
from xslim.files import scratch_folder
from xslim.graph.inputs import input_specs
from xslim.graph.io import load_model
from xslim.runtime import Isolated

README = """# {name} on the board

`{name}.onnx` with {count} samples; onnxruntime computed the outputs on a PC, with every QuantizeLinear and
DequantizeLinear as written. Copy this folder to the board and run, in the folder of the vendor's tools:

    onnx_test_runner {folder} -j 1 -X 4 -e spacemit
    onnxruntime_perf_test {folder}/{name}.onnx -e spacemit -r 10 -x 4 -S 1 -s -I -c 1
    SPACEMIT_EP_DUMP_TENSORS={folder}/dumps onnx_test_runner {folder} -j 1 -X 4 -e spacemit

The first command compares the outputs, the second one measures the time, the third one writes the inner
tensors, which `xslim board compare` reads. If figures differ, `SPACEMIT_EP_DISABLE_FLOAT16_EPILOGUE=1` scales
in float32.
"""


def write_test_set(model: Path, data: Path | None, count: int, folder: Path) -> Path:
    """Write model, ``test_data_k/input_j.pb`` and ``output_j.pb`` into a folder.

    Parameters
    ----------
    model : Path
        The model for the board.
    data : Path or None
        A configuration, a list, a folder or an ``.npz`` file; without it one random sample.
    count : int
        Largest number of samples.
    folder : Path
        The folder to write; it must not exist or be empty.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    OutputError
        The folder is not empty or cannot be written; nothing is left half-written then.
    XSlimError
        The model or a sample is wrong.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError("exists and is not an empty folder", where=str(folder), hint="name another one")
    loaded = load_model(model)
    specs, outputs = input_specs(loaded), [value.name or "" for value in loaded.graph.outputs]
    parent = folder.absolute().parent
    try:
        with Isolated() as isolated, scratch_folder(parent) as scratch:
            session = isolated.session(model, outputs, qdq_as_written=True)
            used = 0
            for feeds in samples_to_compare(loaded, session, data, count):
                place = scratch / f"test_data_{used}"
                place.mkdir()
                _write(place, "input", [(spec.name, feeds[spec.name]) for spec in specs])
                _write(place, "output", list(zip(outputs, session.run(feeds), strict=True)))
                used += 1
            _copy_model(model, scratch)
            text = README.format(name=model.stem, count=used, folder=folder.name)
            (scratch / "README.md").write_text(text, "utf-8")
            if folder.is_dir():
                folder.rmdir()
            shutil.copytree(scratch, folder)
    except OSError as error:
        raise OutputError(f"cannot write the folder: {error.strerror or error}", where=str(folder)) from error
    return folder


def _write(place: Path, kind: str, arrays: Sequence[tuple[str, NDArray[np.generic]]]) -> None:
    for number, (name, array) in enumerate(arrays):
        tensor = numpy_helper.from_array(np.asarray(array), name)
        (place / f"{kind}_{number}.pb").write_bytes(tensor.SerializeToString())


def _copy_model(model: Path, folder: Path) -> None:
    shutil.copyfile(model, folder / model.name)
    for tensor in onnx.load(model, load_external_data=False).graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location" and not (folder / entry.value).exists():
                shutil.copyfile(model.parent / entry.value, folder / entry.value)
