"""Outputs that are kept do not keep the memory of their session."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from xslim.runtime import copied

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
