"""Read and write sketch files: versioned, with a checksum and the key of the model and the samples."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    StrictBool,
    StrictInt,
    StrictStr,
    ValidationError,
    field_validator,
)

from xslim.files import require_content, write_whole
from xslim.kernels import Sketch

logger = logging.getLogger(__name__)

MAGIC = b"XSLIM-SKETCHES-1\n"
DIGEST_BYTES = 32
Number = Annotated[StrictInt, Field(ge=0, lt=2**63)]
LENGTH_BYTES = 8


@dataclass(frozen=True)
class StoredSketches:
    """The contents of one sketch file.

    Attributes
    ----------
    key : str
        Hash of the model and the samples, see `calibration_key`.
    shard : pair of int
        The part of the samples, ``(index, count)`` with the index from 0; ``(0, 1)`` means all samples.
    batch_size : int
        Number of samples that were decoded together; the sketches do not depend on it.
    batches : dict of str to int
        Number of runs of the model in the sketch of each tensor; a checkpoint has not seen all runs.
    complete : bool
        Whether every sketch contains the whole shard.
    sketches : dict of str to Sketch
        One per observed tensor.
    early : dict of str to (low, high)
        Extremes of each tensor after three quarters of the samples. If the last quarter widens them much,
        there were too few samples.
    groups : tuple of int
        Number of tensors that each pass observes, in the order of the passes. The last bits of a tensor
        depend on its group, so a checkpoint can be continued with the same groups only.
    masks : tuple of str
        Tensors in which an earlier pass found infinities; the plan keeps them float.
    """

    key: str
    shard: tuple[int, int]
    batch_size: int
    batches: dict[str, int]
    complete: bool
    sketches: dict[str, Sketch]
    early: dict[str, tuple[float, float]] = field(default_factory=dict)
    groups: tuple[int, ...] = ()
    masks: tuple[str, ...] = ()


class _Header(BaseModel):
    """The header of a sketch file, validated by pydantic: a right checksum does not make its fields valid."""

    model_config = ConfigDict(extra="forbid")

    key: StrictStr
    shard: tuple[Number, Number]
    batch_size: Annotated[Number, Field(ge=1)]
    batches: dict[str, Number]
    complete: StrictBool
    early: dict[str, tuple[FiniteFloat, FiniteFloat]]
    groups: tuple[Number, ...] = ()
    masks: tuple[StrictStr, ...] = ()
    sizes: list[Number]

    @field_validator("shard")
    @classmethod
    def _one_of_all(cls, shard: tuple[int, int]) -> tuple[int, int]:
        if shard[0] >= shard[1]:
            raise ValueError("there is no such shard")
        return shard


def save_sketches(path: Path, stored: StoredSketches) -> None:
    """Write a sketch file; if that fails, no partial file remains.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    blobs = [stored.sketches[name].to_bytes() for name in stored.batches]
    header = {
        "key": stored.key,
        "shard": stored.shard,
        "batch_size": stored.batch_size,
        "batches": stored.batches,
        "complete": stored.complete,
        "early": stored.early,
        "groups": stored.groups,
        "masks": stored.masks,
        "sizes": [len(blob) for blob in blobs],
    }
    text = json.dumps(header).encode()
    body = b"".join([len(text).to_bytes(LENGTH_BYTES, "little"), text, *blobs])
    write_whole(path, MAGIC + hashlib.sha256(body).digest() + body)


def load_sketches(path: Path) -> StoredSketches | None:
    """Read a sketch file.

    Returns
    -------
    StoredSketches or None
        None, with a warning in the log, if the file is damaged, truncated or not a sketch file.
    """
    try:
        require_content(path)
        return _parse(path.read_bytes())
    except (OSError, ValueError) as error:
        logger.warning("%s is ignored: %s", path, error)
        return None


def _parse(content: bytes) -> StoredSketches:
    if not content.startswith(MAGIC):
        raise ValueError("it is not a sketch file of this version")
    start = len(MAGIC) + DIGEST_BYTES
    body = content[start:]
    if hashlib.sha256(body).digest() != content[len(MAGIC) : start]:
        raise ValueError("it is damaged: its checksum does not fit")
    end = LENGTH_BYTES + int.from_bytes(body[:LENGTH_BYTES], "little")
    try:
        header = _Header.model_validate_json(body[LENGTH_BYTES:end])
    except ValidationError as error:
        raise ValueError("it is damaged: its header is none") from error
    if len(header.sizes) != len(header.batches) or end + sum(header.sizes) != len(body):
        raise ValueError("it is damaged: its parts do not fill it")
    sketches = {}
    for name, size in zip(header.batches, header.sizes, strict=True):
        sketches[name] = Sketch.from_bytes(body[end : end + size])
        end += size
    return StoredSketches(
        header.key,
        header.shard,
        header.batch_size,
        header.batches,
        header.complete,
        sketches,
        header.early,
        header.groups,
        header.masks,
    )
