"""Divide tensors into groups, so that the outputs of one batch stay within a memory budget."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence

import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from xslim.graph.outputs import with_outputs
from xslim.runtime import Feeds

MEGABYTE = 1 << 20
SHARE_OF_MACHINE = 4
FLOAT_BYTES = 4


def default_budget_mb() -> int:
    """A quarter of the machine's memory, in MiB."""
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return max(1, pages * size // SHARE_OF_MACHINE // MEGABYTE)


def group_tensors(sizes: Mapping[str, int], budget: int) -> list[list[str]]:
    """Split tensors into groups whose total size stays within a budget.

    A tensor that is larger than the budget forms a group of its own.

    Parameters
    ----------
    sizes : mapping of str to int
        Bytes of each tensor in one batch.
    budget : int
        Bytes.

    Returns
    -------
    list of list of str
        In the order of `sizes`, so that a group's tensors lie close together in the graph.
    """
    groups: list[list[str]] = []
    used = 0
    for name, size in sizes.items():
        if not groups or (used + size > budget and groups[-1]):
            groups.append([])
            used = 0
        groups[-1].append(name)
        used += size
    return groups


def output_bytes(model: ir.Model, tensors: Sequence[str], feeds: Feeds) -> dict[str, int]:
    """Return the bytes of each tensor in a run on `feeds`; dimensions of unknown size count as 1."""
    concrete = with_outputs(model, tensors)
    if not all(_is_known(value) for value in concrete.graph.outputs):
        _infer_shapes(concrete, feeds)
    batch = max((array.shape[0] for array in feeds.values() if array.ndim), default=1)
    return {str(value.name): _bytes(value, batch) for value in concrete.graph.outputs}


def _is_known(value: ir.Value) -> bool:
    return value.shape is not None and all(isinstance(dim, int) for dim in value.shape[1:])


def _infer_shapes(model: ir.Model, feeds: Feeds) -> None:
    for value in model.graph.inputs:
        if (name := str(value.name)) in feeds:
            value.shape = ir.Shape(feeds[name].shape)
    for node in model.graph:
        for output in node.outputs:
            output.shape = None
    ShapeInferencePass()(model)


def _bytes(value: ir.Value, batch: int) -> int:
    shape = value.shape or ir.Shape([])
    sizes = [dim if isinstance(dim, int) else batch if axis == 0 else 1 for axis, dim in enumerate(shape)]
    return math.ceil(math.prod(sizes) * (value.dtype.itemsize if value.dtype else FLOAT_BYTES))
