"""onnx_ir computes with symbolic dimensions as ever; sympy is imported when it does."""

import json
import subprocess
import sys

import pytest

COMPUTE = """
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
import json
print(json.dumps([str(result) for result in results]))
"""
WITHOUT_SYMPY = "import sys, xslim.pipeline.static; assert 'sympy' not in sys.modules"
IN_A_THREAD = """
import threading, xslim
def other():
    import sympy.printing
    assert str(sympy.printing.sstr(sympy.Max(sympy.Symbol("a"), 1))) == "Max(1, a)"
    done.append(True)
done = []
thread = threading.Thread(target=other)
thread.start()
import onnx_ir
thread.join()
assert done
"""


def _results(first: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{first}\n{COMPUTE}"], check=True, capture_output=True, text=True
    )
    results: list[str] = json.loads(done.stdout)
    return results


@pytest.fixture(scope="module")
def expected() -> list[str]:
    return _results("import onnx_ir, sys; assert 'sympy' in sys.modules; import xslim.pipeline.static")


@pytest.mark.parametrize(
    "first",
    [WITHOUT_SYMPY, "import sympy, xslim.pipeline.static", IN_A_THREAD],
    ids=["xslim", "sympy", "thread"],
)
def test_results_do_not_depend_on_the_order_of_imports(first: str, expected: list[str]) -> None:
    assert _results(first) == expected
    assert expected[:2] == ["N + 1", "2 - N"]
