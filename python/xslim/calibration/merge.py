"""Putting the sketches of shards together again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from xslim.calibration.store import StoredSketches, load_sketches
from xslim.errors import DataError
from xslim.kernels import Sketch

HINT = "collect the shards again, all with the same configuration"


def merge_shards(paths: Sequence[Path], key: str) -> dict[str, Sketch]:
    """Merge the files of all shards of one calibration; exact, in any order.

    Parameters
    ----------
    paths : sequence of Path
        The files that ``xslim collect`` wrote: every shard once.
    key : str
        The key of the model and the samples that the sketches must belong to.

    Returns
    -------
    dict of str to Sketch
        The same as one undivided run would have made.

    Raises
    ------
    DataError
        A file is not a sketch file, is incomplete or belongs to another model or other samples, or a shard
        is missing or given twice.
    """
    found: dict[tuple[int, int], StoredSketches] = {}
    for path in paths:
        stored = _load(path, key)
        if stored.shard in found:
            raise DataError(
                f"shard {_show(stored.shard)} is given twice", where=str(path), hint="name every file once"
            )
        found[stored.shard] = stored
    count = next(iter(found))[1]
    wanted = {(index, count) for index in range(count)}
    if set(found) != wanted:
        missing = ", ".join(_show(shard) for shard in sorted(wanted - set(found)))
        raise DataError(
            f"the shards do not make a whole: missing {missing or 'none, but others are mixed in'}",
            hint="give all parts of one division",
        )
    merged: dict[str, Sketch] = {}
    for shard in sorted(found):
        for name, sketch in found[shard].sketches.items():
            if name in merged:
                merged[name].merge(sketch)
            else:
                merged[name] = sketch
    return merged


def _load(path: Path, key: str) -> StoredSketches:
    if not path.is_file():
        raise DataError("there is no such sketch file", where=str(path), hint="xslim collect writes it")
    stored = load_sketches(path)
    if stored is None:
        raise DataError("is not a sketch file, or is damaged", where=str(path), hint=HINT)
    if not stored.complete:
        raise DataError("was interrupted", where=str(path), hint="run the same xslim collect again")
    if stored.key != key:
        raise DataError("belongs to another model or other samples", where=str(path), hint=HINT)
    return stored


def _show(shard: tuple[int, int]) -> str:
    return f"{shard[0] + 1}/{shard[1]}"
