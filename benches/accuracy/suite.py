"""The tasks of the accuracy table, and the calibration lists that are drawn for them.

The configurations come from the programs of ../shared/tools: `make_configs.py` for the models of
../shared/assets/models, `tasks.py make` for the trained models from elsewhere.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benches.paths import SHARED

MODELS = ("squeezenet", "resnet20", "resnet56", "mobilenetv2", "ultraface", "minilm")
ARCHITECTURES = ("vit_b_16",)
TASKS = (
    "yolox_nano",
    "ppocr_rec",
    "ppocr_det",
    "textline_cls",
    "orientation",
    "super_resolution",
    "magika",
    "dnsmos",
    "basic_pitch",
    "silero_vad",
)
ALL = (*MODELS, *ARCHITECTURES, *TASKS)

LISTS = 5
PART = 0.8
"""Share of the files in a list, if a task has no more files than calibration samples."""
MOST = {"vit_b_16": 16}
"""Number of calibration samples of tasks that would take very long with as many as configured."""


@dataclass(frozen=True)
class Suite:
    """The folders with the configurations of all tasks."""

    models: Path
    tasks: Path

    def config(self, task: str) -> dict[str, Any]:
        """Return the configuration of a task."""
        folder = self.tasks if task in TASKS else self.models
        found: dict[str, Any] = json.loads((folder / f"{task}.json").read_text("utf-8"))
        return found


def make_suite(folder: Path, python: str | None = None) -> Suite:
    """Write configurations and data into a folder, unless they are there.

    Parameters
    ----------
    folder : Path
        A folder outside the repository.
    python : str, optional
        Python with opencv and pillow for the programs of ../shared/tools.

    Raises
    ------
    SystemExit
        A program of ../shared/tools fails.
    """
    suite = Suite(folder / "models", folder / "tasks")
    programs = (("make_configs.py", [suite.models, "--arch"]), ("tasks.py", ["make", suite.tasks]))
    for (program, arguments), made in zip(programs, (suite.models, suite.tasks), strict=True):
        if (made / "complete").exists():
            continue
        made.mkdir(parents=True, exist_ok=True)
        command = [python or sys.executable, SHARED / "tools" / program, *arguments]
        if subprocess.run([str(part) for part in command], check=False).returncode:
            raise SystemExit(f"{program} failed: it needs opencv, pillow, fonts and espeak-ng")
        (made / "complete").touch()
    return suite


def draw_list(config: dict[str, Any], task: str, number: int, folder: Path) -> dict[str, Any]:
    """Return a configuration with a calibration list of its own.

    Parameters
    ----------
    config : dict
        The configuration of a task.
    task : str
        Name of the task.
    number : int
        Number of the list, which is the seed of the draw; equal numbers give equal lists.
    folder : Path
        Folder for the list files.
    """
    changed: dict[str, Any] = json.loads(json.dumps(config))
    calibration = changed["calibration_parameters"]
    lists = [Path(item["data_list_path"]) for item in calibration["input_parameters"]]
    entries = [[_absolute(line, path) for line in path.read_text("utf-8").split()] for path in lists]
    chosen = draw(len(entries[0]), MOST.get(task, calibration["calibration_step"]), number)
    folder.mkdir(parents=True, exist_ok=True)
    for index, (item, names) in enumerate(zip(calibration["input_parameters"], entries, strict=True)):
        path = folder / f"{task}-{number}-{index}.txt"
        # The files behind the chosen ones are those that a run compares on.
        rest = [position for position in range(len(names)) if position not in chosen]
        path.write_text("".join(f"{names[position]}\n" for position in [*chosen, *rest]), "utf-8")
        item["data_list_path"] = str(path)
    calibration["calibration_step"] = len(chosen)
    return changed


def draw(available: int, wanted: int, seed: int) -> list[int]:
    """Draw positions without repetition: as many as wanted, or 80 % if there are no more than wanted."""
    count = wanted if available > wanted else max(1, round(PART * available))
    return [int(position) for position in np.random.default_rng(seed).permutation(available)[:count]]


def _absolute(line: str, listing: Path) -> str:
    return str((listing.parent / line).resolve())
