"""``make accuracy``: method x model x level on data that calibration never saw, written to docs/accuracy.md.

Rows are kept in benches/record/accuracy.json as they are measured, and measured again only with ``--fresh``:
a run may be interrupted and extended. Models, data and the judging programs lie in ../shared.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

HERE = Path(__file__).resolve().parent
SHARED = HERE.parent.parent / "shared"
RECORD = HERE / "record" / "accuracy.json"
PAGE = HERE.parent / "docs" / "accuracy.md"

MODELS = {
    "squeezenet": "squeezenet1.1",
    "resnet20": "resnet20_cifar10",
    "resnet56": "resnet56_cifar10",
    "mobilenetv2": "mobilenetv2_cifar10",
    "ultraface": "ultraface_rfb320",
    "minilm": "minilm_l6",
}
METHODS = ("default", "minmax", "percentile", "mse", "kl")
PEERS = {
    "reference": (),
    "onnxruntime minmax": ("minmax",),
    "onnxruntime percentile": ("percentile",),
    "onnxruntime entropy": ("entropy",),
}


@dataclass(frozen=True)
class Row:
    """One measured model; `method` is a peer's name for rows that are not ours."""

    task: str
    method: str
    level: int | None
    samples: int
    top1: float | None
    float_top1: float | None
    agree: float | None
    sqnr_db: list[float]
    cosine: list[float]
    seconds: float
    peak_mb: float

    @property
    def key(self) -> tuple[str, str, int | None, int]:
        """What identifies the row."""
        return self.task, self.method, self.level, self.samples


def main() -> None:
    """Measure what is asked for and missing, then write the page."""
    parser = argparse.ArgumentParser(description="Measure accuracy on the real models of ../shared.")
    parser.add_argument("--tasks", nargs="*", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=METHODS)
    parser.add_argument("--levels", nargs="*", type=int, default=[0, 1, 2, 3])
    parser.add_argument("--samples", nargs="*", type=int, default=[100])
    parser.add_argument("--reference", help="Python that has the reference implementation")
    parser.add_argument("--onnxruntime", help="Python that has onnxruntime, for its own quantize_static")
    parser.add_argument("--fresh", action="store_true", help="measure again what is known")
    options = parser.parse_args()
    if not SHARED.is_dir():
        sys.exit(f"{SHARED} is missing: it holds the models, the data and the judging programs")
    known = {row.key: row for row in load()}
    with TemporaryDirectory() as folder:
        run("make_configs.py", folder)
        for key in wanted(options):
            if options.fresh or key not in known:
                row = measure(key, Path(folder), options)
                if row is None:
                    continue
                known[key] = row
                print(json.dumps(asdict(row)), flush=True)
                save(list(known.values()))
    PAGE.write_text(page(list(known.values())), "utf-8")
    print(f"wrote {PAGE}")


def wanted(options: argparse.Namespace) -> Iterator[tuple[str, str, int | None, int]]:
    """Every combination that the options name; methods beside the default only at levels 0 and 1."""
    for task in options.tasks:
        for samples in options.samples:
            for level in options.levels:
                for method in options.methods:
                    if method == "default" or level < 2:
                        yield task, method, level, samples
                if options.reference:
                    yield task, "reference", level, samples
            if options.onnxruntime:
                for peer in PEERS:
                    if peer != "reference":
                        yield task, peer, None, samples


def measure(key: tuple[str, str, int | None, int], folder: Path, options: argparse.Namespace) -> Row | None:
    """Quantise and judge; None where the quantiser fails."""
    task, method, level, samples = key
    config, output = folder / f"{task}.json", folder / "-".join(map(str, key)).replace(" ", "_")
    if PEERS.get(method):
        timed = run("run_ort_static.py", config, *PEERS[method], output, python=options.onnxruntime)
    else:
        python = options.reference if method == "reference" else sys.executable
        settings = [f"finetune_level={level}", "analysis_enable=false", f"calibration_step={samples}"]
        if method in METHODS:
            settings.append(f"calibration_type={method}")
        timed = run("run_timed.py", python, config, output, "--set", *settings)
    models = [output] if output.is_file() else sorted(output.rglob("*.onnx"))
    if timed.get("rc", 0) != 0 or not models:
        print(f"failed: {key}", file=sys.stderr)
        return None
    judged = run("evaluate.py", task, models[-1], SHARED / "assets" / "models" / f"{MODELS[task]}.onnx")
    return Row(
        task,
        method,
        level,
        samples,
        judged.get("top1"),
        judged.get("fp32_top1"),
        judged.get("agree"),
        judged["sqnr_db"],
        judged["cosine"],
        timed.get("wall_s", 0.0),
        timed.get("peak_mb", timed.get("rss_mb", 0.0)),
    )


def run(program: str, *arguments: Any, python: str | None = None) -> dict[str, Any]:
    """Run a judging program and return its last line, which is JSON, or nothing."""
    command = [python or sys.executable, SHARED / "tools" / program, *arguments]
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    lines = [line for line in result.stdout.splitlines() if line.startswith("{")]
    if lines:
        answer: dict[str, Any] = json.loads(lines[-1])
        return answer
    if result.returncode:
        return {"rc": result.returncode}
    return {}


def load() -> list[Row]:
    """Return the rows of earlier runs."""
    return [Row(**item) for item in json.loads(RECORD.read_text("utf-8"))] if RECORD.exists() else []


def save(rows: Sequence[Row]) -> None:
    """Keep the rows."""
    RECORD.parent.mkdir(exist_ok=True)
    RECORD.write_text(json.dumps([asdict(row) for row in ordered(rows)], indent=1) + "\n", "utf-8")


def ordered(rows: Sequence[Row]) -> list[Row]:
    """Sort the rows by task, then by number of samples, level and method."""
    tasks = list(MODELS)
    return sorted(rows, key=lambda row: (tasks.index(row.task), -row.samples, str(row.level), row.method))


def page(rows: Sequence[Row]) -> str:
    """Return the table as a Markdown page."""
    lines = [
        "# Accuracy",
        "",
        "Measured by `make accuracy` on data that calibration never saw, with the Q/DQ pairs executed as",
        "written. SQNR compares the outputs with those of the float model. Seconds depend on the machine and",
        "on what else it does; the reference had one core of two, and onnxruntime was not alone.",
        "",
        "| task | samples | method | level | top-1 (float) | agree | SQNR dB | cosine | s | MB |",
        "|---|---:|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [_line(row) for row in ordered(rows)]
    return "\n".join(lines) + "\n"


def _line(row: Row) -> str:
    top1 = f"{row.top1:.1f} ({row.float_top1:.1f})" if row.top1 is not None else ""
    agree = f"{row.agree:.1f}" if row.agree is not None else ""
    sqnr = " / ".join(f"{value:.2f}" for value in row.sqnr_db)
    cosine = " / ".join(f"{value:.4f}" for value in row.cosine)
    level = "" if row.level is None else str(row.level)
    figures = f"{top1} | {agree} | {sqnr} | {cosine} | {row.seconds:.0f} | {row.peak_mb:.0f}"
    return f"| {row.task} | {row.samples} | {row.method} | {level} | {figures} |"


if __name__ == "__main__":
    main()
