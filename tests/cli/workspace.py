"""A folder with a small model, its calibration data and a configuration, for tests of the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import onnx
import pytest

from tests import models
from xslim.cli import main

SHAPE = (1, 3, 8, 8)


def replace_pipeline(monkeypatch: pytest.MonkeyPatch, function: Callable[..., object]) -> None:
    """Let the command line call a function with configuration, model and output in place of a run."""

    def run(*arguments: object, **_: object) -> tuple[Any, Path]:
        function(*arguments)
        return SimpleNamespace(comparison=[]), Path()

    monkeypatch.setattr("xslim.pipeline.run.run", run)


@dataclass
class Workspace:
    """Files below one folder; `config` is written by `write_config`."""

    folder: Path
    config: dict[str, Any]

    @property
    def model(self) -> Path:
        return self.folder / "net.onnx"

    @property
    def output(self) -> Path:
        return self.folder / "out"

    @property
    def listing(self) -> Path:
        return self.folder / "data" / "x.txt"

    @property
    def entry(self) -> dict[str, Any]:
        """The first entry of the inputs."""
        return self.config["calibration_parameters"]["input_parametres"][0]

    def section(self, name: str) -> dict[str, Any]:
        """A section of the configuration."""
        return self.config.setdefault(f"{name}_parameters", {})

    def set_model(self, proto: onnx.ModelProto) -> None:
        """Replace the model, without checking it."""
        self.model.write_bytes(proto.SerializeToString())

    def set_sample(self, index: int, array: Any) -> None:
        """Replace one calibration array."""
        np.save(self.folder / "data" / f"x{index}.npy", array)

    def use_images(self) -> Path:
        """Switch to image files and return the folder that holds them."""
        folder = self.folder / "images"
        folder.mkdir()
        generator = np.random.default_rng(0)
        for index in range(3):
            picture = generator.integers(0, 256, (20, 30, 3)).astype(np.uint8)
            assert cv2.imwrite(str(folder / f"{index}.jpg"), picture)
        (folder / "list.txt").write_text("0.jpg\n1.jpg\n2.jpg\n", "utf-8")
        self.entry.update(file_type="img", data_list_path=str(folder / "list.txt"))
        return folder

    def use_function(self, body: str) -> None:
        """Switch to a preprocessing function ``run(paths, parameters)`` with this body."""
        (self.folder / "pre.py").write_text(
            f"import numpy as np\n\ndef run(paths, parameters):\n    {body}\n", "utf-8"
        )
        self.entry["preprocess_file"] = str(self.folder / "pre.py:run")

    def write_config(self) -> Path:
        """Write the configuration and return its path."""
        path = self.folder / "config.json"
        path.write_text(json.dumps(self.config, indent=2), "utf-8")
        return path

    def files(self) -> dict[str, bytes]:
        """Everything below the folder, to see that nothing was added, changed or taken away."""
        return {
            str(path.relative_to(self.folder)): path.read_bytes()
            for path in self.folder.rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }


def make_workspace(folder: Path) -> Workspace:
    """Make a workspace whose configuration works."""
    folder.mkdir(parents=True, exist_ok=True)
    models.save(models.conv_net(), folder / "net.onnx")
    listing = models.write_samples(folder / "data", SHAPE, 3)
    config = {
        "model_parameters": {"onnx_model": str(folder / "net.onnx"), "working_dir": str(folder / "out")},
        "calibration_parameters": {
            "calibration_step": 10,
            "calibration_device": "cpu",
            "input_parametres": [{"file_type": "npy", "data_list_path": str(listing)}],
        },
        "quantization_parameters": {"finetune_level": 0, "analysis_enable": False},
    }
    return Workspace(folder, config)


def collect_in_two(workspace: Workspace, config: str) -> list[str]:
    """Collect both halves of the samples for themselves; return the files."""
    shards = [str(workspace.folder / f"part{index}") for index in (1, 2)]
    for index, shard in enumerate(shards, start=1):
        assert main(["collect", "-c", config, "--shard", f"{index}/2", "-o", shard, "--quiet"]) == 0
    return shards
