"""How good the rounding of weights is, shown where it matters: weights of 8, 6 and 4 bits, activations int8.

``python benches/weight_bits.py`` quantises resnet20 and mobilenetv2 of ../shared, every width once rounded to
nearest and once with all that finetune level 1 does, and prints the judging program's figures as one table.
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partialmethod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

from accuracy import MODELS, SHARED, run

import xslim
from xslim.calibration.grams import GramCollector
from xslim.quantization.rounding import round_to_nearest
from xslim.refinement.steps import Refined, Refinement

TASKS = ("resnet20", "mobilenetv2")
BITS = (8, 6, 4)


def main() -> None:
    """Print the table."""
    print("| task | weight bits | rounded to nearest, dB | level 1, dB | level 1, top-1 (float) |")
    print("|---|---:|---:|---:|---:|")
    with TemporaryDirectory() as folder:
        run("make_configs.py", folder)
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
    patches = {"__init__": partialmethod(Refinement.__init__, weight_bits=bits)}
    if to_nearest:
        patches |= {"equalize": _as_given, "round": _nearest, "follow": _as_found}
    with mock.patch.multiple(Refinement, **patches):
        xslim.quantize_onnx_model(config, output_path=output)
    return run("evaluate.py", task, output, SHARED / "assets" / "models" / f"{MODELS[task]}.onnx")


def _as_given(_: Refinement, prepared: Any, plan: Any) -> tuple[Any, Any]:
    return prepared, plan


def _as_found(_: Refinement, start: Refined, reference: Any) -> Refined:
    del reference
    return start


def _nearest(self: Refinement, start: Refined, _: GramCollector) -> Refined:
    rounded = round_to_nearest(start.model, start.plan, start.quantization, self._bits)
    return replace(start, quantization=rounded)


if __name__ == "__main__":
    main()
