"""Merge the sketches of shards into those of the whole calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

from xslim.calibration.store import StoredSketches, load_sketches
from xslim.errors import DataError
from xslim.kernels import Sketch, SketchFullError

SHOWN = 5
HINT = "collect the shards again, all with the same configuration"


def merge_shards(paths: Sequence[Path], key: str, tensors: Sequence[str] | None = None) -> dict[str, Sketch]:
    """Merge the sketch files of all shards of one calibration.

    The result is exact and does not depend on the order of the files.

    Parameters
    ----------
    paths : sequence of Path
        The files that ``xslim collect`` wrote, one for every shard.
    key : str
        The key of the model and the samples to which the sketches must belong.
    tensors : sequence of str, optional
        The tensors that every file must hold; by default the tensors of the first file.

    Returns
    -------
    dict of str to Sketch
        The sketches that a run over all samples would have made.

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
    except SketchFullError as error:
        raise DataError(f"the shards cannot be put together: {error}", hint=HINT) from error
    return merged


def found_masks(paths: Sequence[Path]) -> frozenset[str] | None:
    """Return the tensors that hold infinities according to every shard, or None if the shards disagree."""
    found = {stored.masks for path in paths if (stored := load_sketches(path)) is not None}
    return frozenset(found.pop()) if len(found) == 1 else None if found else frozenset()


def _require_whole(found: Mapping[tuple[int, int], StoredSketches]) -> None:
    count = next(iter(found))[1]
    if len(found) == count and all(shard[1] == count for shard in found):
        return
    # The count comes from a file and may be huge, so the search stops after as many as the message shows.
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
