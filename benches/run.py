"""``make bench``: run every benchmark and print one table; ``--record`` keeps it in benches/record."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

HERE = Path(__file__).resolve().parent
RECORD = HERE / "record"


def main() -> None:
    parser = argparse.ArgumentParser(description="Run the benchmarks.")
    parser.add_argument("--record", action="store_true", help="keep the table in benches/record")
    parser.add_argument("-k", default="", help="only benchmarks that match, as for pytest")
    options = parser.parse_args()
    text = f"{machine()}\n\n{table(measure(options.k))}\n"
    print(text, end="")
    if options.record:
        RECORD.mkdir(exist_ok=True)
        (RECORD / "python.md").write_text(text, "utf-8")


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
