"""Guess the values of a configuration from a model's inputs and operators and from folders of data."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from xslim.commands.boxes import layout_of
from xslim.errors import DataError, ModelError
from xslim.graph.inputs import InputSpec, input_specs
from xslim.passes.cut import split

logger = logging.getLogger(__name__)

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
FILE_TYPES = {**dict.fromkeys(IMAGE_SUFFIXES, "img"), ".npy": "npy", ".raw": "raw", ".bin": "raw"}

IMAGE_RANK = 4
CHANNEL_COUNTS = (1, 3, 4)
COLOURS = 3
IMAGENET_CLASSES = (1000, 1001)
IMAGENET = {
    "mean_value": [123.675, 116.28, 103.53],
    "std_value": [58.395, 57.12, 57.375],
    "preprocess_file": "PT_IMAGENET",
}
USUAL = " Often 123.675, 116.28, 103.53 and 58.395, 57.12, 57.375, as in torchvision."
USUAL_LENGTH, USUAL_SIDE = 128, 224
HEAD_RANK = 3
ARRAYS = {
    "npy": "npy: one array per file, without or with the batch dimension.",
    "raw": "raw: the bytes of the input, little-endian, without a header.",
    "img": "Images.",
}
PLACEHOLDER = "calibration/{}.txt"


@dataclass(frozen=True)
class Guess:
    """A value of the configuration with the reason for it."""

    value: Any
    reason: str = ""


Section = dict[str, Guess]


def guess_entries(model: ir.Model, data: Sequence[str]) -> tuple[list[dict[str, Any]], dict[str, list[Path]]]:
    """Guess the entries of ``input_parameters`` for a model, and find the files of each input in folders.

    Raises
    ------
    DataError
        A folder is missing or holds no calibration file.
    """
    specs = input_specs(model)
    files = {name: files_in(folder) for name, folder in match_folders(specs, data).items()}
    kinds = {name: FILE_TYPES[paths[0].suffix.lower()] for name, paths in files.items()}
    entries = [guess_entry(spec, model, kinds.get(spec.name), list_name(spec, {})) for spec in specs]
    return [{key: guess.value for key, guess in entry.items()} for entry in entries], files


def guess_entry(
    spec: InputSpec, model: ir.Model, kind: str | None, listing: str, sizes: Section | None = None
) -> Section:
    """Guess an entry of ``input_parameters``.

    Parameters
    ----------
    spec, model
        The input and its model.
    kind : str or None
        img, npy or raw; None if there are no files yet.
    listing : str
        The list of the files.
    sizes : Section, optional
        ``input_shape`` as the files tell it, or empty if they have several sizes.
    """
    entry: Section = {"input_name": Guess(spec.name)}
    layout = _image_size(spec)
    if layout is not None and kind in (None, "img"):
        entry |= _image_fields(spec, layout, model)
    else:
        entry |= _array_fields(spec, kind or "npy", sizes)
    reason = "" if kind else "CHECK: a text file with one calibration file per line."
    entry["data_list_path"] = Guess(listing, reason)
    return entry


def _image_size(spec: InputSpec) -> tuple[int, list[int | None]] | None:
    """Number of channels and the whole shape of an image input; None for any other."""
    shape = spec.shape
    if shape is None or len(shape) != IMAGE_RANK or spec.dtype.kind not in "fu":
        return None
    for channels in (shape[1], shape[3]):
        if channels in CHANNEL_COUNTS:
            return channels, list(shape)
    return None


def filled(spec: InputSpec, size: tuple[int, int]) -> list[int]:
    """Return the shape of an image input with a batch of 1, and with height and width where they are open."""
    channels_last = spec.shape is not None and spec.shape[1] not in CHANNEL_COUNTS
    usual = (*size, COLOURS) if channels_last else (COLOURS, *size)
    known = spec.shape or (None,) * IMAGE_RANK
    return [
        1,
        *(default if given is None else given for given, default in zip(known[1:], usual, strict=True)),
    ]


def _image_fields(spec: InputSpec, layout: tuple[int, list[int | None]], model: ir.Model) -> Section:
    channels, shape = layout
    fields: Section = {"file_type": Guess("img")}
    if None in shape[1:]:
        fields["input_shape"] = Guess(
            filled(spec, (USUAL_SIDE, USUAL_SIDE)), "CHECK: the model leaves the size of its images open."
        )
    if channels == COLOURS:
        fields["color_format"] = Guess("rgb", "CHECK: the order that the model was trained with, rgb or bgr.")
    if spec.dtype.kind != "f":
        return fields
    if channels == COLOURS and _classes(model) in IMAGENET_CLASSES:
        fields["mean_value"] = Guess(
            IMAGENET["mean_value"], "CHECK: torchvision's normalisation for ImageNet."
        )
        fields |= {name: Guess(IMAGENET[name]) for name in ("std_value", "preprocess_file")}
    else:
        fields["mean_value"] = Guess(
            [0.0] * channels,
            f"CHECK: (pixel - mean) / std, with pixels from 0 to 255.{USUAL if channels == COLOURS else ''}",
        )
        fields["std_value"] = Guess([255.0] * channels)
        if _detects(spec, model):
            fields["preprocess_file"] = Guess(
                "LETTERBOX", "CHECK: a YOLO detector by its output; such are trained on letterboxed images."
            )
    return fields


def _detects(spec: InputSpec, model: ir.Model) -> bool:
    """Whether an output has the shape of the head of a detector of the YOLO family."""
    height, width = filled(spec, (USUAL_SIDE, USUAL_SIDE))[2:]
    if spec.shape is None or None in spec.shape[1:] or spec.shape[1] not in CHANNEL_COUNTS:
        return False
    for output in model.graph.outputs:
        sizes = [size for size in output.shape or () if isinstance(size, int)]
        # Negative numbers could be logarithms of sides, so that no layout is excluded by its values.
        if len(sizes) == HEAD_RANK and layout_of(np.full(sizes, -1.0, np.float32), (height, width)):
            return True
    return False


def _array_fields(spec: InputSpec, kind: str, sizes: Section | None) -> Section:
    fields: Section = {
        "file_type": Guess(kind, ARRAYS[kind]),
        "dtype": Guess(spec.dtype.name),
    }
    shape = spec.shape
    if sizes is not None:
        fields |= sizes
    elif shape is not None and None in shape[1:]:
        guessed = [1, *(USUAL_LENGTH if size is None else size for size in shape[1:])]
        fields["input_shape"] = Guess(guessed, "CHECK: the sizes that the model leaves open.")
    return fields


def _classes(model: ir.Model) -> int | None:
    outputs = model.graph.outputs
    shape = outputs[0].shape if outputs else None
    last = shape[-1] if shape is not None and len(shape) > 1 else None
    return last if isinstance(last, int) else None


def guess_quantization(model: ir.Model, specs: Sequence[InputSpec]) -> Section:
    """Guess the section ``quantization_parameters``."""
    types = {node.op_type for node in model.graph.all_nodes()}
    if any(spec.dtype.kind == "i" for spec in specs):
        level = Guess(2, "Tokens in: matrix products are int8, the rest of the transformer stays float.")
    elif types & {"Softmax", "Attention"} and types & {"LayerNormalization", "Erf", "Gelu", "Attention"}:
        level = Guess(1, "A transformer: its softmax, normalisations and gelu stay float.")
    else:
        level = Guess(0, "Everything that the target runs in int8; 1 and 2 keep more in float.")
    cut = _before_suppression(model)
    reason = "What follows chooses boxes: it stays as it is, and the sizes of its tensors depend on values."
    return {
        "precision_level": level,
        **({"truncate_var_names": Guess(cut, reason)} if cut else {}),
        "finetune_level": Guess(1, "0: ranges only, 1: fast corrections, 2 and 3: reconstruction, slower."),
        "analysis_enable": Guess(True, "Writes <output_prefix>_report.html, which says where accuracy went."),
    }


def _before_suppression(model: ir.Model) -> list[str]:
    """Return the boxes and scores that non-maximum suppression reads, if they separate the graph."""
    for node in model.graph:
        if node.op_type != "NonMaxSuppression":
            continue
        names = [value.name or "" for value in node.inputs[:2] if value is not None]
        try:
            split(model, names)
        except ModelError:
            return []
        return names
    return []


def match_folders(specs: Sequence[InputSpec], data: Sequence[str]) -> dict[str, Path]:
    """Match folders with inputs."""
    names = [spec.name for spec in specs]
    found: dict[str, Path] = {}
    for text in data:
        name, separator, folder = text.partition("=")
        if separator and name in names:
            found[name] = Path(folder)
            continue
        root = Path(text)
        inside = {name: root / plain_name(name) for name in names if (root / plain_name(name)).is_dir()}
        if inside:
            found |= inside
        elif len(names) == 1:
            found[names[0]] = root
        else:
            raise DataError(
                f"the model has {len(names)} inputs: {', '.join(names)}",
                where=text,
                hint="make a folder for each inside, or give --data INPUT=PATH for each",
            )
    return found


def files_in(
    folder: Path,
    kinds: Mapping[str, str] = FILE_TYPES,
    wanted: str = "a folder, or INPUT=PATH",
    others: Sequence[str] = (),
) -> list[Path]:
    """Return the calibration files in a folder and its subfolders; all must be of one kind.

    `others` are endings that the caller has looked for already.
    """
    if not folder.is_dir():
        raise DataError("there is no such folder", where=str(folder), hint=f"--data takes {wanted}")
    inside = sorted(path for path in folder.rglob("*") if path.is_file())
    files = [path for path in inside if path.suffix.lower() in kinds]
    if not files:
        raise DataError(
            "holds no calibration file",
            where=str(folder),
            hint=f"known are {', '.join(sorted([*kinds, *others]))}",
        )
    single_kind(files, kinds, folder)
    left = [path for path in inside if path.suffix.lower() not in kinds and not path.name.startswith(".")]
    if left:
        endings = sorted({path.suffix.lower() or path.name for path in left})
        logger.info("%s: %d files of other kinds are left out: %s", folder, len(left), ", ".join(endings))
    return [path.absolute() for path in files]


def single_kind(files: Sequence[Path], kinds: Mapping[str, str], place: Path) -> str | None:
    """Return the kind of the files, which must be the same for all; None if their endings tell nothing."""
    found = {kinds[path.suffix.lower()] for path in files if path.suffix.lower() in kinds}
    if len(found) > 1:
        raise DataError(
            f"mixes {' and '.join(sorted(found))} files", where=str(place), hint="keep one kind in the folder"
        )
    return found.pop() if found else None


def list_name(spec: InputSpec, lists: Mapping[str, Path]) -> str:
    """Return the name of an input's list file, or of a placeholder if there is none yet."""
    return lists[spec.name].name if spec.name in lists else PLACEHOLDER.format(plain_name(spec.name))


def plain_name(name: str) -> str:
    """Return the name of an input as a part of a file name."""
    return "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in name)
