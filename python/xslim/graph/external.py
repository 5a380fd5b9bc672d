"""Weights in files beside the model: check their locations and read them."""

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
    """Check the location of an external tensor and make it absolute.

    The location must be relative and inside the model's folder, as the author of the model chooses it. The
    file there may be a symbolic link to a regular file outside the folder, as in the cache of the Hugging
    Face Hub: links are made by the owner of the folder, not by the author of the model.

    Parameters
    ----------
    tensor : onnx.TensorProto
        The tensor; its location is changed in place if its data are external.
    folder : Path
        The model's folder.
    where : str
        The place that errors name.

    Raises
    ------
    ModelError
        The location is absolute or leaves the folder, or it is not a readable regular file that holds the
        tensor.
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
    """Read the external data at the location that `locate` has set into the tensor."""
    if tensor.data_location != tensor.EXTERNAL:
        return
    entries = {entry.key: entry.value for entry in tensor.external_data}
    with Path(entries["location"]).open("rb") as file:
        file.seek(int(entries.get("offset", 0)))
        tensor.raw_data = file.read(int(entries.get("length", -1)))
    tensor.ClearField("data_location")
    del tensor.external_data[:]


def location(tensor: onnx.TensorProto) -> str:
    """Return the external location that a tensor declares; empty if its data are in the model itself."""
    entries = tensor.external_data if tensor.data_location == tensor.EXTERNAL else ()
    return next((entry.value for entry in entries if entry.key == "location"), "")


def _stays_inside(place: str) -> bool:
    if "\0" in place or PurePath(place).is_absolute() or PureWindowsPath(place).drive:
        return False
    # The path is checked as text, so symbolic links are not followed.
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
