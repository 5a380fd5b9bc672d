"""README: the input is never overwritten, and no other file of the user's either.

Every output of every command, at the place of every input, by itself or disguised as a link: what was there
before is there afterwards.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

import onnx
import pytest

from tests import models
from tests.cli.workspace import Workspace, make_workspace
from xslim.cli import main

Snapshot = dict[str, bytes]

COMMON = ("net.onnx", "weights.bin", "config.json", "data/x.txt", "data/x1.npy", "pre.py", "board.toml")
SKETCHES = "part"
# Commands whose output has any name, with the files that they must leave alone. xslim init and xslim schema
# replace nothing at all, apart from a schema.
FREE = {"plan": COMMON, "collect": COMMON, "init": (*COMMON, SKETCHES), "schema": (*COMMON, SKETCHES)}
# The files of a run; those that it writes whatever it reads.
RUN_FILES = {
    "run": ("t.onnx", "t.onnx.data", "t.sketches", "t_report.md", "t_report.json", "t_report.html"),
    "quantize": ("t.onnx", "t.onnx.data", "t_report.md", "t_report.json", "t_report.html"),
}

# How the target leads to the input; what is made for that has to survive as well.
DISGUISES: dict[str, Callable[[Path, Path], None]] = {
    "hard link": lambda target, source: os.link(source, target),
    "symbolic link": lambda target, source: target.symlink_to(source),
    "relative symbolic link": lambda target, source: target.symlink_to(
        os.path.relpath(source, target.parent)
    ),
    "link to a link": lambda target, source: _link_twice(target, source),
}


def _link_twice(target: Path, source: Path) -> None:
    middle = target.with_name("middle")
    middle.symlink_to(source)
    target.symlink_to(middle.name)


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace whose model has its weights in another file, with a function and collected sketches."""
    space = make_workspace(tmp_path_factory.mktemp("inputs"))
    space.use_function("return np.concatenate([np.load(path) for path in paths])")
    table = resources.files("xslim").joinpath("targets", "spacemit.toml").read_text("utf-8")
    (space.folder / "board.toml").write_text(table, "utf-8")
    space.section("quantization")["target"] = "board.toml"
    path = space.write_config()
    assert main(["collect", "-c", str(path), "-o", str(space.folder / "part"), "--quiet"]) == 0
    onnx.save(
        models.conv_net(), space.model, save_as_external_data=True, location="weights.bin", size_threshold=0
    )
    space.section("quantization")["analysis_enable"] = True
    space.write_config()
    return space


def snapshot(folder: Path) -> Snapshot:
    """Every file with its content, every link with its target, every folder."""
    found = {}
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = b"link to " + os.fsencode(path.readlink())
        elif path.is_file():
            found[name] = path.read_bytes()
        elif path.name != "__pycache__":
            found[name] = b"folder"
    return {name: content for name, content in found.items() if "__pycache__" not in name}


@contextmanager
def undone(folder: Path) -> Iterator[None]:
    """Remove afterwards what is made in the block."""
    before = snapshot(folder)
    try:
        yield
    finally:
        for name in sorted(set(snapshot(folder)) - set(before), reverse=True):
            path = folder / name
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()


def command(name: str, space: Workspace, target: Path) -> list[str]:
    config = ["-c", str(space.folder / "config.json")]
    return {
        "plan": ["plan", *config, "-o", str(target)],
        "collect": ["collect", *config, "-o", str(target)],
        "init": ["init", str(space.model), "--data", str(space.folder / "data"), "-o", str(target)],
        "schema": ["schema", "-o", str(target)],
        "run": [*config, "-o", str(target)],
        "quantize": ["quantize", *config, "--sketch", str(space.folder / "part"), "-o", str(target)],
    }[name] + ["--quiet"]


