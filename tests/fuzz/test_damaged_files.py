"""Damaged lists and sketch files are read, or refused with an error that blames them.

Each test takes good input, changes it at random and reads it. The seeds are fixed, so a failure comes again.
``XSLIM_FUZZ_SECONDS`` makes every test run so long instead, from a seed of its own that a failure names.
"""

from __future__ import annotations

import hashlib
import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import models
from tests.cli.workspace import Workspace, make_workspace
from xslim.calibration.data import CalibrationData
from xslim.calibration.observe import Settings, observe
from xslim.calibration.store import load_sketches
from xslim.config import load_config
from xslim.errors import XSlimError
from xslim.graph.inputs import input_specs
from xslim.graph.io import load_model

SECONDS = float(os.environ.get("XSLIM_FUZZ_SECONDS", "0"))
SHORT = 60
MOST_CHANGES = 4
NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x0A, 0x22, 0x28, 0x2C, 0x5B, 0x7B)
WORDS = (
    b"null",
    b"-1",
    b"1e999",
    b"true",
    b"\x00",
    b"\xff" * 9,
    b"9" * 5000,
    b"[" * 2000,
    b"\\u0000",
    b"../",
)


def mutated(data: bytes, generator: random.Random) -> bytes:
    """Change, cut, duplicate or insert bytes, as damage and attackers do."""
    content = bytearray(data)
    for _ in range(generator.randint(1, MOST_CHANGES)):
        place = generator.randrange(len(content) + 1)
        length = min(generator.choice((1, 2, 4, 8, 64)), len(content) - place)
        match generator.randrange(6):
            case 0:
                content[place : place + 1] = bytes([generator.randrange(256)])
            case 1:
                content[place : place + 1] = bytes([generator.choice(NUMBERS)])
            case 2:
                del content[place : place + length]
            case 3:
                content[place:place] = content[place : place + length]
            case 4:
                content[place:place] = generator.choice(WORDS)
            case _:
                del content[place:]
    return bytes(content)


Good = Callable[[Workspace], Path]
Read = Callable[[Workspace, Path], object]


def sketches(space: Workspace) -> Path:
    model = load_model(models.mlp())
    listing = models.write_samples(space.folder / "vectors", (1, 16), 2)
    entry = {"file_type": "npy", "data_list_path": str(listing)}
    wanted = load_config({"calibration_parameters": {"input_parameters": [entry]}})
    data = CalibrationData(input_specs(model), wanted.calibration_parameters, None)
    file = space.folder / "sketches"
    observe(model, ["m1", "r1"], data, Settings(store=file))
    return file


def with_checksum(space: Workspace, file: Path) -> object:
    """Read a file whose contents were changed before the checksum was computed."""
    content = file.read_bytes()
    file.write_bytes(content[:17] + hashlib.sha256(content[49:]).digest() + content[49:])
    return load_sketches(file)


def samples(space: Workspace, file: Path) -> object:
    del file
    parameters = load_config(space.folder / "config.json").calibration_parameters
    data = CalibrationData(input_specs(load_model(space.model)), parameters, None)
    return list(data.batches(workers=0))


def a_list(space: Workspace) -> Path:
    space.write_config()
    return space.listing


TARGETS: dict[str, tuple[Good, Read]] = {
    "list": (a_list, samples),
    "sketches": (sketches, lambda _, file: load_sketches(file)),
    "sketches with the right checksum": (sketches, with_checksum),
}


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_input_is_read_or_refused(
    name: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    make, read = TARGETS[name]
    space = make_workspace(tmp_path / "space")
    file = make(space)
    good = file.read_bytes()
    seed = time.time_ns() if SECONDS else 0
    generator = random.Random(seed)
    end = time.monotonic() + SECONDS
    executions = refused = 0
    while executions < SHORT if not SECONDS else time.monotonic() < end:
        executions += 1
        bad = mutated(good, generator)
        file.write_bytes(bad)
        try:
            read(space, file)
        except XSlimError as error:
            refused += error.exit_code == 2
            internal = error.exit_code != 2
        except Exception as error:
            raise AssertionError(f"seed {seed}, execution {executions}: {bad[:300]!r}") from error
        else:
            internal = False
        assert not internal, f"seed {seed}, execution {executions}: {bad[:300]!r}"
    record_property("executions", executions)
    print(f"{name}: {executions} executions, {refused} refused, seed {seed}")
