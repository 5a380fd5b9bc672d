"""The trade-off that the noise of single quantisers predicts: what to leave float next, and what it brings.

Noise of different quantisers adds, so the sum over the int8 quantisers predicts the error of the outputs. A
block is a run of neighbouring tensors that become float together: the operators between two float tensors
have to be paid for only once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from xslim.tuning.landscape import Landscape, Quantiser

Vector = NDArray[np.float64]

LENGTHS = (1, 2, 4, 8, 16)
"""Numbers of neighbouring tensors that are tried as a block."""
ISLAND_PRICE = 0.002
"""Price of one more int8 part of the graph, as a share of the multiply-accumulates: its conversions (set by
hand)."""
FREE = 1e-4
"""Added to every price, so that the largest of several free blocks comes first."""
LARGEST_STEP, PARTS = 0.05, (0.2, 0.4, 0.6, 0.8)
"""A step of the path that makes more than this share of the multiply-accumulates float gets stages between,
with these parts of its gain."""
SHORT_LIST = 24
"""Number of blocks whose parts of the graph are counted in one step."""
LEAST_GAIN_DB = 0.02
"""A block that gains less is not freed."""
ROOM_DB = 6.0
"""The path goes on until it is this much better than what is wanted."""
BEST_DB = 60.0


@dataclass(frozen=True)
class Stage:
    """A point of the trade-off: the blocks that are float, and what is predicted.

    Attributes
    ----------
    blocks : tuple of tuple of str
        The tensors that are float, by the decision that freed them.
    predicted_db : float
        SQNR of the worst output in dB.
    float_share : float
        Share of the multiply-accumulates that become float, 0 to 1.
    islands : int
        Connected parts of the graph that are int8.
    is_between : bool
        Whether the stage is a part of the step to the next one.
    """

    blocks: tuple[tuple[str, ...], ...]
    predicted_db: float
    float_share: float
    islands: int
    is_between: bool = False


class Predictor:
    """Predicts the outputs and the price for any set of tensors that become float."""

    def __init__(self, landscape: Landscape) -> None:
        self._landscape = landscape
        self.activations = tuple(item for item in landscape.quantisers if item.tensors)
        self._by_name = {item.name: item for item in self.activations}
        self._around: dict[str, list[Quantiser]] = {name: [] for name in landscape.macs}
        for item in landscape.quantisers:
            for operator in item.operators:
                self._around.setdefault(operator, []).append(item)
        self._neighbours: dict[str, set[str]] = {name: set() for name in landscape.macs}
        for first, second in landscape.links:
            self._neighbours[first].add(second)
            self._neighbours[second].add(first)

    def stage(self, blocks: Sequence[tuple[str, ...]]) -> Stage:
        """Predict the model in which blocks are float."""
        lost = self.lost_operators(name for block in blocks for name in block)
        return Stage(tuple(blocks), worst_db(self.noise(lost)), self.share(lost), self._islands(lost))

    def lost_operators(self, names: Iterable[str]) -> frozenset[str]:
        """Return the operators that become float with the given tensors."""
        return frozenset(operator for name in names for operator in self._by_name[name].operators)

    def leaves_work(self, lost: frozenset[str]) -> bool:
        """Whether an int8 operator with multiply-accumulates remains."""
        return any(macs for name, macs in self._landscape.macs.items() if name not in lost)

    def tensors(self, blocks: Iterable[Iterable[str]]) -> tuple[str, ...]:
        """Return the names to list in ``float_tensors`` for blocks."""
        names = (tensor for block in blocks for name in block for tensor in self._by_name[name].tensors)
        return tuple(dict.fromkeys(names))

    def noise(self, lost: frozenset[str]) -> Vector:
        """Return the noise of every output without some operators."""
        items = self._landscape.quantisers
        alive = [np.asarray(item.noise) for item in items if not lost.issuperset(item.operators)]
        return np.asarray(sum(alive, np.zeros(len(items[0].noise) if items else 1)))

    def removed(self, lost: frozenset[str], further: frozenset[str]) -> Vector:
        """Return the noise that goes with further operators."""
        items = {item.name: item for name in further for item in self._around[name]}
        after = lost | further
        gone = [np.asarray(item.noise) for item in items.values() if after.issuperset(item.operators)]
        return np.asarray(sum(gone, np.zeros(len(self._landscape.quantisers[0].noise))))

    def share(self, lost: Iterable[str]) -> float:
        """Return the share of the multiply-accumulates of some operators."""
        macs = self._landscape.macs
        return sum(macs.get(name, 0) for name in lost) / max(1, self._landscape.total_macs)

    def _islands(self, lost: frozenset[str]) -> int:
        waiting, count = set(self._landscape.macs) - lost, 0
        while waiting:
            count += 1
            border = [waiting.pop()]
            while border:
                near = self._neighbours[border.pop()] & waiting
                waiting -= near
                border.extend(near)
        return count


def worst_db(noise: Vector) -> float:
    """Return the SQNR of the worst output in dB."""
    return float(np.min(-10.0 * np.log10(np.maximum(noise, 1e-20)))) if noise.size else 200.0


def trade_off(predictor: Predictor, wanted_db: float | None) -> list[Stage]:
    """Free one block after another, the one with the best ratio of gain to price first.

    Parameters
    ----------
    predictor : Predictor
        What is known of the quantisers.
    wanted_db : float or None
        The predicted SQNR that is wanted; the path goes on a little beyond it. None to go on until little
        is left to gain.

    Returns
    -------
    list of Stage
        The path, beginning with the model in which nothing more is float.
    """
    best = BEST_DB if wanted_db is None else wanted_db + ROOM_DB
    stage = predictor.stage(())
    path = [stage]
    while stage.predicted_db < best:
        further = _best_step(predictor, stage)
        if further is None:
            break
        path += [*_between(predictor, stage, further), further]
        stage = further
    return path


def _between(predictor: Predictor, stage: Stage, further: Stage) -> list[Stage]:
    """Return stages on the way to one that is far more expensive: parts of its last block."""
    if further.float_share - stage.float_share <= LARGEST_STEP:
        return []
    gain = further.predicted_db - stage.predicted_db
    parts = [pruned(predictor, further, stage.predicted_db + part * gain) for part in PARTS]
    between: list[Stage] = []
    for part in parts:
        last = between[-1] if between else stage
        if (
            last.float_share < part.float_share < further.float_share
            and part.predicted_db > last.predicted_db
        ):
            between.append(replace(part, is_between=True))
    return between


def _best_step(predictor: Predictor, stage: Stage) -> Stage | None:
    lost = predictor.lost_operators(name for block in stage.blocks for name in block)
    noise = predictor.noise(lost)
    rated = []
    for block in _windows([item for item in predictor.activations if not lost.issuperset(item.operators)]):
        further = frozenset(name for item in block for name in item.operators) - lost
        gain = worst_db(noise - predictor.removed(lost, further)) - stage.predicted_db
        if gain >= LEAST_GAIN_DB and predictor.leaves_work(lost | further):
            rated.append((gain / (predictor.share(further) + FREE), tuple(item.name for item in block)))
    rated.sort(key=lambda item: -item[0])
    tried = [predictor.stage([*stage.blocks, names]) for _, names in rated[:SHORT_LIST]]
    return max(tried, key=lambda further: _gain_per_price(stage, further), default=None)


def _gain_per_price(stage: Stage, further: Stage) -> float:
    islands = max(0, further.islands - stage.islands)
    price = further.float_share - stage.float_share + ISLAND_PRICE * islands + FREE
    return (further.predicted_db - stage.predicted_db) / price


def _windows(items: Sequence[Quantiser]) -> Iterable[Sequence[Quantiser]]:
    for length in LENGTHS:
        for start in range(len(items) - length + 1):
            yield items[start : start + length]


def pruned(predictor: Predictor, stage: Stage, least_db: float) -> Stage:
    """Give back what the wanted SQNR does not need: blocks, or the tensors at their ends, dearest first."""
    while True:
        smaller = (predictor.stage(blocks) for blocks in _one_less(stage.blocks))
        enough = [
            other for other in smaller if other.predicted_db >= least_db and _price(other) < _price(stage)
        ]
        if not enough:
            return stage
        stage = min(enough, key=_price)


def _one_less(blocks: Sequence[tuple[str, ...]]) -> Iterable[list[tuple[str, ...]]]:
    for place, block in enumerate(blocks):
        before, behind = list(blocks[:place]), list(blocks[place + 1 :])
        yield [*before, *behind]
        if len(block) > 1:
            yield [*before, block[1:], *behind]
            yield [*before, block[:-1], *behind]


def _price(stage: Stage) -> float:
    return stage.float_share + ISLAND_PRICE * stage.islands


def knee(path: Sequence[Stage]) -> int:
    """Return the place of the stage farthest above the line from the first to the last one."""
    first, last = path[0], path[-1]
    width = max(last.float_share - first.float_share, 1e-9)
    height = max(last.predicted_db - first.predicted_db, 1e-9)

    def above(place: int) -> float:
        stage = path[place]
        gained = (stage.predicted_db - first.predicted_db) / height
        return gained - (stage.float_share - first.float_share) / width

    return max(range(len(path)), key=above)
