"""``make bench``: run every benchmark, print one table, and compare it with that of benches/record.

``--record`` keeps the new table there.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

HERE = Path(__file__).resolve().parent
RECORD = HERE / "record"
KEPT = RECORD / "python.md"
SLOWER = 1.05
"""Ratio of medians above which a benchmark counts as slower."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Run the benchmarks.")
    parser.add_argument("--record", action="store_true", help="keep the table in benches/record")
    parser.add_argument("-k", default="", help="only benchmarks that match, as for pytest")
    options = parser.parse_args()
    text = f"{machine()}\n\n{table(measure(options.k))}\n"
    print(text, end="")
    if KEPT.exists():
        print(f"\n{comparison(text, KEPT.read_text('utf-8'))}")
    if options.record:
        RECORD.mkdir(exist_ok=True)
        KEPT.write_text(text, "utf-8")


def measure(expression: str) -> list[dict[str, Any]]:
    """Run pytest-benchmark on every bench_*.py; return its records."""
    with TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        command = [sys.executable, "-m", "pytest", str(HERE), "-o", "python_files=bench_*.py", "-q"]
        command += ["--benchmark-json", str(result), "--benchmark-quiet", "-k", expression]
        subprocess.run(command, check=True, cwd=HERE.parent)
        records: list[dict[str, Any]] = json.loads(result.read_text("utf-8"))["benchmarks"]
        return records


def table(records: list[dict[str, Any]]) -> str:
    """One Markdown row per benchmark: median and spread in ms, GB/s where bytes are known."""
    rows = ["| group | benchmark | median ms | quartile range ms | GB/s |", "|---|---|---:|---:|---:|"]
    for record in sorted(records, key=lambda item: (item["group"] or "", item["name"])):
        stats, size = record["stats"], record["extra_info"].get("bytes")
        speed = f"{size / stats['median'] / 1e9:.2f}" if size else ""
        figures = f"{stats['median'] * 1e3:.3f} | {stats['iqr'] * 1e3:.3f} | {speed}"
        rows.append(f"| {record['group'] or ''} | {record['name']} | {figures} |")
    return "\n".join(rows)


def comparison(text: str, kept: str) -> str:
    """Say which benchmarks are slower than in the kept table by more than 5 %, beyond the quartile range.

    Another machine is slower or faster as a whole, so medians are divided by the median ratio of all then.
    """
    now, before = rows_of(text), rows_of(kept)
    # A median below half a microsecond is kept as 0.
    ratios = {name: now[name][0] / before[name][0] for name in now if name in before and before[name][0] > 0}
    if not ratios:
        return "no benchmark is in the record"
    same = text.splitlines()[0] == kept.splitlines()[0]
    whole = 1.0 if same else statistics.median(ratios.values())
    slower = [
        f"{name}: {before[name][0]:.3f} -> {now[name][0]:.3f} ms, {ratio / whole:.2f} times"
        for name, ratio in sorted(ratios.items(), key=lambda item: -item[1])
        if ratio / whole > SLOWER and now[name][0] - before[name][0] * whole > sum(now[name][1:])
    ]
    against = "the record" if same else f"the record of another machine (as a whole {whole:.2f} times)"
    heading = f"slower than {against} by more than 5 %: {len(slower)} of {len(ratios)} benchmarks"
    return "\n".join([heading, *slower])


def rows_of(text: str) -> dict[str, tuple[float, float]]:
    """Return median and quartile range of every benchmark of a table, in ms."""
    cells = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return {row[1]: (float(row[2]), float(row[3])) for row in cells if row[2] != "median ms"}


def machine() -> str:
    """One line that describes the machine and the libraries."""
    import numpy
    import onnxruntime

    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":", 1)[1] for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0].strip() if names else model
    versions = f"numpy {numpy.__version__}, onnxruntime {onnxruntime.__version__}"
    return f"{model}, {os.cpu_count()} threads, Python {platform.python_version()}, {versions}"


if __name__ == "__main__":
    main()
