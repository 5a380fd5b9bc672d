"""Missing files are named before the model is prepared; an OpenCV that does not load is explained."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import xslim
from tests.cli.workspace import Workspace, make_workspace
from xslim.cli import main

Capture = pytest.CaptureFixture[str]


def run(workspace: Workspace, command: str) -> int:
    config = str(workspace.write_config())
    if command == "run":
        return main(["-c", config])
    if command == "collect":
        return main(["collect", "-c", config, "-o", str(workspace.folder / "sketch")])
    return main(["tune", "-c", config, "--min-sqnr", "20"])


@pytest.mark.parametrize("command", ["run", "collect", "tune"])
@pytest.mark.parametrize(
    ("missing", "message"),
    [("list", "there is no such list file"), ("file", "x.txt, line 2: x1.npy: there is no such file")],
)
def test_a_missing_file_ends_the_run_before_it_begins(
    tmp_path: Path, capsys: Capture, command: str, missing: str, message: str
) -> None:
    workspace = make_workspace(tmp_path)
    (workspace.listing if missing == "list" else workspace.folder / "data" / "x1.npy").unlink()
    assert run(workspace, command) == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert "nodes became" not in shown
    assert len(shown.splitlines()) == 1


def test_both_places_of_a_relative_list_are_named(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = make_workspace(tmp_path / "project")
    workspace.entry["data_list_path"] = "none.txt"
    monkeypatch.chdir(tmp_path)
    assert run(workspace, "run") == 2
    shown = capsys.readouterr().err
    assert f"{tmp_path / 'none.txt'}: there is no such list file" in shown
    assert f"so {tmp_path / 'project' / 'none.txt'} was tried as well" in shown


def test_a_plan_needs_no_files(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    workspace.listing.unlink()
    assert main(["plan", "-c", str(workspace.write_config()), "-o", str(tmp_path / "plan.json")]) == 0


def test_an_opencv_without_its_libraries(tmp_path: Path) -> None:
    """As opencv-python behaves on a machine without a desktop, if it was installed after the headless one."""
    workspace = make_workspace(tmp_path)
    workspace.use_images()
    package = tmp_path / "site" / "cv2"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text('raise ImportError("libGL.so.1: cannot open")', "utf-8")
    folders = os.pathsep.join([str(package.parent), str(Path(xslim.__file__).parents[1])])
    done = subprocess.run(
        [sys.executable, "-m", "xslim", "-c", str(workspace.write_config())],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": folders},
        check=False,
    )
    assert done.returncode == 2
    assert "OpenCV does not load: libGL.so.1" in done.stderr
    assert "pip install opencv-python-headless" in done.stderr


def test_an_opencv_whose_files_another_package_took_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """As after ``pip uninstall opencv-python``, which removes the files of the headless one as well."""
    workspace = make_workspace(tmp_path)
    workspace.use_images()
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert run(workspace, "run") == 2
    assert "OpenCV does not load" in capsys.readouterr().err
