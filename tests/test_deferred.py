"""onnx_ir and onnxscript compute as ever; what they compute with is imported when they do."""

import json
import subprocess
import sys

import pytest

COMPUTE = '''
import json
import onnx_ir as ir
N, M = ir.SymbolicDim("N"), ir.SymbolicDim("M")
results = [
    N + 1, 2 - N, N * M, N // 2, N % 3, N / 4, -N, (N + M - N).simplify(), (N * M).evaluate({"N": 2, "M": 5}),
    *(ir.SymbolicDim(text).simplify() for text in ("max(N, 3)", "Min(2*N, N)", "mod(N, 1)", "floor(N/2)")),
    ir.SymbolicDim("sqrt(N**2) + 1").simplify(), ir.SymbolicDim("max(N, M)").evaluate({"N": 2, "M": 5}),
]

import sympy, sympy.core.add
from onnx_ir._symbolic_shapes import parse_symbolic_expression
assert sympy.core.add.Add is sympy.Add
assert isinstance(parse_symbolic_expression("max(N, M)"), sympy.Max)
assert isinstance(ir.SymbolicDim(sympy.Symbol("N") + 1), ir.SymbolicDim)

from onnxscript.optimizer import fold_constants
model = ir.from_onnx_text("""<ir_version: 10, opset_import: ["" : 20]>
g () => (float[2] z) { a = Constant <value_floats = [1.5, -2.5]> () b = Floor(a) z = Neg(b) }""")
fold_constants(model, onnx_shape_inference=True)
results.append(ir.to_onnx_text(model))

print(json.dumps([str(result) for result in results]))
'''
AS_EVER = """
import sys, onnxscript
assert {"sympy", "onnx.reference"} <= set(sys.modules)
import xslim.pipeline.static
"""
XSLIM_FIRST = """
import sys, xslim.pipeline.static
assert not {"sympy", "onnx.reference"} & set(sys.modules)
"""
THREAD = """
import threading, xslim
def other():
    import sympy.printing
    assert sympy.printing.sstr(sympy.Max(sympy.Symbol("a"), 1)) == "Max(1, a)"
    done.append(True)
done = []
thread = threading.Thread(target=other)
thread.start()
import onnx_ir
thread.join()
assert done
"""


def _results(first: str) -> list[str]:
    code = f"{first}\n{COMPUTE}"
    done = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True)
    results: list[str] = json.loads(done.stdout)
    return results


@pytest.fixture(scope="module")
def expected() -> list[str]:
    return _results(AS_EVER)


@pytest.mark.parametrize(
    "first",
    [XSLIM_FIRST, "import sympy, xslim.pipeline.static", THREAD],
    ids=["xslim", "sympy", "thread"],
)
def test_results_do_not_depend_on_the_order_of_imports(first: str, expected: list[str]) -> None:
    assert _results(first) == expected
    assert expected[:2] == ["N + 1", "2 - N"]
    assert "Floor" not in expected[-1]
