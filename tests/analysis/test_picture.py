"""The drawing of the graph: joined into few blocks, in layers, without overlaps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper

from tests import models
from xslim.analysis import Report, Subject
from xslim.analysis.blocks import Block, blocks_of
from xslim.analysis.graph import GraphNode, graph_nodes
from xslim.analysis.layout import HEIGHT, WIDTH, lay_out
from xslim.analysis.picture import graph_picture
from xslim.graph.io import load_model


def random_graph(size: int, seed: int) -> list[GraphNode]:
    """A long network with branches and joints, in topological order."""
    generator = np.random.default_rng(seed)
    readers: list[set[int]] = [set() for _ in range(size)]
    for index in range(1, size):
        readers[index - 1 if generator.random() < 0.8 else int(generator.integers(index))].add(index)
        if generator.random() < 0.25:
            readers[int(generator.integers(max(0, index - 12), index))].add(index)
    return [GraphNode(f"n{i}", "Conv", True, tuple(sorted(found)), None) for i, found in enumerate(readers)]


def depths(blocks: tuple[Block, ...]) -> list[int]:
    """Longest path to every block; fails to settle only if there is a cycle."""
    found = [0] * len(blocks)
    for _ in blocks:
        before = list(found)
        for index, block in enumerate(blocks):
            for reader in block.readers:
                found[reader] = max(found[reader], found[index] + 1)
        if found == before:
            return found
    raise AssertionError("there is a cycle")


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("size", "most"), [(40, 150), (500, 150), (500, 20)])
def test_blocks_hold_every_operator_once_and_make_no_cycle(size: int, most: int, seed: int) -> None:
    nodes = random_graph(size, seed)
    blocks = blocks_of(nodes, most)
    assert sorted(index for block in blocks for index in block.members) == list(range(size))
    assert len(blocks) <= most
    depths(blocks)
    owner = {index: place for place, block in enumerate(blocks) for index in block.members}
    joined = {(owner[i], owner[r]) for i, node in enumerate(nodes) for r in node.readers}
    assert {(i, r) for i, block in enumerate(blocks) for r in block.readers} == {
        (a, b) for a, b in joined if a != b
    }


def test_a_small_graph_is_drawn_operator_by_operator() -> None:
    nodes = random_graph(40, 0)
    assert [block.members for block in blocks_of(nodes)] == [(index,) for index in range(40)]


def test_readers_are_below_and_blocks_do_not_overlap() -> None:
    blocks = blocks_of(random_graph(300, 1))
    layout = lay_out(blocks)
    for index, block in enumerate(blocks):
        assert all(layout.places[reader][1] >= layout.places[index][1] + HEIGHT for reader in block.readers)
    rows: dict[float, list[float]] = {}
    for x, y in layout.places:
        rows.setdefault(y, []).append(x)
        assert 0 <= x <= layout.width - WIDTH
        assert 0 <= y <= layout.height - HEIGHT
    for row in rows.values():
        assert all(right - left >= WIDTH for left, right in zip(sorted(row), sorted(row)[1:], strict=False))


def test_a_chain_is_a_straight_line() -> None:
    blocks = tuple(Block((i,), (i + 1,) if i < 4 else ()) for i in range(5))
    assert len({x for x, _ in lay_out(blocks).places}) == 1


def test_an_empty_graph_has_no_drawing(report: Report) -> None:
    assert graph_picture(replace(report, graph=())) is None


def test_an_operator_reads_through_its_body() -> None:
    inner = helper.make_node("Identity", ["r"], ["i"], name="inner")
    body = helper.make_graph([inner], "b", [], [helper.make_tensor_value_info("i", 1, None)])
    nodes = [
        helper.make_node("Relu", ["x"], ["r"], name="relu"),
        helper.make_node("If", ["c"], ["y"], name="if", then_branch=body, else_branch=body),
    ]
    proto = models.model(nodes, {"x": [4]}, {"y": [4]}, {"c": np.array(True)})
    found = graph_nodes(load_model(proto), frozenset(), {})
    assert [(node.name, node.readers) for node in found] == [("relu", (1,)), ("if", ())]


def test_blocks_lead_to_the_rows_of_their_tensors(subject: Subject, report: Report) -> None:
    assert isinstance(subject.reference, ir.Model)
    assert [node.name for node in report.graph] == [node.name for node in subject.reference.graph]
    rows = {node.name: node.row for node in report.graph}
    written = {tensor.op_name: index for index, tensor in enumerate(report.tensors) if tensor.depth >= 0}
    assert all(rows[name] == index for name, index in written.items())
    picture = graph_picture(report)
    assert picture is not None
    drawn = {block.row: block for block in picture.blocks if block.row is not None}
    for index, block in drawn.items():
        assert block.local == f"{report.tensors[index].local.sqnr_db:.1f} dB"
