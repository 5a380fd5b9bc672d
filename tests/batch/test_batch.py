"""`xslim batch` runs the models of a manifest, and goes on whatever happens to one of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import xslim
from tests import models
from xslim.batch.table import Row
from xslim.batch.worker import execute
from xslim.cli import main

ONE_TARGET = ('targets = ["spacemit", "generic"]', 'targets = ["generic"]')

MANIFEST = """
output = "out"
targets = ["spacemit", "generic"]

[defaults.calibration_parameters]
calibration_device = "cpu"
calibration_step = 16
input_parameters = [{file_type = "npy", data_list_path = "data/x.txt"}]

[defaults.quantization_parameters]
analysis_enable = false
finetune_level = 0

[[models]]
model = "zoo/*.onnx"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "zoo").mkdir()
    models.save(models.conv_net(), tmp_path / "zoo" / "a.onnx")
    models.save(models.residual_net(), tmp_path / "zoo" / "b.onnx")
    listing = models.write_samples(tmp_path / "data", (1, 3, 8, 8), 16)
    assert listing == tmp_path / "data" / "x.txt"
    (tmp_path / "batch.toml").write_text(MANIFEST)
    return tmp_path


def batch(
    folder: Path, capsys: pytest.CaptureFixture[str], *options: str, expected: int = 0
) -> dict[str, dict[str, Any]]:
    capsys.readouterr()
    assert main(["batch", str(folder / "batch.toml"), "--json", *options]) == expected
    return {row["name"]: row for row in json.loads(capsys.readouterr().out)["jobs"]}