@pytest.mark.parametrize("name", FREE)
def test_an_output_that_is_an_input_is_refused(
    name: str, space: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(space.folder / "data")
    before = snapshot(space.folder)
    for source in FREE[name]:
        path = space.folder / source
        for target in (path, Path(os.path.relpath(path)), path.parent / ".." / path.parent.name / path.name):
            assert main(command(name, space, target)) == 2, target
            assert snapshot(space.folder) == before, target


@pytest.mark.parametrize("disguise", DISGUISES)
@pytest.mark.parametrize("name", FREE)
def test_an_output_that_leads_to_an_input_is_refused(name: str, disguise: str, space: Workspace) -> None:
    for source in FREE[name]:
        with undone(space.folder):
            target = space.folder / "target"
            DISGUISES[disguise](target, space.folder / source)
            before = snapshot(space.folder)
            assert main(command(name, space, target)) == 2, source
            assert snapshot(space.folder) == before, source


@pytest.mark.parametrize("disguise", DISGUISES)
@pytest.mark.parametrize(
    ("name", "source"), [*(("run", source) for source in COMMON), ("quantize", SKETCHES)]
)
def test_no_file_of_a_run_replaces_an_input(name: str, source: str, disguise: str, space: Workspace) -> None:
    for file in RUN_FILES[name]:
        if (file, source) == ("t.onnx", "net.onnx"):
            # The test below.
            continue
        with undone(space.folder):
            DISGUISES[disguise](space.folder / file, space.folder / source)
            before = snapshot(space.folder)
            assert main(command(name, space, space.folder / "t.onnx")) == 2, file
            assert snapshot(space.folder) == before, file


@pytest.mark.parametrize("disguise", [*DISGUISES, "itself", "through a linked folder"])
def test_an_output_that_is_the_model_takes_another_name(disguise: str, space: Workspace) -> None:
    with undone(space.folder):
        target = space.model
        if disguise in DISGUISES:
            target = space.folder / "t.onnx"
            DISGUISES[disguise](target, space.model)
        elif disguise == "through a linked folder":
            (space.folder / "linked").symlink_to(".")
            target = space.folder / "linked" / "net.onnx"
        before = snapshot(space.folder)
        assert main(["-i", str(space.model), "-o", str(target), "--quiet"]) == 0
        after = snapshot(space.folder)
        assert set(after) - set(before) == {f"{target.stem}.q.onnx"}
        assert {name: after[name] for name in before} == before


def test_a_model_that_is_a_link_stays_one(space: Workspace) -> None:
    """The layout of a cache: a name that links to a blob."""
    with undone(space.folder):
        blob, link = space.folder / "blob", space.folder / "linked.onnx"
        blob.write_bytes(models.conv_net().SerializeToString())
        link.symlink_to(blob.name)
        before = snapshot(space.folder)
        for output in (link, blob, space.folder):
            for level in ("--dynq", "--fp16", "--quiet"):
                arguments = ["-i", str(link), "-o", str(output), level]
                assert main(arguments) == (2 if output == blob else 0), arguments
                after = snapshot(space.folder)
                assert {name: after[name] for name in before} == before
                assert set(after) - set(before) <= {"linked.q.onnx"}


def test_an_output_that_is_a_link_to_something_else_is_refused(space: Workspace) -> None:
    with undone(space.folder):
        (space.folder / "t.onnx").symlink_to("elsewhere.onnx")
        for target in ("elsewhere.onnx", "nowhere"):
            (space.folder / "elsewhere.onnx").write_bytes(b"other work")
            (space.folder / "t.onnx").unlink()
            (space.folder / "t.onnx").symlink_to(target)
            before = snapshot(space.folder)
            for name in (*FREE, "run"):
                assert main(command(name, space, space.folder / "t.onnx")) == 2, name
                assert snapshot(space.folder) == before, name


@pytest.mark.parametrize("name", [*FREE, "run"])
def test_an_output_that_is_no_regular_file_is_refused(name: str, space: Workspace) -> None:
    with undone(space.folder):
        target = space.folder / "t.onnx"
        os.mkfifo(target)
        assert main(command(name, space, target)) == 2
        assert target.is_fifo()


@pytest.mark.parametrize(
    "arguments",
    [
        ["info", "net.onnx"],
        ["check", "net.onnx"],
        ["compare", "net.onnx", "net.onnx", "--data", "config.json"],
        ["plan", "-c", "config.json", "--json"],
        ["-c", "config.json", "-o", "t.onnx"],
    ],
    ids=lambda arguments: arguments[0],
)
@pytest.mark.parametrize("source", ["net.onnx", "weights.bin", "data/x1.npy"])
def test_nothing_is_printed_into_an_input(
    source: str, arguments: list[str], space: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    if source == "data/x1.npy" and arguments[0] in {"info", "check"}:
        pytest.skip("reads no samples")
    monkeypatch.chdir(space.folder)
    before = snapshot(space.folder)
    with (space.folder / source).open("a") as file:
        monkeypatch.setattr(sys, "stdout", file)
        status = main([*arguments, "--quiet"])
    assert status == 2
    assert snapshot(space.folder) == before


@pytest.mark.parametrize("name", [*FREE, "run"])
def test_a_name_that_is_too_long_is_refused(name: str, space: Workspace) -> None:
    before = snapshot(space.folder)
    assert main(command(name, space, space.folder / f"{'long' * 80}.onnx")) == 2
    assert snapshot(space.folder) == before


def test_a_schema_replaces_a_schema_alone(tmp_path: Path) -> None:
    schema = tmp_path / "schema.json"
    assert main(["schema", "-o", str(schema)]) == 0
    content = schema.read_bytes()
    schema.write_bytes(content.replace(b"finetune", b"ancient"))
    assert main(["schema", "-o", str(schema)]) == 0
    assert schema.read_bytes() == content
    for other in (b"", b"{}", b'"XSlim configuration"', b"\xff", b"[" * 100_000):
        schema.write_bytes(other)
        assert main(["schema", "-o", str(schema)]) == 2
        assert schema.read_bytes() == other


def test_decoys_survive(tmp_path: Path) -> None:
    """Files that look like ours but are not: by their names, or by where they lie."""
    space = make_workspace(tmp_path)
    space.write_config()
    assert main(command("collect", space, space.folder / SKETCHES)) == 0
    for name in (
        "t.writing", ".t.onnx-abc123", ".xslim-abcdefgh", "t.onnx.tmp", "t.q.onnx", ".xslim-lock", "lock"
    ):  # fmt: skip
        (space.folder / name).write_text("mine")
    for name in (".xslim-12345678", ".xslim-notes", "files"):
        (space.folder / name).mkdir()
        (space.folder / name / "notes.txt").write_text("mine")
    before = snapshot(space.folder)
    for name in ("run", "quantize", *FREE):
        target = "t.onnx" if name in {"run", "quantize"} else f"new-{name}"
        assert main(command(name, space, space.folder / target)) == 0
    after = snapshot(space.folder)
    assert {name: after[name] for name in before} == before
