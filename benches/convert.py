"""Conversions without data, every model by every tool, as one table.

usage: python benches/convert.py [--mode slim dynq fp16] [--record FILE] MODEL.onnx ...

Each line is one conversion in a process of its own: exit status, wall and CPU time, peak memory, size of the
result, whether it runs in onnxruntime, and how far it is from the float model on random input (SQNR over all
outputs). XSLIM_REFERENCE names an interpreter with XSlim 2 to run beside; ORT_PYTHON one with onnxruntime's
quantize_dynamic (this one by default). MODEL defaults to the models of ../shared.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benches.paths import SHARED
from xslim.errors import XSlimError
from xslim.graph.io import load_model
from xslim.runtime import Session, random_feeds

FLAGS = {"slim": [], "dynq": ["--dynq"], "fp16": ["--fp16"]}
ORT_DYNAMIC = """
import sys
from onnxruntime.quantization import quantize_dynamic
quantize_dynamic(sys.argv[1], sys.argv[2])
"""
COLUMNS = "{:<30} {:<5} {:<9} {:>2} {:<4} {:>8} {:>7} {:>6} {:>6} {:>8}"

MEASURE = """
import json, resource, subprocess, sys, time
start = time.perf_counter()
rc = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode
seconds, usage = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
cpu = usage.ru_utime + usage.ru_stime
print(json.dumps({"rc": rc, "seconds": seconds, "cpu": cpu, "peak_mb": usage.ru_maxrss / 1024}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", type=Path)
    parser.add_argument("--mode", nargs="+", default=list(FLAGS), choices=FLAGS)
    parser.add_argument("--record", type=Path, help="append one JSON line per conversion")
    options = parser.parse_args()
    print(COLUMNS.format("model", "mode", "tool", "rc", "runs", "SQNR dB", "MB", "s", "CPU s", "peak MB"))
    for path in options.models or sorted((SHARED / "assets" / "models").glob("*.onnx")):
        for row in conversions(path, options.mode):
            times = (f"{row[name]:.2f}" for name in ("seconds", "cpu"))
            figures = (row[name] for name in ("mode", "tool", "rc", "runs", "sqnr_db", "mb"))
            print(COLUMNS.format(path.stem, *figures, *times, f"{row['peak_mb']:.0f}"), flush=True)
            if options.record:
                with options.record.open("a") as file:
                    file.write(json.dumps({"model": path.stem, **row}) + "\n")


def conversions(path: Path, modes: list[str]) -> Iterator[dict[str, Any]]:
    feeds, expected = float_run(path)
    for mode in modes:
        for tool, command in commands(mode):
            with tempfile.TemporaryDirectory() as folder:
                result = Path(folder) / "result.onnx"
                row = timed([*command(path, result)])
                row.update(mode=mode, tool=tool, runs="-", sqnr_db="-", mb="-")
                if result.is_file():
                    size = sum(file.stat().st_size for file in Path(folder).iterdir())
                    row.update(mb=f"{size / 1e6:.2f}", **compared(result, feeds, expected))
                yield row


def commands(mode: str) -> Iterator[tuple[str, Any]]:
    def with_interpreter(python: str) -> Any:
        return lambda source, result: [python, "-m", "xslim", "-i", source, "-o", result, *FLAGS[mode]]

    yield "xslim", with_interpreter(sys.executable)
    if reference := os.environ.get("XSLIM_REFERENCE"):
        yield "reference", with_interpreter(reference)
    if mode == "dynq":
        python = os.environ.get("ORT_PYTHON", sys.executable)
        yield "ort", lambda source, result: [python, "-c", ORT_DYNAMIC, source, result]


def timed(command: list[Any]) -> dict[str, Any]:
    # A small process in between: a child starts with the peak memory of its parent.
    words = [sys.executable, "-I", "-S", "-c", MEASURE, *map(str, command)]
    measured = subprocess.run(words, capture_output=True, text=True, check=True)
    row: dict[str, Any] = json.loads(measured.stdout)
    return row


def float_run(path: Path) -> tuple[Any, Any]:
    session = Session(path)
    for feeds in random_feeds(load_model(path)):
        try:
            return feeds, dict(zip(session.outputs, session.run(feeds), strict=True))
        except XSlimError:
            continue
    raise SystemExit(f"{path} takes no random input")


def compared(result: Path, feeds: Any, expected: Any) -> dict[str, str]:
    """Does it run, and the signal-to-noise ratio of all its outputs together."""
    try:
        session = Session(result)
        found = dict(zip(session.outputs, session.run(feeds), strict=True))
    except XSlimError:
        return {"runs": "no"}
    signal = noise = 0.0
    for name, array in expected.items():
        if array.dtype.kind == "f" and array.size:
            reference, test = array.astype(np.float64), np.asarray(found.get(name, np.nan)).astype(np.float64)
            signal += float(np.square(reference).sum()) / reference.size
            noise += float(np.square(reference - test).sum()) / reference.size
    return {"runs": "yes", "sqnr_db": f"{10 * np.log10(signal / noise):.2f}" if noise else "inf"}


if __name__ == "__main__":
    main()
