"""Arrays pass from Python to Rust without unnecessary copies, whatever their layout."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from numpy.typing import NDArray

from xslim import _native
from xslim.kernels import Sketch, error_sums, fake_quantize, quantize_per_channel

MATRIX = np.arange(24, dtype=np.float32).reshape(4, 6)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_contiguous_arrays_are_read_where_they_lie(dtype: type[np.floating]) -> None:
    array = MATRIX.astype(dtype)
    assert _native.data_address(array) == array.ctypes.data
    assert _native.data_address(array[2:]) == array[2:].ctypes.data
    array.flags.writeable = False
    assert _native.data_address(array) == array.ctypes.data


def misaligned() -> NDArray[np.float32]:
    buffer = np.zeros(MATRIX.nbytes + 1, np.uint8)
    view = buffer[1:].view(np.float32).reshape(MATRIX.shape)
    view[:] = MATRIX
    return view


@pytest.mark.parametrize(
    "array",
    [
        MATRIX.T,
        MATRIX[::-1],
        MATRIX[:, ::2],
        np.asfortranarray(MATRIX),
        np.broadcast_to(MATRIX[0], (5, 6)),
        misaligned(),
    ],
    ids=["transposed", "reversed", "strided", "fortran", "broadcast", "misaligned"],
)
def test_other_layouts_give_the_same_results(array: NDArray[np.float32]) -> None:
    plain = np.array(array, order="C")
    ours, theirs = Sketch(), Sketch()
    ours.observe(array)
    theirs.observe(plain)
    assert ours == theirs
    np.testing.assert_array_equal(fake_quantize(array, 0.5), fake_quantize(plain, 0.5))
    np.testing.assert_array_equal(quantize_per_channel(array, 1)[0], quantize_per_channel(plain, 1)[0])
    assert error_sums(array, plain).noise_energy == 0


@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.bool_, np.complex64, np.dtype(">f4"), np.object_])
def test_other_dtypes_are_refused(dtype: type[np.generic]) -> None:
    with pytest.raises(TypeError, match="float16, float32 or float64 expected"):
        Sketch().observe(np.zeros(3, dtype))


def test_what_is_not_an_array_is_refused() -> None:
    with pytest.raises(TypeError, match="numpy array expected, not list"):
        Sketch().observe([1.0, 2.0])  # type: ignore[arg-type]


def test_scalars_and_empty_arrays() -> None:
    sketch = Sketch()
    sketch.observe(np.array(3.0))
    sketch.observe(np.zeros((0, 4), np.float32))
    assert (sketch.count, sketch.max) == (1, 3.0)


def test_the_gil_is_released() -> None:
    array = np.ones(30_000_000, np.float32)
    ticks: list[int] = []
    worker = threading.Thread(target=Sketch().observe, args=(array,))
    worker.start()
    while worker.is_alive():
        ticks.append(len(ticks))
    # With the GIL held, the loop could not run until the call has ended.
    assert len(ticks) > 3


@pytest.mark.parametrize(
    ("value", "outcome"),
    [
        ("3", "3"),
        (" 2 ", "2"),
        *((value, "ValueError") for value in ("0", "many", "1025", "+2", "\u0663", "")),
    ],
)
def test_the_environment_sets_the_threads(value: str, outcome: str) -> None:
    code = "from xslim import kernels\ntry: print(kernels.threads())\nexcept ValueError: print('ValueError')"
    environment = os.environ | {"XSLIM_THREADS": value}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == outcome


@pytest.mark.parametrize("in_child", ["", "kernels.set_threads(3)", "os.environ['XSLIM_THREADS'] = '4'"])
def test_a_forked_process_has_threads_of_its_own(in_child: str) -> None:
    code = f"""
import os, numpy as np
from xslim import kernels
array = np.ones(2_000_000, np.float32)
kernels.Sketch().observe(array)
child = os.fork()
if child == 0: {in_child or "pass"}
sketch = kernels.Sketch()
sketch.observe(array)
if child == 0:
    os._exit(0 if sketch.count == array.size else 3)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=60)
