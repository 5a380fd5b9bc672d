"""The commands that the corpus runs on every model."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tools.corpus.samples import Sample

CHECK_FAILED = 1
"""Exit status of ``xslim check`` for a model that the target does not run completely as intended."""


@dataclass(frozen=True)
class Place:
    """Where the commands for one model work: the model, an empty folder, samples for calibration."""

    model: Path
    folder: Path
    samples: list[Sample]

    @property
    def result(self) -> Path:
        """The model that a command writes."""
        return self.folder / "result.onnx"


@dataclass(frozen=True)
class Command:
    """One command of XSlim: its arguments, the exit statuses of a run that succeeded, what it does.

    It may write a model, one that must equal the original, and it may need samples for calibration.
    """

    arguments: Callable[[Place], list[str]]
    good: tuple[int, ...] = (0,)
    writes: bool = True
    is_exact: bool = False
    needs_samples: bool = False


def _with_input(*options: str) -> Callable[[Place], list[str]]:
    return lambda place: ["-i", str(place.model), "-o", str(place.result), *options]


def _plan(place: Place) -> list[str]:
    return ["plan", "-c", str(write_config(place)), "-o", str(place.folder / "plan.json")]


def _static(place: Place) -> list[str]:
    return ["-c", str(write_config(place)), "-o", str(place.result)]


COMMANDS = {
    "slim": Command(_with_input(), is_exact=True),
    "dynq": Command(_with_input("--dynq")),
    "fp16": Command(_with_input("--fp16")),
    "plan": Command(_plan, writes=False, needs_samples=True),
    "check": Command(lambda place: ["check", str(place.model)], good=(0, CHECK_FAILED), writes=False),
    "static": Command(_static, needs_samples=True),
}


def write_config(place: Place) -> Path:
    """Write a static configuration with default settings, and the samples as files beside it."""
    data = place.folder / "data"
    data.mkdir(exist_ok=True)
    entries = [_entry(data, index, name, place.samples) for index, name in enumerate(place.samples[0])]
    config = place.folder / "config.json"
    config.write_text(
        json.dumps(
            {
                "model_parameters": {"onnx_model": str(place.model), "working_dir": str(place.folder)},
                "calibration_parameters": {"input_parametres": entries},
                "quantization_parameters": {},
            }
        )
    )
    return config


def _entry(data: Path, index: int, name: str, samples: list[Sample]) -> dict[str, object]:
    files = []
    for number, sample in enumerate(samples):
        file = data / f"{index}_{number}.npy"
        np.save(file, sample[name], allow_pickle=sample[name].dtype == object)
        files.append(file.name)
    listed = data / f"{index}.txt"
    listed.write_text("\n".join(files) + "\n")
    shape = list(samples[0][name].shape)
    return {"input_name": name, "input_shape": shape, "file_type": "npy", "data_list_path": str(listed)}
