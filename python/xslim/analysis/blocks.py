"""Join the operators of a graph into few enough blocks to draw."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from xslim.analysis.graph import GraphNode

MOST_BLOCKS = 150
"""A drawing of more blocks is too tall to find anything in it."""


@dataclass(frozen=True)
class Block:
    """Operators that are drawn as one.

    Attributes
    ----------
    members : tuple of int
        Positions of the operators in the graph, in topological order.
    readers : tuple of int
        Positions of the blocks that read this one, in ascending order.
    """

    members: tuple[int, ...]
    readers: tuple[int, ...]


def blocks_of(nodes: Sequence[GraphNode], most: int = MOST_BLOCKS) -> tuple[Block, ...]:
    """Join operators until at most `most` blocks remain, as little as that needs.

    First only chains are joined: an operator with its only reader, if that reads nothing else. If that is not
    enough, an operator joins the block that alone feeds it, whoever else reads it. Neither makes a cycle. A
    graph of many parts that do not depend on each other may keep more blocks.

    Parameters
    ----------
    nodes : sequence of GraphNode
        In topological order.
    most : int
        Wanted number of blocks.
    """
    feeders: list[set[int]] = [set() for _ in nodes]
    for index, node in enumerate(nodes):
        for reader in node.readers:
            feeders[reader].add(index)
    block_of = list(range(len(nodes)))
    for longest, only_chains in _ways(len(nodes)):
        block_of = _joined(nodes, feeders, longest, only_chains)
        if len(set(block_of)) <= most:
            break
    return _as_blocks(nodes, block_of)


def _ways(count: int) -> Iterator[tuple[int, bool]]:
    """Yield how many operators a block may hold, and whether these must form a chain."""
    for only_chains in (True, False):
        longest = 1 if only_chains else 4
        while longest < 2 * max(count, 1):
            yield longest, only_chains
            longest *= 2


def _joined(
    nodes: Sequence[GraphNode], feeders: Sequence[set[int]], longest: int, only_chains: bool
) -> list[int]:
    """Return for every operator the first operator of its block."""
    block_of = list(range(len(nodes)))
    sizes = [1] * len(nodes)
    for index in range(len(nodes)):
        feeding = {block_of[feeder] for feeder in feeders[index]}
        if len(feeding) != 1:
            continue
        (block,) = feeding
        alone = len(feeders[index]) == 1 and all(len(nodes[item].readers) == 1 for item in feeders[index])
        if sizes[block] < longest and (alone or not only_chains):
            block_of[index] = block
            sizes[block] += 1
    return block_of


def _as_blocks(nodes: Sequence[GraphNode], block_of: Sequence[int]) -> tuple[Block, ...]:
    firsts = sorted(set(block_of))
    places = {first: place for place, first in enumerate(firsts)}
    members: list[list[int]] = [[] for _ in firsts]
    readers: list[set[int]] = [set() for _ in firsts]
    for index, first in enumerate(block_of):
        place = places[first]
        members[place].append(index)
        readers[place] |= {places[block_of[reader]] for reader in nodes[index].readers} - {place}
    return tuple(
        Block(tuple(inside), tuple(sorted(outside))) for inside, outside in zip(members, readers, strict=True)
    )
