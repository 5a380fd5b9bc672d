"""Putting the sketches of shards together again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

from xslim.calibration.store import StoredSketches, load_sketches
from xslim.errors import DataError
from xslim.kernels import Sketch

SHOWN = 5
HINT = "collect the shards again, all with the same configuration"


def merge_shards(paths: Sequence[Path], key: str, tensors: Sequence[str] | None = None) -> dict[str, Sketch]:
    """Merge the files of all shards of one calibration; exact, in any order.

    Parameters
    ----------
    paths : sequence of Path
        The files that ``xslim collect`` wrote: every shard once.
    key : str
        The key of the model and the samples that the sketches must belong to.
    tensors : sequence of str, optional
        What every file must hold; by default what the first one holds.

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
        tensors = list(stored.sketches) if tensors is None else tensors
        if list(stored.sketches) != list(tensors):
            raise DataError("does not hold the sketches of all tensors", where=str(path), hint=HINT)
        if stored.shard in found:
            raise DataError(
                f"shard {_show(stored.shard)} is given twice", where=str(path), hint="name every file once"
            )
        found[stored.shard] = stored
    _require_whole(found)
    merged, *others = (found[shard].sketches for shard in sorted(found))
    try:
        for sketches in others:
            for name, sketch in sketches.items():
                merged[name].merge(sketch)
    except ValueError as error:
        raise DataError(f"the shards cannot be put together: {error}", hint=HINT) from error
    return merged


def found_masks(paths: Sequence[Path]) -> frozenset[str] | None:
    """Return the tensors that all shards found to hold infinities; None where the shards do not agree."""
    found = {stored.masks for path in paths if (stored := load_sketches(path)) is not None}
    return frozenset(found.pop()) if len(found) == 1 else None if found else frozenset()


def _require_whole(found: Mapping[tuple[int, int], StoredSketches]) -> None:
    count = next(iter(found))[1]
    if len(found) == count and all(shard[1] == count for shard in found):
        return
    # A count in a file may be anything: no more of it is looked at than is shown.
    missing = islice(((index, count) for index in range(count) if (index, count) not in found), SHOWN)
    names = ", ".join(map(_show, missing)) or "none, but others are mixed in"
    more = f" and {count - len(found) - SHOWN} more" if count - len(found) > SHOWN else ""
    raise DataError(
        f"the shards do not make a whole: missing {names}{more}", hint="give all parts of one division"
    )


def _load(path: Path, key: str) -> StoredSketches:
    if not path.exists():
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
