"""Mutated models, configurations and arrays: every run succeeds or refuses its input, none crashes or hangs.

A few mutations run with the other tests. `make fuzz` goes on for XSLIM_FUZZ_SECONDS for each kind of file,
from XSLIM_FUZZ_SEED on; a failure names its seed.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from tools.corpus.process import Limits, preload, run

from tests.fuzz.mutate import mutated
from tests.models import conv_net, draw
from xslim.cli import main

FEW = 4
"""Mutations of each kind without XSLIM_FUZZ_SECONDS."""

LIMITS = Limits(seconds=120, megabytes=8192)
GOOD = (0, 2)


def seeds() -> Iterator[int]:
    """Yield the seeds of this run."""
    first = int(os.environ.get("XSLIM_FUZZ_SEED", "0"))
    if seconds := os.environ.get("XSLIM_FUZZ_SECONDS"):
        end = time.monotonic() + float(seconds)
        yield from itertools.takewhile(lambda _: time.monotonic() < end, itertools.count(first))
    else:
        yield from range(first, first + FEW)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model, its configuration and its calibration data."""
    place = tmp_path / "whole"
    place.mkdir()
    onnx.save(conv_net(), place / "net.onnx")
    for index in range(12):
        np.save(place / f"{index}.npy", draw(index, 1, 3, 8, 8))
    (place / "list.txt").write_text("".join(f"{index}.npy\n" for index in range(12)))
    entry = {"input_name": "x", "file_type": "npy", "data_list_path": "list.txt"}
    fields = {
        "model_parameters": {"onnx_model": "net.onnx", "working_dir": "."},
        "calibration_parameters": {"calibration_step": 12, "input_parametres": [entry]},
        "quantization_parameters": {"precision_level": 0, "finetune_level": 0, "analysis_enable": False},
    }
    (place / "config.json").write_text(json.dumps(fields, indent=1))
    return place


@pytest.fixture(scope="module", autouse=True)
def imported() -> None:
    """Every process starts with what the commands import."""
    preload()


SLIM = ["-i", "net.onnx", "-o", "result.onnx"]
STATIC = ["-c", "config.json", "-o", "result.onnx"]


@pytest.mark.parametrize(
    ("file", "arguments"),
    [
        ("net.onnx", SLIM),
        ("net.onnx", ["check", "net.onnx"]),
        ("config.json", STATIC),
        ("list.txt", STATIC),
        ("3.npy", STATIC),
    ],
    ids=["model slim", "model check", "configuration", "list", "array"],
)
def test_mutations(file: str, arguments: list[str], folder: Path, tmp_path: Path) -> None:
    """A model that is still valid may be checked with exit status 1: the target does not take it."""
    good = (*GOOD, 1) if arguments[0] == "check" else GOOD
    whole = (folder / file).read_bytes()
    for seed in seeds():
        place = tmp_path / "mutated"
        shutil.copytree(folder, place)
        (place / file).write_bytes(mutated(seed, whole))
        before = {path: path.read_bytes() for path in place.iterdir()}
        ended = run(_command(arguments), tmp_path / "log.txt", LIMITS, place)
        told = f"{file} with XSLIM_FUZZ_SEED={seed}: {ended.status}\n{ended.log[-2000:]}"
        assert ended.status in good, told
        assert "Traceback" not in ended.log, told
        assert "internal error" not in ended.log, told
        assert {path: path.read_bytes() for path in before} == before, told
        if ended.status == 2:
            assert {path.name for path in place.iterdir()} - {path.name for path in before} <= {".ses"}, told
        shutil.rmtree(place)


def _command(arguments: list[str]) -> Callable[[], int]:
    return lambda: main(arguments)


def test_mutations_repeat_and_differ() -> None:
    data = bytes(range(256))
    results = [mutated(seed, data) for seed in range(50)]
    assert results == [mutated(seed, data) for seed in range(50)]
    assert len(set(results)) > 45
    assert mutated(1, b"") is not None
