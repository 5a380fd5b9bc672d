"""Weights in files beside the model: where they may lie, and how they are found."""

from __future__ import annotations

import os
import stat
from pathlib import Path, PurePath, PureWindowsPath
from typing import TYPE_CHECKING

from xslim.errors import ModelError

if TYPE_CHECKING:
    import onnx

_PATH_HINT = "keep the weights in the model's folder and name them by a relative path"


def locate(tensor: onnx.TensorProto, folder: Path, where: str) -> None:
    """Make the location of an external tensor absolute, once it is known to be allowed.

    A location is relative and stays inside the model's folder. The file there may be a symbolic link to a
    regular file, wherever that lies: the cache of the Hugging Face Hub keeps weights so. Whoever places a
    link into the folder decides where it points; a location is decided by whoever wrote the model.

    Parameters
    ----------
    tensor : onnx.TensorProto
        Changed in place when its data are external.
    folder : Path
        The model's folder.
    where : str
        What errors name as the place.

    Raises
    ------
    ModelError
        The location is absolute or leaves the folder, or there is no regular file that can be read and that
        holds the tensor.
    """
    if tensor.data_location != tensor.EXTERNAL:
        return
    name = tensor.name
    if tensor.data_type == tensor.STRING:
        raise ModelError(f"tensor {name!r} has strings as external data", where=where)
    entries = {entry.key: entry for entry in tensor.external_data}
    if not _stays_inside(location(tensor)):
        raise ModelError(
            f"external data of tensor {name!r} lie outside of the model's folder: {location(tensor)!r}",
            where=where,
            hint=_PATH_HINT,
        )
    file = folder.absolute() / location(tensor)
    _check_file(file, name, where)
    entries["location"].value = str(file)
    for key in ("offset", "length"):
        text = entries[key].value if key in entries else "0"
        if not (text.isascii() and text.isdecimal()):
            raise ModelError(f"external data of tensor {name!r} have the {key} {text!r}", where=where)


def embed(tensor: onnx.TensorProto) -> None:
    """Read external data that `locate` has found into the tensor."""
    if tensor.data_location != tensor.EXTERNAL:
        return
    entries = {entry.key: entry.value for entry in tensor.external_data}
    with Path(entries["location"]).open("rb") as file:
        file.seek(int(entries.get("offset", 0)))
        tensor.raw_data = file.read(int(entries.get("length", -1)))
    tensor.ClearField("data_location")
    del tensor.external_data[:]


def location(tensor: onnx.TensorProto) -> str:
    """Where a tensor says that its data lie; empty when they are in the model itself."""
    entries = tensor.external_data if tensor.data_location == tensor.EXTERNAL else ()
    return next((entry.value for entry in entries if entry.key == "location"), "")


def _stays_inside(place: str) -> bool:
    if "\0" in place or PurePath(place).is_absolute() or PureWindowsPath(place).drive:
        return False
    # Without looking at the disk: a link is not followed here.
    depth = 0
    for part in PurePath(place).parts:
        depth += -1 if part == ".." else 1
        if depth < 0:
            return False
    return depth > 0


def _check_file(file: Path, tensor: str, where: str) -> None:
    try:
        mode = file.stat().st_mode
    except OSError as error:
        raise ModelError(
            f"external data file {str(file)!r} of tensor {tensor!r} is missing",
            where=where,
            hint="keep it in the model's folder",
        ) from error
    if not stat.S_ISREG(mode) or not os.access(file, os.R_OK):
        raise ModelError(
            f"external data file {str(file)!r} of tensor {tensor!r} is no regular file that may be read",
            where=where,
            hint=_PATH_HINT,
        )
