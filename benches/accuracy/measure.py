"""Quantise a model in one way, and judge the result with the programs of ../shared/tools."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benches.accuracy.record import Key, Row
from benches.accuracy.suite import MODELS, TASKS, Suite, draw_list
from benches.paths import SHARED

PEERS = {"onnxruntime minmax": "minmax", "onnxruntime percentile": "percentile"}
DYNAMIC = "onnxruntime dynamic"
REFERENCE = "reference 2.1.2"
OUR_DYNAMIC = "xslim --dynq"

ONE_CORE = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "XSLIM_THREADS": "1"}
LIMIT_S = 3600

PRINTED = re.compile(r"^\S+\s+(-?\d+\.\d+|inf)\s+-?\d+\.\d+\s+\S+$", re.M)
"""A line of the comparison at the end of a run: output, SQNR in dB, cosine, largest error."""


@dataclass(frozen=True)
class Interpreters:
    """The Pythons that run the quantisers and the judges."""

    ours: str = sys.executable
    tools: str = sys.executable
    reference: str | None = None


def measure(key: Key, suite: Suite, folder: Path, pythons: Interpreters) -> Row:
    """Quantise and judge one model; a quantiser that fails gives a row with an error."""
    task, method, precision, finetune, number = key
    folder.mkdir(parents=True, exist_ok=True)
    config = draw_list(suite.config(task), task, number, folder / "lists")
    source, output = config["model_parameters"]["onnx_model"], folder / "model.onnx"
    output.unlink(missing_ok=True)
    config["model_parameters"].update(working_dir=str(folder), output_prefix="model")
    wanted = {"precision_level": precision, "finetune_level": finetune, "analysis_enable": False}
    config["quantization_parameters"].update({k: v for k, v in wanted.items() if v is not None})
    path = folder / f"{task}.json"
    path.write_text(json.dumps(config, indent=1), "utf-8")
    started = time.monotonic()
    result = _run(_command(method, path, source, output, pythons))
    row = Row(task, method, precision, finetune, number, seconds=round(time.monotonic() - started, 1))
    if not output.exists():
        words = (result.stderr or result.stdout).strip().splitlines() or ["no output"]
        return replace(row, error=words[-1][:200])
    printed = [float(value) for value in PRINTED.findall(result.stdout + result.stderr)]
    row = replace(row, own_db=[value for value in printed if math.isfinite(value)])
    return _judged(_priced(row, output, pythons), output, source, suite, pythons)


def _command(method: str, config: Path, source: str, output: Path, pythons: Interpreters) -> Sequence[Any]:
    tools = SHARED / "tools"
    if method in PEERS:
        return [pythons.tools, tools / "run_ort_static.py", config, PEERS[method], output]
    if method == DYNAMIC:
        script = "import sys; from onnxruntime.quantization import quantize_dynamic as q; q(*sys.argv[1:])"
        return [pythons.tools, "-c", script, source, output]
    if method == OUR_DYNAMIC:
        return [pythons.ours, "-m", "xslim", "-i", source, "-o", output, "--dynq"]
    python = pythons.reference if method == REFERENCE else pythons.ours
    return [python, "-m", "xslim", "-c", config]


def _run(command: Sequence[Any], limit: float = LIMIT_S) -> subprocess.CompletedProcess[str]:
    words = [str(part) for part in command]
    try:
        return subprocess.run(
            words, capture_output=True, text=True, check=False, timeout=limit, env={**os.environ, **ONE_CORE}
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(words, 124, "", f"took more than {limit:.0f} s")


def _answer(command: Sequence[Any]) -> dict[str, Any]:
    """Return the last line of a program's output, which is JSON; or the error."""
    result = _run(command)
    lines = [line for line in result.stdout.splitlines() if line.startswith("{")]
    if not lines:
        return {"error": (result.stderr.strip().splitlines() or ["no output"])[-1][:200]}
    answer: dict[str, Any] = json.loads(lines[-1])
    return answer


def _judged(row: Row, output: Path, source: str, suite: Suite, pythons: Interpreters) -> Row:
    tools = SHARED / "tools"
    if row.task in TASKS:
        found = _answer(
            [pythons.tools, tools / "tasks.py", "judge", row.task, output, source, "--out", suite.tasks]
        )
    elif row.task in MODELS:
        found = _answer([pythons.tools, tools / "evaluate.py", row.task, output, source])
    else:
        found = _answer([pythons.tools, "-m", "benches.accuracy.photographs", output, source])
    if "error" in found:
        return replace(row, error=f"judge: {found['error']}")
    ratios = found["sqnr_db"]
    values = list(ratios.values()) if isinstance(ratios, dict) else ratios
    return replace(
        row,
        metric=found.get("metric", "top-1" if "top1" in found else ""),
        float_value=_number(found.get("float", found.get("fp32_top1"))),
        value=_number(found.get("quant", found.get("top1"))),
        agreement=_number(found.get("agree")),
        sqnr_db=[-math.inf if value is None else value for value in values],
        cosine=found["cosine"][0] if found.get("cosine") else None,
    )


def _number(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value


def _priced(row: Row, output: Path, pythons: Interpreters) -> Row:
    """Add what the default target makes of the model."""
    result = _run([pythons.ours, "-m", "xslim", "check", output, "--json"])
    try:
        checked = json.loads(result.stdout)
    except ValueError:
        return row
    nodes = [node for node in checked["nodes"] if not node["op_type"].endswith("QuantizeLinear")]
    computing = [node for node in nodes if node["op_type"] != "Constant"]
    return replace(
        row,
        operators=len(computing),
        float_operators=sum(not node["int8"] for node in computing),
        int8_share=checked["int8_share"],
        subgraphs=checked["subgraphs"],
    )
