"""Memory that nobody uses is given back: by kept outputs, by changed models, by the child process."""

from __future__ import annotations

import subprocess
import sys
import weakref
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from xslim.runtime import Isolated, copied, free_copies

PROGRAM = """
import resource, sys
import numpy as np
from onnx import helper, TensorProto as T
from xslim.runtime import Session, copied, give_back
size = 16 << 20
graph = helper.make_graph(
    [helper.make_node("Expand", ["x", "s"], ["big"]), helper.make_node("ReduceSum", ["big"], ["y"])],
    "g",
    [helper.make_tensor_value_info("x", T.FLOAT, [1])],
    [helper.make_tensor_value_info("y", T.FLOAT, None)],
    [helper.make_tensor("s", T.INT64, [1], [size])],
)
data = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
kept = []
for _ in range(8):
    outputs = Session(data, threads=1).run({"x": np.ones(1, np.float32)})
    kept.append(copied(outputs) if sys.argv[1] == "copied" else outputs)
    del outputs
    give_back()
pages = int(open("/proc/self/statm").read().split()[1])
print(pages * resource.getpagesize() >> 20)
"""


def test_copies_are_equal_and_own_their_memory() -> None:
    base = np.arange(12.0)
    view = base[2:8]
    (array, other) = copied([view, [view]])
    assert np.array_equal(array, view)
    assert not np.shares_memory(array, base)
    assert other == [view]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_kept_copies_do_not_keep_the_memory_of_closed_sessions() -> None:
    def megabytes(how: str) -> int:
        result = subprocess.run(
            [sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True
        )
        return int(result.stdout)

    # Each session needs 64 MB for its inner tensor.
    assert megabytes("copied") + 256 < megabytes("as they are")


def with_weights(megabytes: int) -> ir.Model:
    model = ir.from_onnx_text("""
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[1, 1024] x) => (float[1, n] y) { y = MatMul (x, w) }
    """)
    array = np.ones((1024, megabytes << 8), np.float32)
    value = ir.Value(name="w", const_value=ir.Tensor(array, name="w"))
    model.graph.register_initializer(value)
    model.graph.node(0).replace_input_with(1, value)
    return model


def test_unused_copies_of_large_models_are_freed() -> None:
    model = with_weights(64)
    copy = weakref.ref(model.clone())
    free_copies(model)
    assert copy() is None


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_child_gives_the_memory_of_unused_sessions_back() -> None:
    def megabytes(pid: int | None) -> int:
        status = Path(f"/proc/{pid}/status").read_text()
        return int(status.split("RssAnon:")[1].split()[0]) >> 10

    feeds = {"x": np.ones((1, 1024), np.float32)}
    with Isolated() as isolated:
        used, unused = (isolated.session(with_weights(size)) for size in (1, 64))
        unused.run(feeds)
        del unused
        before = megabytes(isolated.pid)
        isolated.give_back()
        assert megabytes(isolated.pid) < before - 48
        assert used.run(feeds)[0].shape == (1, 256)
