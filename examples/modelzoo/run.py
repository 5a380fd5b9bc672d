"""Quantise every model at hand for every target, and print one table.

python examples/modelzoo/run.py [CONFIG.json ...]

A configuration gives a model with calibration data, which becomes static int8. Without one, the quick
start's is taken. Models that installed packages carry have no data here: they become dynamic int8.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).resolve().parent
QUICKSTART = HERE.parent / "quickstart" / "config.json"
TARGETS = ("spacemit", "generic")
CARRIED = {
    "basic_pitch": "saved_models/icassp_2022/nmp.onnx",
    "faster_whisper": "assets/silero_vad_v6.onnx",
    "magika": "models/*/model.onnx",
    "rapidocr_onnxruntime": "models/*.onnx",
    "silero_vad": "data/silero_vad.onnx",
}
"""Packages, each with a pattern of the ONNX files inside."""


def carried_models() -> list[Path]:
    """Return the models that installed packages carry; no package is imported."""
    found = []
    for package, pattern in CARRIED.items():
        spec = find_spec(package)
        for folder in spec.submodule_search_locations or [] if spec else []:
            found += sorted(Path(folder).glob(pattern))
    return found


def manifest(configs: Sequence[Path], models: Sequence[Path], output: Path) -> str:
    """Return the manifest of a batch as TOML."""
    lines = [f"output = {str(output)!r}", f"targets = {list(TARGETS)}"]
    lines += ["[defaults.quantization_parameters]", "analysis_enable = false"]
    for path in configs:
        lines += [
            "[[models]]",
            f"config = {str(path.resolve())!r}",
            f"name = '{path.parent.name}_{path.stem}'",
        ]
    for path in models:
        lines += [
            "[[models]]",
            f"model = {str(path)!r}",
            "[models.quantization_parameters]",
            "precision_level = 3",
        ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("configs", type=Path, nargs="*", help="configurations of xslim -c")
    parser.add_argument("--jobs", type=int, default=1, help="models at a time (default 1)")
    parser.add_argument("--output", type=Path, default=HERE / "output", help="folder of the results")
    options = parser.parse_args()

    output = options.output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    path = output / "models.toml"
    text = manifest(options.configs or [QUICKSTART], carried_models(), output)
    path.write_text(text, "utf-8")
    command = [sys.executable, "-m", "xslim", "batch", str(path), "--jobs", str(options.jobs)]
    raise SystemExit(subprocess.run(command, check=False).returncode)


if __name__ == "__main__":
    main()