def test_every_model_is_quantised_for_every_target_and_only_once(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = batch(folder, capsys, "--jobs", "2")
    assert list(rows) == ["a.spacemit", "a.generic", "b.spacemit", "b.generic"]
    assert all(row["sqnr_db"] > 15 and row["int8_share"] > 0.9 for row in rows.values())
    plain = xslim.quantize(
        str(folder / "zoo" / "a.onnx"),
        config=json.loads((folder / "out" / "batch.json").read_text()) and _config(folder),
        target="generic",
    )
    assert (folder / "out" / "a.generic.onnx").read_bytes() == plain.model.SerializeToString()

    before = {path: path.stat().st_mtime_ns for path in (folder / "out").glob("*.onnx")}
    assert batch(folder, capsys) == rows
    assert {path: path.stat().st_mtime_ns for path in (folder / "out").glob("*.onnx")} == before

    models.save(models.depthwise_net(), folder / "zoo" / "b.onnx")
    changed = batch(folder, capsys)
    assert changed["a.generic"] == rows["a.generic"]
    assert changed["b.generic"]["sha256"] != rows["b.generic"]["sha256"]
    table = (folder / "out" / "batch.md").read_text()
    assert table.count("| done |") == 4
    assert "<table>" in (folder / "out" / "batch.html").read_text()


def test_the_table_says_what_was_measured_on_random_input(tmp_path: Path) -> None:
    model = models.save(models.mlp(), tmp_path / "a.onnx")
    config = {"quantization_parameters": {"precision_level": 3}}
    found = execute({"model": model, "output": tmp_path / "out.onnx", "config": config, "target": "generic"})
    (figure,) = (cell for cell in Row("a", "generic", "", **found).cells() if "dB" in cell)
    assert figure.endswith(" dB (random input)")


def _config(folder: Path) -> dict[str, Any]:
    return {
        "calibration_parameters": {
            "calibration_device": "cpu",
            "calibration_step": 16,
            "input_parameters": [{"file_type": "npy", "data_list_path": str(folder / "data" / "x.txt")}],
        },
        "quantization_parameters": {"finetune_level": 0},
    }


def test_a_model_that_fails_does_not_stop_the_others(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "zoo" / "b.onnx").write_bytes(b"no model")
    (folder / "batch.toml").write_text(MANIFEST.replace(*ONE_TARGET))
    rows = batch(folder, capsys, expected=1)
    assert "b.onnx" in rows["b.generic"]["error"]
    assert rows["a.generic"]["sha256"]
    assert not (folder / "out" / "b.generic.onnx").exists()


def test_limits_end_a_job_with_the_reason(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "batch.toml").write_text(MANIFEST.replace(*ONE_TARGET))
    rows = batch(folder, capsys, "--time-limit", "0.0001", expected=1)
    assert all("took more than 0.0001 minutes" in row["error"] for row in rows.values())


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_batch_that_is_killed_goes_on_where_it_was(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "batch.toml").write_text(MANIFEST.replace(*ONE_TARGET))
    command = [sys.executable, "-m", "xslim", "batch", str(folder / "batch.toml"), "--jobs", "1"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    state = folder / "out" / "batch.json"
    deadline = time.monotonic() + 120
    while not state.is_file() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(30)
    first = json.loads(state.read_text())["jobs"][0]
    rows = batch(folder, capsys)
    assert len(rows) == 2
    assert rows[first["name"]] == first


def test_a_worker_that_is_killed_fails_its_job_alone(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "die.py").write_text("import os\n\ndef die(paths, entry):\n    os.kill(os.getpid(), 9)\n")
    manifest = folder / "batch.toml"
    manifest.write_text(
        MANIFEST.replace("zoo/*", "zoo/a").replace(*ONE_TARGET)
        + """
[[models]]
model = "zoo/b.onnx"
[models.calibration_parameters]
input_parameters = [{file_type = "npy", data_list_path = "data/x.txt", preprocess_file = "die.py:die"}]
"""
    )
    rows = batch(folder, capsys, expected=1)
    assert rows["a.generic"]["error"] == ""
    assert "the process was killed by SIGKILL" in rows["b.generic"]["error"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("models = 3", "models: must be a list, got integer 3"),
        ("models = []", "models: must not be empty"),
        ("[[models]]\nmodel = 'zoo/a.onnx'\nname = 'a/b'", "models[0].name: is the name of files"),
        ("[[models]]\nmodel = 'zoo/none*.onnx'", "no model matches zoo/none*.onnx"),
        ("[[models]]\nmodel = 'zoo/a.onnx'\nmodle = 1", "unknown field, did you mean model?"),
        ("[[models]]\nmodel = 'zoo/*.onnx'\nname = 'x'", "matches 2 models"),
        (MANIFEST + "\n[[models]]\nmodel = 'zoo/a.onnx'\n", "two jobs have the name a.spacemit"),
        (MANIFEST.replace("finetune_level = 0", "finetune_level = 9"), "finetune_level"),
        ("not toml", "cannot read the manifest"),
        ("[[models]]\nname = 'a'", "an entry of the manifest has no model"),
        ("[[models]]\nmodel = 'zoo/a.onnx'\nconfig = 'none.json'", "there is no such config file"),
    ],
)
def test_a_wrong_manifest_is_refused_before_work_starts(
    folder: Path, text: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "batch.toml").write_text(text)
    assert main(["batch", str(folder / "batch.toml")]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "at least 1 item" not in said
    assert not (folder / "out").exists()


def test_a_job_may_have_as_long_a_name_as_a_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = "x" * (255 - len(".generic.onnx.part-12345678"))
    (folder / "zoo" / "a.onnx").rename(folder / "zoo" / f"{name}.onnx")
    (folder / "zoo" / "b.onnx").unlink()
    (folder / "batch.toml").write_text(MANIFEST.replace(*ONE_TARGET))
    assert batch(folder, capsys)[f"{name}.generic"]["error"] == ""


@pytest.mark.parametrize("option", ["--jobs", "--memory", "--time-limit"])
def test_limits_are_positive(folder: Path, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["batch", str(folder / "batch.toml"), option, "0"]) == 2
    assert f"{option}: must be a positive number" in capsys.readouterr().err


def test_the_workers_of_a_cluster_run_the_models(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    distributed = pytest.importorskip("distributed")
    (folder / "batch.toml").write_text(MANIFEST.replace(*ONE_TARGET))
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None
    ) as cluster:
        rows = batch(folder, capsys, "--dask", cluster.scheduler_address)
    assert all(row["error"] == "" for row in rows.values())
    # The results are those of this machine, so nothing runs again without the cluster.
    assert batch(folder, capsys) == rows
