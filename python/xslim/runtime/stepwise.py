"""Run a model piece by piece, so that tensors and constants can be changed between the pieces."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import onnx_ir as ir
from numpy.typing import NDArray

from xslim.errors import InternalError
from xslim.graph.detached import detach
from xslim.runtime.pool import Pool
from xslim.runtime.session import Feeds, Session
from xslim.runtime.threads import thread_count

if TYPE_CHECKING:
    import onnx

Array = NDArray[Any]


class Stepwise:
    """A model that has run partly on some samples; a node runs once, when a tensor behind it is requested.

    Only tensors that a later node reads are kept in memory. Each sample runs in a single thread, so the
    values do not depend on the number of threads.

    Parameters
    ----------
    model : onnx_ir.Model
        The model; it is not changed.
    samples : sequence of feeds
        Arrays by input name.
    qdq_as_written : bool
        As for `Session`.
    """

    def __init__(self, model: ir.Model, samples: Sequence[Feeds], *, qdq_as_written: bool = False) -> None:
        import onnx

        data, self._weights = detach(model)
        self._proto = onnx.ModelProto.FromString(data)
        self._qdq_as_written = qdq_as_written
        self._constants = {tensor.name: tensor for tensor in self._proto.graph.initializer}
        self._waiting = dict(enumerate(self._proto.graph.node))
        self._makers = {name: index for index, node in self._waiting.items() for name in node.output if name}
        self._unread = Counter(name for node in self._waiting.values() for name in _reads(node))
        self._live: list[dict[str, Array]] = [dict(feeds) for feeds in samples]

    def reach(self, name: str) -> list[Array]:
        """Run the nodes before the tensor that have not run yet; return the tensor's value for each sample.

        Raises
        ------
        KeyError
            The tensor was dropped, because no later node reads it.
        ModelError
            onnxruntime cannot run the piece.
        """
        piece = self._missing(name)
        if piece:
            self._run([self._waiting.pop(index) for index in piece], name)
        return [live[name] for live in self._live]

    def change(self, name: str, function: Callable[[Array], Array]) -> None:
        """Replace a tensor that was reached; nodes that have not run yet read the new values."""
        for live in self._live:
            live[name] = function(live[name])

    def set_constant(self, name: str, array: Array) -> None:
        """Replace an initializer; nodes that have not run yet read the new value.

        Raises
        ------
        InternalError
            There is no initializer of that name.
        """
        from onnx import numpy_helper

        if name not in self._constants:
            raise InternalError("the model under way has no such constant", where=name)
        self._constants[name] = numpy_helper.from_array(array, name)
        self._weights.pop(name, None)

    def _missing(self, name: str) -> list[int]:
        found: set[int] = set()
        open_names = [name]
        while open_names:
            index = self._makers.get(open_names.pop())
            if index is not None and index in self._waiting and index not in found:
                found.add(index)
                open_names.extend(_reads(self._waiting[index]))
        return sorted(found)

    def _run(self, nodes: Sequence[onnx.NodeProto], target: str) -> None:
        made = dict.fromkeys(name for node in nodes for name in node.output if name)
        read = dict.fromkeys(name for node in nodes for name in _reads(node) if name not in made)
        for node in nodes:
            self._unread.subtract(_reads(node))
        kept = [name for name in made if name == target or self._unread[name] > 0]
        given = [name for name in read if name in self._live[0]]
        constants = [self._constants[name] for name in read if name in self._constants]
        session = Session(
            self._piece(nodes, given, constants, kept),
            kept,
            threads=1,
            qdq_as_written=self._qdq_as_written,
            weights={name: self._weights[name] for name in read if name in self._weights},
        )

        def run(live: dict[str, Array]) -> None:
            live.update(zip(kept, session.run({name: live[name] for name in given}), strict=True))
            for name in [name for name in live if self._unread[name] <= 0 and name != target]:
                del live[name]

        with Pool(thread_count()) as pool:
            list(pool.map(run, self._live))

    def _piece(
        self,
        nodes: Sequence[onnx.NodeProto],
        given: Sequence[str],
        constants: Sequence[onnx.TensorProto],
        kept: Sequence[str],
    ) -> bytes:
        from onnx import ValueInfoProto, helper

        inputs = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), None)
            for name, array in ((name, self._live[0][name]) for name in given)
        ]
        outputs = [ValueInfoProto(name=name) for name in kept]
        graph = helper.make_graph(nodes, "piece", inputs, outputs, constants)
        model = helper.make_model(
            graph,
            opset_imports=self._proto.opset_import,
            functions=self._proto.functions,
            ir_version=self._proto.ir_version,
        )
        data: bytes = model.SerializeToString()
        return data


def _reads(node: onnx.NodeProto) -> set[str]:
    """Return the names that a node reads, including names that its subgraphs read from outside."""
    return {name for name in _all_reads(node) if name}


def _all_reads(node: onnx.NodeProto) -> Iterator[str]:
    yield from node.input
    for attribute in node.attribute:
        for graph in [attribute.g, *attribute.graphs]:
            own = {item.name for item in [*graph.input, *graph.initializer]}
            own.update(name for inner in graph.node for name in inner.output)
            read = {name for inner in graph.node for name in _all_reads(inner)}
            yield from (read | {output.name for output in graph.output}) - own
