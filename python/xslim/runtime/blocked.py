"""Fetch the results of convolutions in onnxruntime's own layout, without reordering them.

onnxruntime computes convolutions on blocks of 8 or 16 channels, depending on the processor, and reorders
every tensor that is an output. On networks with large tensors and little arithmetic this takes longer than
the network itself. Here the reordering is taken out of the optimised graph. The values are the same, to the
last bit; only their order differs.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from xslim.errors import ModelError
from xslim.graph.io import to_proto, weight_bytes
from xslim.runtime.engine import NONE, Engine, SessionOptions
from xslim.runtime.pool import Pool
from xslim.runtime.session import Feeds, Session
from xslim.runtime.threads import thread_count

Array = NDArray[Any]

REORDERING = "ReorderOutput"
BLOCKS = (16, 8)
"""Numbers of channels in a block. A tensor whose channels are no multiple of 16 stays reordered."""
MOST_WEIGHTS = 32 << 20
"""With more bytes of weights, the optimised graph is not written, which takes longer than it saves. Without,
resnet18 of 45 MB takes 3 to 4 % less time, with 100 samples and with 300."""


@dataclass(frozen=True)
class Blocked:
    """A tensor of images in blocks of channels.

    Attributes
    ----------
    values : array, shape (images, channels, height, width)
        In memory in the order (images, channels / block, height, width, block).
    block : int
        Number of channels in a block.
    """

    values: Array
    block: int

    @property
    def ordered(self) -> Array:
        """The values with shape (images, channels / block, height, width, block)."""
        images, channels, height, width = self.values.shape
        return self.values.reshape(images, channels // self.block, height, width, self.block)

    def plain(self) -> Array:
        """Return a copy of the tensor in the usual order."""
        return np.ascontiguousarray(self.ordered.transpose(0, 1, 4, 2, 3)).reshape(self.values.shape)


class BlockedSession:
    """A session that returns some of its outputs in blocks.

    Parameters
    ----------
    engine : Engine
        The session of the graph without reordering.
    blocks : sequence of int or None
        For every output of the session, the number of channels in a block, or None.
    """

    def __init__(self, engine: Engine, blocks: Sequence[int | None]) -> None:
        self._engine, self._blocks = engine, blocks

    def run(self, feeds: Feeds) -> list[Array | Blocked]:
        """Run the model once; errors are those of `Session.run`."""
        arrays = self._engine.run(feeds)
        return [
            array if block is None else Blocked(array, block)
            for array, block in zip(arrays, self._blocks, strict=True)
        ]


def blocked_session(
    model: ir.Model, outputs: Sequence[str], session: Session, sample: Feeds
) -> BlockedSession | None:
    """Return a session that does not reorder its outputs; None if there is none, or if it gains nothing.

    Parameters
    ----------
    model : onnx_ir.Model
        The model.
    outputs : sequence of str
        Names of the outputs to fetch, each once.
    session : Session
        The usual session of these outputs, with one thread.
    sample : feeds
        One sample, on which both sessions are compared.
    """
    if weight_bytes(model) > MOST_WEIGHTS:
        return None
    try:
        found = _without_reordering(model, outputs)
        if found is None:
            return None
        data, names = found
        engine = Engine(data, names, SessionOptions(threads=1, optimisation=NONE), {})
        with Pool(min(2, thread_count()), "xslim-blocks") as pool:
            usual, blocked = pool.map(lambda given: _timed(given, sample), [session, engine])
    except (ModelError, OSError):
        return None
    if blocked.seconds >= usual.seconds:
        return None
    blocks: list[int | None] = []
    for name, wanted, array, expected in zip(outputs, names, blocked.arrays, usual.arrays, strict=True):
        block = None if name == wanted else _block_of(array, expected)
        if name != wanted and block is None:
            return None
        blocks.append(block)
    return BlockedSession(engine, blocks)


@dataclass(frozen=True)
class _Timed:
    arrays: Sequence[Array]
    seconds: float


def _timed(session: Engine, sample: Feeds) -> _Timed:
    """Run twice, as the first run allocates memory; return the results and the time of the second run."""
    session.run(sample)
    started = time.perf_counter()
    arrays = session.run(sample)
    return _Timed(arrays, time.perf_counter() - started)


def _block_of(array: Array, expected: Array) -> int | None:
    """Return the size of the blocks with which an array is the expected one, or None."""
    fits = (
        block
        for block in BLOCKS
        if array.shape == expected.shape
        and np.array_equal(Blocked(array, block).plain(), expected, equal_nan=True)
    )
    return next(fits, None)


def _without_reordering(model: ir.Model, outputs: Sequence[str]) -> tuple[bytes, list[str]] | None:
    """Return the optimised model without reordering of outputs, and the new names of the outputs."""
    import onnx

    optimised = _optimised(model)
    graph = optimised.graph
    read = Counter(name for node in graph.node for name in node.input)
    sources = {
        node.output[0]: node.input[0]
        for node in graph.node
        if node.op_type == REORDERING and read[node.output[0]] == 0 and _channels(node) % BLOCKS[0] == 0
    }
    if not sources:
        return None
    kept = [node for node in graph.node if node.op_type != REORDERING or node.output[0] not in sources]
    del graph.node[:]
    graph.node.extend(kept)
    names = [sources.get(name, name) for name in outputs]
    del graph.output[:]
    graph.output.extend(onnx.ValueInfoProto(name=name) for name in dict.fromkeys(names))
    return optimised.SerializeToString(), names


def _channels(node: Any) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == "channels"), 1)


def _optimised(model: ir.Model) -> Any:
    """Return the graph as onnxruntime optimises it on this machine."""
    import onnx
    import onnxruntime as ort

    settings = ort.SessionOptions()
    settings.intra_op_num_threads = 1
    settings.log_severity_level = 4
    with tempfile.TemporaryDirectory() as folder:
        settings.optimized_model_filepath = str(Path(folder) / "optimised.onnx")
        data = to_proto(model).SerializeToString()
        try:
            ort.InferenceSession(data, settings, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise ModelError(f"onnxruntime does not write the optimised model: {error}") from error
        return onnx.load(settings.optimized_model_filepath)
