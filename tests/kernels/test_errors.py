"""Kernels raise one kind of exception for each kind of fault."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest

from xslim import kernels
from xslim.kernels import (
    ArgumentError,
    CorruptSketchError,
    DtypeError,
    ErrorMetrics,
    Gram,
    NonFiniteError,
    ShapeError,
    Sketch,
    SketchFullError,
    ThreadsError,
)

ONES = np.ones((4, 6), np.float32)
NANS = np.full((4, 6), np.nan, np.float32)
INTEGERS = np.ones((4, 6), np.int64)
IMAGE = np.zeros((5, 7, 3), np.uint8)


def full() -> Sketch:
    sketch = Sketch()
    sketch.observe(ONES[0, :1])
    for _ in range(53):
        sketch.merge(sketch.copy())
    return sketch


def gram(columns: int = 6) -> Gram:
    matrix = Gram(1, columns)
    matrix.add_rows(np.arange(3.0 * columns).reshape(3, columns), [0, 1, 2])
    return matrix


def not_finite() -> Gram:
    matrix = gram()
    with pytest.raises(NonFiniteError):
        matrix.add_rows(NANS, [0])
    return matrix


def patches(array: np.ndarray) -> None:
    Gram(1, 3).add_patches(array, [0], (1, 1), (1, 1), (1, 1), (0, 0), (2, 2))


REFUSALS: list[tuple[type[Exception], Callable[[], object]]] = [
    (ArgumentError, lambda: Gram(0, 3)),
    (ArgumentError, lambda: Sketch().percentile(1.5)),
    (ArgumentError, lambda: Sketch().histogram(0, 0.0, 1.0)),
    (ArgumentError, lambda: Sketch().histogram(3, 1.0, 1.0)),
    (ArgumentError, lambda: kernels.search(Sketch(), "median")),
    (ArgumentError, lambda: kernels.search(Sketch(), "mse", bits=9)),
    (ArgumentError, lambda: kernels.search(Sketch(), "percentile", max_percentile=0.0)),
    (ArgumentError, lambda: kernels.range_params(1.0, 0.0)),
    (ArgumentError, lambda: kernels.range_params(0.0, np.inf)),
    (ArgumentError, lambda: kernels.range_params(0.0, 1.0, bits=1)),
    (ArgumentError, lambda: kernels.fake_quantize(ONES, 0.0)),
    (ArgumentError, lambda: kernels.fake_quantize(ONES, 1.0, 300)),
    (ArgumentError, lambda: kernels.quantize(ONES, 1.0, qmax=200)),
    (ArgumentError, lambda: kernels.quantize_per_channel(ONES, 0, bits=1)),
    (ArgumentError, lambda: kernels.quantize_per_channel(ONES, 0, method="kl")),
    (ArgumentError, lambda: kernels.round_weights(ONES, Gram(1, 6))),
    (ArgumentError, lambda: kernels.round_weights(ONES, gram(), factors=[])),
    (ArgumentError, lambda: kernels.set_threads(0)),
    (ShapeError, lambda: kernels.observe_many([Sketch()], [])),
    (ShapeError, lambda: kernels.fake_quantize(ONES, [1.0, 1.0])),
    (ShapeError, lambda: kernels.fake_quantize(ONES, [1.0, 1.0], axis=0)),
    (ShapeError, lambda: kernels.fake_quantize(ONES, [[1.0, 1.0]])),
    (ShapeError, lambda: kernels.fake_quantize(ONES, 1.0, axis=2)),
    (ShapeError, lambda: kernels.quantize_per_channel(ONES, -3)),
    (ShapeError, lambda: kernels.round_weights(ONES[0], gram())),
    (ShapeError, lambda: kernels.round_weights(ONES, gram(5))),
    (ShapeError, lambda: kernels.round_weights(ONES, gram(), groups=3)),
    (ShapeError, lambda: gram().add_rows(ONES, [4])),
    (ShapeError, lambda: gram().add_rows(ONES[:, :5], [0])),
    (ShapeError, lambda: patches(ONES)),
    (ShapeError, lambda: kernels.error_sums(ONES, ONES[1:])),
    (ShapeError, lambda: ErrorMetrics().update(ONES, ONES[1:])),
    (ShapeError, lambda: kernels.resize_antialiased(IMAGE, (0, 3), (0, 0, 1, 1))),
    (ShapeError, lambda: kernels.resize_antialiased(IMAGE, (4, 4), (2, 2, 3, 3))),
    (ShapeError, lambda: kernels.resize_antialiased(IMAGE[0], (4, 4), (0, 0, 4, 4))),
    (DtypeError, lambda: Sketch().observe(INTEGERS)),
    (DtypeError, lambda: Sketch().observe([1.0])),  # type: ignore[arg-type]
    (DtypeError, lambda: kernels.observe_many([Sketch()], [INTEGERS])),
    (DtypeError, lambda: gram().add_rows(INTEGERS, [0])),
    (DtypeError, lambda: patches(IMAGE)),
    (DtypeError, lambda: kernels.error_sums(ONES, INTEGERS)),
    (DtypeError, lambda: kernels.fake_quantize(INTEGERS, 1.0)),  # type: ignore[arg-type]
    (DtypeError, lambda: kernels.quantize_per_channel(INTEGERS, 0)),
    (DtypeError, lambda: kernels.round_weights(INTEGERS, gram())),
    (DtypeError, lambda: kernels.resize_antialiased(ONES[..., None], (2, 2), (0, 0, 2, 2))),  # type: ignore[arg-type]
    (NonFiniteError, lambda: kernels.quantize_per_channel(NANS, 0)),
    (NonFiniteError, lambda: kernels.round_weights(NANS, gram())),
    (NonFiniteError, lambda: kernels.round_weights(ONES, not_finite())),
    (NonFiniteError, lambda: gram().add_rows(NANS, [0])),
    (SketchFullError, lambda: full().merge(full())),
    (CorruptSketchError, lambda: Sketch.from_bytes(b"")),
    (CorruptSketchError, lambda: Sketch.from_bytes(b"\xff" * 20)),
    (CorruptSketchError, lambda: Sketch.from_bytes(Sketch().to_bytes()[:-1])),
]


@pytest.mark.parametrize(("kind", "call"), REFUSALS)
def test_a_fault_has_an_exception_of_its_kind(kind: type[Exception], call: Callable[[], object]) -> None:
    with pytest.raises((ValueError, TypeError)) as caught:
        call()
    assert type(caught.value) is kind
    assert str(caught.value)


def test_threads_that_do_not_start() -> None:
    code = """
import numpy as np
from xslim import kernels
kernels.set_threads(3)
try: kernels.Sketch().observe(np.ones(1_000_000, np.float32))
except kernels.ThreadsError as error: print(type(error).__name__, isinstance(error, RuntimeError), error)
"""
    # No address space holds such a stack.
    environment = os.environ | {"RUST_MIN_STACK": str(2**50)}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    assert result.stdout.startswith("ThreadsError True cannot start 3 threads")


KINDS = sorted({kind for kind, _ in REFUSALS} | {ThreadsError}, key=lambda kind: kind.__name__)


def test_every_kind_is_public() -> None:
    public = {name for name in kernels.__all__ if name.endswith("Error")}
    assert public == {kind.__name__ for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_passes_from_process_to_process(kind: type[Exception]) -> None:
    error = pickle.loads(pickle.dumps(kind("what is wrong")))
    assert (type(error), error.args) == (kind, ("what is wrong",))
