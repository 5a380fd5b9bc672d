"""Measure the rounding of weights: weights of 8, 6 and 4 bits with int8 activations.

``python -m benches.weight_bits`` quantises resnet20 and mobilenetv2 of ../shared, every width once rounded to
nearest and once with all that finetune level 1 does, and prints the judging program's figures as one table.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import xslim
from benches.paths import SHARED
from xslim.quantization.rounding import round_to_nearest
from xslim.refinement.candidate import Candidate, Material
from xslim.refinement.steps import STEPS, Step

TASKS = ("resnet20", "mobilenetv2")
BITS = (8, 6, 4)


def main() -> None:
    """Print the table."""
    print("| task | weight bits | rounded to nearest, dB | level 1, dB | level 1, top-1 (float) |")
    print("|---|---:|---:|---:|---:|")
    with TemporaryDirectory() as folder:
        judged("make_configs.py", folder)
        for task in TASKS:
            for bits in BITS:
                nearest = measure(task, Path(folder), bits, to_nearest=True)
                refined = measure(task, Path(folder), bits, to_nearest=False)
                figures = f"{nearest['sqnr_db'][0]:.2f} | {refined['sqnr_db'][0]:.2f}"
                top1 = f"{refined['top1']:.1f} ({refined['fp32_top1']:.1f})"
                print(f"| {task} | {bits} | {figures} | {top1} |", flush=True)


def measure(task: str, folder: Path, bits: int, *, to_nearest: bool) -> dict[str, Any]:
    """Quantise with weights of so many bits and judge."""
    config = json.loads((folder / f"{task}.json").read_text("utf-8"))
    config["quantization_parameters"]["analysis_enable"] = False
    output = folder / f"{task}-{bits}-{to_nearest}.onnx"
    with mock.patch("xslim.refinement.steps.STEPS", steps(bits, to_nearest=to_nearest)):
        xslim.quantize_onnx_model(config, output_path=output)
    figures: dict[str, Any] = json.loads(
        judged("evaluate.py", task, output, config["model_parameters"]["onnx_model"]).splitlines()[-1]
    )
    return figures


def judged(program: str, *arguments: str | Path) -> str:
    """Run a program of ../shared/tools and return what it prints."""
    command = [sys.executable, SHARED / "tools" / program, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def steps(bits: int, *, to_nearest: bool) -> tuple[Step, ...]:
    """Return the steps of level 1 for weights of so many bits, or those that choose ranges alone."""
    nearest = Step("rounding to nearest", (1,), partial(_nearest, bits=bits), least_gain_db=None)
    if to_nearest:
        return (*(step for step in STEPS if step.name == "full ranges"), nearest)
    found: list[Step] = []
    for step in STEPS:
        rounds = step.name == "second-order rounding"
        found += [nearest, replace(step, run=partial(step.run, bits=bits))] if rounds else [step]
    return tuple(found)


def _nearest(start: Candidate, material: Material, *, bits: int) -> Candidate:
    rounded = round_to_nearest(material.reference, start.plan, start.quantization, bits)
    return replace(start, quantization=rounded)


if __name__ == "__main__":
    main()
