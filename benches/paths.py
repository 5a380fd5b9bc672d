"""Find the models of the benchmarks."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
QUICKSTART = ROOT / "examples" / "quickstart"
SHARED = ROOT.parent / "shared"


def real_model(name: str) -> Path | None:
    """Path of a model of ../shared, or None where that folder is not there."""
    path = SHARED / "assets" / "models" / f"{name}.onnx"
    return path if path.is_file() else None
