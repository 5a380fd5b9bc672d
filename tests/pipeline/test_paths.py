"""The path of the output is that of XSlim 2, but never that of the input."""

from __future__ import annotations

from pathlib import Path

import pytest

from xslim.config import load_config
from xslim.errors import OutputError
from xslim.files import write_whole
from xslim.files.places import require_writable
from xslim.pipeline.paths import OutputPaths, output_paths
from xslim.pipeline.protect import prepare_files

# What the config says, the input (None: in memory), the caller's output, whether the caller named the input,
# and the model file that follows, relative to the current directory.
CASES = {
    "beside the model": ({}, "models/net.onnx", None, False, "models/net.q.onnx"),
    "working_dir": ({"working_dir": "out"}, "models/net.onnx", None, False, "out/net.q.onnx"),
    "output_prefix": ({"output_prefix": "small"}, "models/net.onnx", None, False, "models/small.onnx"),
    "the caller's file": ({"working_dir": "out"}, "models/net.onnx", "there/x.onnx", False, "there/x.onnx"),
    "to a folder": ({"output_prefix": "small"}, "models/net.onnx", "there", False, "there/small.onnx"),
    "the caller's input": ({"working_dir": "out"}, "models/net.onnx", None, True, "out/net.onnx"),
    "the caller's input, nothing else": ({}, "models/net.onnx", None, True, "models/net.q.onnx"),
    "in memory": ({}, None, None, True, "temp/xslim.q.onnx"),
    "in memory with a prefix": ({"output_prefix": "small"}, None, None, True, "temp/small.onnx"),
    "in memory to a folder": ({"working_dir": "out"}, None, "there", True, "there/xslim.q.onnx"),
    "onto the input": ({}, "models/net.onnx", "models/net.onnx", False, "models/net.q.onnx"),
    "onto the input, by the config": (
        {"output_prefix": "net", "working_dir": "models"}, "models/net.onnx", None, False, "models/net.q.onnx"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_output_path(
    case: tuple[dict[str, str], str | None, str | None, bool, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    fields, source, output, given, expected = case
    config = load_config({"model_parameters": fields, "quantization_parameters": {"precision_level": 100}})
    paths = output_paths(config, Path(source) if source else None, output, given)
    assert paths.model == tmp_path / expected
    assert paths.beside("_report.md").name == paths.model.stem + "_report.md"


def test_the_input_is_known_through_links(tmp_path: Path) -> None:
    model = tmp_path / "net.onnx"
    model.write_bytes(b"")
    (tmp_path / "link").symlink_to(tmp_path)
    config = load_config({"quantization_parameters": {"precision_level": 100}})
    assert output_paths(config, model, tmp_path / "link" / "net.onnx", given=False).model.name == "net.q.onnx"


def test_a_folder_is_made_with_the_first_file_in_it(tmp_path: Path) -> None:
    paths = OutputPaths(tmp_path / "a" / "b", "net")
    prepare_files([paths.model])
    assert list(tmp_path.iterdir()) == []
    write_whole(paths.model, b"")
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["net.onnx"]


def test_a_folder_in_place_of_the_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        prepare_files([OutputPaths(tmp_path, "net").model])


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="working_dir"):
        prepare_files([OutputPaths(tmp_path / "file", "net").model])


@pytest.mark.parametrize("output", ["loop", "loop/net.onnx"])
def test_a_link_to_itself_is_no_folder(output: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("loop").symlink_to("loop")
    config = load_config({"quantization_parameters": {"precision_level": 100}})
    paths = output_paths(config, Path("net.onnx"), output, given=True)
    with pytest.raises(OutputError, match="cannot write here"):
        require_writable(paths.folder)
