"""README: nothing half-written is left behind, whatever ends a run, and however many run at once."""

from __future__ import annotations

import os
import resource
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from tests import models
from tests.cli.workspace import Workspace, make_workspace
from tests.promises.test_inputs_survive import snapshot
from xslim import slim
from xslim.cli import main
from xslim.errors import OutputError
from xslim.files import clear_leftovers, scratch_folder, write_whole
from xslim.pipeline.paths import OutputPaths
from xslim.pipeline.protect import prepare_files

# A process that is killed while it writes.
KILLED = """
import os, signal, sys
from pathlib import Path
from xslim.files import scratch_folder
with scratch_folder(Path(sys.argv[1])) as aside:
    (aside / "net.onnx").write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let no file grow beyond a size, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def static_run(space: Workspace) -> list[str]:
    return ["-c", str(space.write_config()), "--quiet"]


@pytest.mark.parametrize("size", [1 << 10, 1 << 12, 1 << 13, 1 << 14, 1 << 15])
def test_a_full_disk_leaves_nothing(size: int, tmp_path: Path) -> None:
    """The sketches take 10 kB or so; they may stay, whole, where the model did not fit."""
    space = make_workspace(tmp_path / "space")
    arguments = static_run(space)
    before = snapshot(space.folder)
    for run in (arguments, ["-i", str(space.model), "-o", str(space.output), "--quiet"]):
        with largest_file(size):
            status = main(run)
        after = snapshot(space.folder)
        assert {name: after[name] for name in before} == before
        new = {name for name in after if name not in before}
        if status == 0:
            assert any(name.endswith(".onnx") for name in new)
        else:
            assert status == 2
            assert new <= {"out", "out/net.q.sketches"}
            assert ("out" in new) == ("out/net.q.sketches" in new)


@pytest.mark.parametrize("reason", ["NaN", "function", "shape", "levels"])
def test_a_failed_run_leaves_no_folder(reason: str, tmp_path: Path) -> None:
    space = make_workspace(tmp_path / "space")
    space.section("model")["working_dir"] = str(space.folder / "new" / "deep")
    if reason == "NaN":
        space.set_sample(2, np.full((1, 3, 8, 8), np.nan, np.float32))
    elif reason == "function":
        space.use_function("raise ValueError('no')")
    elif reason == "shape":
        space.set_sample(1, np.zeros((1, 3, 4, 4), np.float32))
    else:
        space.section("quantization")["ignore_op_types"] = ["*"]
    arguments = static_run(space)
    before = snapshot(space.folder)
    assert main(arguments) == 2
    assert snapshot(space.folder) == before


@pytest.mark.parametrize("exists", ["nothing", "link to a folder", "link to nothing"])
def test_a_working_dir_may_be_a_link(exists: str, tmp_path: Path) -> None:
    space = make_workspace(tmp_path / "space")
    if exists != "nothing":
        space.output.symlink_to("real")
    if exists == "link to a folder":
        (space.folder / "real").mkdir()
    assert main(["-i", str(space.model), "-o", str(space.output), "--quiet"]) == 0
    assert (space.output / "net.onnx").is_file()
    assert space.output.is_symlink() == (exists != "nothing")


def test_what_a_killed_run_left_is_removed_by_the_next(tmp_path: Path) -> None:
    space = make_workspace(tmp_path / "space")
    space.output.mkdir()
    killed = subprocess.run([sys.executable, "-c", KILLED, str(space.output)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(list(space.output.iterdir())) == 1
    with scratch_folder(space.output) as in_use:
        (in_use / "other.onnx").write_bytes(b"of another run")
        assert main(["-i", str(space.model), "-o", str(space.output), "--quiet"]) == 0
        assert {path.name for path in space.output.iterdir()} == {"net.onnx", in_use.parent.name}
        assert (in_use / "other.onnx").exists()
    assert [path.name for path in space.output.iterdir()] == ["net.onnx"]


def test_scratch_folders_of_every_kind(tmp_path: Path) -> None:
    """Killed before the lock was there: gone. Not made here, or in use: stays."""
    (tmp_path / ".xslim-abcdefgh").mkdir()
    for name in (".xslim-12345678", ".xslim-abc", "xslim-abcdefgh"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "notes").touch()
    (tmp_path / ".xslim-aaaaaaaa").touch()
    (tmp_path / ".xslim-bbbbbbbb").symlink_to(".xslim-12345678")
    before = snapshot(tmp_path)
    with scratch_folder(tmp_path) as used:
        clear_leftovers(tmp_path)
        assert used.is_dir()
    del before[".xslim-abcdefgh"]
    assert snapshot(tmp_path) == before


def test_runs_at_once_into_one_folder(tmp_path: Path) -> None:
    space = make_workspace(tmp_path / "space")
    source = space.model.read_bytes()

    def run(_: int) -> bytes:
        return slim(space.model, space.output / "small.onnx").SerializeToString()

    with ThreadPoolExecutor(5) as pool:
        results = set(pool.map(run, range(10)))
    assert len(results) == 1
    assert [path.name for path in space.output.iterdir()] == ["small.onnx"]
    assert space.model.read_bytes() == source


def test_checks_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    """All of them make the folder and take it away again; one of them writes into it now and then."""
    paths = OutputPaths(tmp_path / "new" / "deep", "net")

    def check(number: int) -> None:
        for _ in range(50):
            prepare_files([paths.model])
            if number == 0:
                write_whole(paths.model, b"whole")
                paths.model.unlink()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(check, range(8)))
    write_whole(paths.model, b"whole")
    assert [path.name for path in paths.folder.iterdir()] == ["net.onnx"]


def test_writing_does_not_touch_the_umask(tmp_path: Path) -> None:
    """Files that another thread makes meanwhile get the permissions that they should."""
    done = threading.Event()

    def write() -> None:
        while not done.is_set():
            write_whole(tmp_path / "ours", b"")

    before = os.umask(0o027)
    writer = threading.Thread(target=write)
    try:
        writer.start()
        for index in range(300):
            (tmp_path / str(index)).touch()
    finally:
        done.set()
        writer.join()
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o640}


@pytest.mark.parametrize("suffix", ["md", "json", "html"])
def test_a_report_that_cannot_be_written_is_a_warning(
    suffix: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    space = make_workspace(tmp_path)
    space.section("quantization")["analysis_enable"] = True
    (space.output / f"net.q_report.{suffix}").mkdir(parents=True)
    assert main(static_run(space)) == 0
    log = capfd.readouterr().err
    assert f"net.q_report.{suffix}: cannot write" in log
    assert log.count("xslim: warning: the model is written") == 1
    written = {path.name for path in space.output.iterdir() if path.is_file()}
    reports = {f"net.q_report.{other}" for other in ("md", "json", "html") if other != suffix}
    assert written == {"net.q.onnx", "net.q.sketches"} | reports


def test_init_writes_all_of_its_files_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space = make_workspace(tmp_path)
    before = snapshot(tmp_path)

    def fail(path: Path, text: str) -> None:
        if path.suffix == ".json":
            raise OutputError("cannot write: the disk is full", where=str(path))
        write_whole(path, text)

    monkeypatch.setattr("xslim.commands.init.write_whole", fail)
    arguments = ["init", str(space.model), "--data", str(tmp_path / "data"), "-o", str(tmp_path / "c.json")]
    assert main(arguments) == 2
    assert snapshot(tmp_path) == before


def test_a_model_that_is_written_elsewhere_has_the_same_bytes(tmp_path: Path) -> None:
    models.save(models.conv_net(), tmp_path / "net.onnx")
    outputs = [tmp_path / "a.onnx", tmp_path / "new" / "b.onnx", tmp_path / "a.onnx"]
    for output in outputs:
        assert main(["-i", str(tmp_path / "net.onnx"), "-o", str(output), "--quiet"]) == 0
    assert outputs[0].read_bytes() == outputs[1].read_bytes()
