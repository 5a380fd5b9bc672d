"""Sketches on disk: one versioned file with a checksum, bound to the model and the samples by a key."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass, field
from pathlib import Path

from xslim.files import write_whole
from xslim.kernels import Sketch

logger = logging.getLogger(__name__)

MAGIC = b"XSLIM-SKETCHES-1\n"
DIGEST_BYTES = 32
LENGTH_BYTES = 8


@dataclass(frozen=True)
class StoredSketches:
    """What one file holds.

    Attributes
    ----------
    key : str
        See `calibration_key`.
    shard : pair of int
        Which part of the samples, ``(index, count)`` with the index from 0; ``(0, 1)`` is all of them.
    batch_size : int
        Samples that were decoded together; nothing depends on it.
    batches : dict of str to int
        How many runs of the model each tensor's sketch has seen: less than all of them in a checkpoint.
    complete : bool
        Whether every sketch has seen the whole shard.
    sketches : dict of str to Sketch
        One per observed tensor.
    early : dict of str to (low, high)
        Extremes of each tensor after three quarters of the samples: what the last quarter added shows
        whether there were enough.
    """

    key: str
    shard: tuple[int, int]
    batch_size: int
    batches: dict[str, int]
    complete: bool
    sketches: dict[str, Sketch]
    early: dict[str, tuple[float, float]] = field(default_factory=dict)


def save_sketches(path: Path, stored: StoredSketches) -> None:
    """Write a sketch file whole or not at all.

    Raises
    ------
    OutputError
        The place cannot be written.
    """
    blobs = [stored.sketches[name].to_bytes() for name in stored.batches]
    header = {
        "key": stored.key,
        "shard": stored.shard,
        "batch_size": stored.batch_size,
        "batches": stored.batches,
        "complete": stored.complete,
        "early": stored.early,
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
        None, with a warning in the log, when the file is damaged, cut short or not a sketch file.
    """
    try:
        content = path.read_bytes()
        return _parse(content)
    except (OSError, ValueError, KeyError) as error:
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
    header = json.loads(body[LENGTH_BYTES:end])
    sketches = {}
    for name, size in zip(header["batches"], header["sizes"], strict=True):
        sketches[name] = Sketch.from_bytes(body[end : end + size])
        end += size
    index, count = header["shard"]
    return StoredSketches(
        header["key"],
        (index, count),
        header["batch_size"],
        header["batches"],
        header["complete"],
        sketches,
        {name: (low, high) for name, (low, high) in header["early"].items()},
    )
