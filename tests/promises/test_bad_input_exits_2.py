"""README: bad input ends with exit status 2 and one line that says what is wrong, before any work starts."""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cli.workspace import Workspace, make_workspace
from xslim.cli import main

DIGITS = "9" * 5_000

# What is done to a good workspace, with the line that the error must hold.
BAD: dict[str, tuple[Callable[[Workspace], None], str]] = {}


def bad(fragment: str) -> Callable[[Callable[[Workspace], None]], Callable[[Workspace], None]]:
    """Add a case to the table under the name of its function."""

    def add(change: Callable[[Workspace], None]) -> Callable[[Workspace], None]:
        BAD[change.__name__] = (change, fragment)
        return change

    return add


def in_config(space: Workspace, old: str, new: str) -> None:
    """Replace text of the configuration as it is written."""
    text = json.dumps(space.config)
    assert old in text
    (space.folder / "config.json").write_text(text.replace(old, new), "utf-8")


@bad("model_parameters.onnx_model: must not contain a NUL character")
def model_path_holds_nul(space: Workspace) -> None:
    space.section("model")["onnx_model"] = "a\0b.onnx"


@bad("input_parametres[0].data_list_path: must not contain a NUL character")
def list_path_holds_nul(space: Workspace) -> None:
    space.entry["data_list_path"] = "\0"


@bad("input_parametres[0].preprocess_file: must be PT_IMAGENET")
def function_path_holds_nul(space: Workspace) -> None:
    space.entry["preprocess_file"] = "a\0.py:run"


@bad("a number has too many digits")
def number_of_5000_digits(space: Workspace) -> None:
    in_config(space, '"calibration_step": 10', f'"calibration_step": {DIGITS}')


@bad("calibration_parameters.calibration_step: must be at most")
def number_of_4000_digits(space: Workspace) -> None:
    in_config(space, '"calibration_step": 10', f'"calibration_step": {DIGITS[:4000]}')


@bad("nested too deeply")
def config_is_nested_too_deeply(space: Workspace) -> None:
    (space.folder / "config.json").write_text("[" * 100_000, "utf-8")


def without_content(path: Path) -> None:
    """Put a named pipe in the place of a file: who reads it waits for ever."""
    path.unlink()
    os.mkfifo(path)


@bad("config.json: cannot read the config file: this is a named pipe, not a file")
def config_is_a_pipe(space: Workspace) -> None:
    space.write_config()
    without_content(space.folder / "config.json")


@bad("net.onnx: cannot read the model: this is a named pipe")
def model_is_a_pipe(space: Workspace) -> None:
    without_content(space.model)


@bad("/dev/zero: cannot read the model: this is a device")
def model_is_a_device(space: Workspace) -> None:
    space.section("model")["onnx_model"] = "/dev/zero"


@bad("x.txt: cannot read the list file: this is a named pipe")
def list_is_a_pipe(space: Workspace) -> None:
    without_content(space.listing)


@bad("/dev/zero: cannot read the list file: this is a device")
def list_is_a_device(space: Workspace) -> None:
    space.entry["data_list_path"] = "/dev/zero"


@bad("x.txt, line 2: x1.npy: this is a named pipe")
def sample_is_a_pipe(space: Workspace) -> None:
    without_content(space.folder / "data" / "x1.npy")


@bad("x.txt, line 1: /dev/urandom: this is a device")
def sample_is_a_device(space: Workspace) -> None:
    space.listing.write_text("/dev/urandom\n", "utf-8")


@bad("x.txt, line 1: a\\x00b.npy: embedded null")
def sample_name_holds_nul(space: Workspace) -> None:
    space.listing.write_text("a\0b.npy\n", "utf-8")


@bad("x.txt, line 1: ")
def sample_name_is_too_long(space: Workspace) -> None:
    space.listing.write_text("a" * 5_000 + "\n", "utf-8")


@bad("there is no such file")
def function_file_is_a_pipe(space: Workspace) -> None:
    space.use_function("pass")
    without_content(space.folder / "pre.py")


# Preprocessing functions: what raises, whatever it raises, is an error of the function.


@bad("importing the file raised SystemExit: 0")
def function_file_leaves(space: Workspace) -> None:
    space.use_function("pass")
    (space.folder / "pre.py").write_text("import sys\ndef run(p, q): pass\nsys.exit(0)\n", "utf-8")


@bad("the function raised SystemExit: 0")
def function_leaves(space: Workspace) -> None:
    space.use_function("import sys; sys.exit(0)")


@bad("the function raised GeneratorExit")
def function_raises_what_is_no_exception(space: Workspace) -> None:
    space.use_function("raise GeneratorExit")


@bad("the function raised Odd")
def function_raises_what_has_no_text(space: Workspace) -> None:
    space.use_function(
        "\n    class Odd(BaseException):\n        def __str__(self): raise SystemExit(0)\n    raise Odd"
    )


@bad("the function raised SystemExit")
def function_returns_what_leaves(space: Workspace) -> None:
    space.use_function(
        "\n    class Odd:\n        def __array__(self, *a, **k): raise SystemExit(0)\n    return Odd()"
    )


# Arrays whose headers lie


def header(text: str, data: bytes = b"") -> Callable[[Workspace], None]:
    """Replace the first sample by a header and some data."""

    def change(space: Workspace) -> None:
        content = text.encode("latin1") + b"\n"
        start = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(content))
        (space.folder / "data" / "x0.npy").write_bytes(start + content + data)

    return change


HEADER = "{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}}}"
HEADERS = {
    "(10**11 values)": (("'<f4'", "False", "(100000000000, 3, 8, 8)"), "its header promises"),
    "(2**62 values)": (("'<f4'", "False", "(4611686018427387904, 3, 8, 8)"), "its header promises"),
    "(True, 3, 8, 8)": (("'<f4'", "False", "(True, 3, 8, 8)"), "its shape is (True, 3, 8, 8)"),
    "(-1, 3, 8, 8)": (("'<f4'", "False", "(-1, 3, 8, 8)"), "its shape is (-1, 3, 8, 8)"),
    "(0, 3, 8, 8)": (("'<f4'", "False", "(0, 3, 8, 8)"), "holds no value"),
    "no tuple": (("'<f4'", "False", "3"), "not a npy file"),
    "no type": (("'<z9'", "False", "(1, 3, 8, 8)"), "not a npy file"),
    "a list of types": (("[[[]]]", "False", "(1, 3, 8, 8)"), "not a npy file"),
    "no order": (("'<f4'", "7", "(1, 3, 8, 8)"), "not a npy file"),
    "nested brackets": (("'<f4'", "False", "(" * 3_000 + ")" * 3_000), "not a npy file"),
    "an expression": (("'<f4'", "False", "(9**9**9,)"), "not a npy file"),
}
for _name, ((_descr, _order, _shape), _fragment) in HEADERS.items():
    _text = HEADER.format(descr=_descr, order=_order, shape=_shape)
    BAD[f"npy header: {_name}"] = (header(_text), _fragment)


def exit_status_and_error(arguments: list[str], capfd: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Run the command line; return its status and the one error line."""
    status = main(arguments)
    streams = capfd.readouterr()
    assert "Traceback" not in streams.err
    (line,) = [line for line in streams.err.splitlines() if "error" in line.split(": ")[:2][-1]]
    assert line.startswith("xslim: error: ")
    return status, line


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    change, fragment = BAD[name]
    space = make_workspace(tmp_path / "space")
    change(space)
    config = space.folder / "config.json"
    if not config.exists():
        space.write_config()
    status, line = exit_status_and_error(["-c", str(config)], capfd)
    assert fragment in line
    assert status == 2
    assert not list(space.output.glob("*"))


def sketch_file(header: object, blobs: bytes = b"") -> bytes:
    """Wrap a header and some sketches as a sketch file with the right checksum."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    body = len(text).to_bytes(8, "little") + text + blobs
    return b"XSLIM-SKETCHES-1\n" + hashlib.sha256(body).digest() + body


def changed_header(good: bytes, **changes: Any) -> bytes:
    """Change fields of the header of a good file; the checksum is right again."""
    body = good[len(b"XSLIM-SKETCHES-1\n") + 32 :]
    end = 8 + int.from_bytes(body[:8], "little")
    return sketch_file(json.loads(body[8:end]) | changes, body[end:])


NO_SKETCHES: dict[str, Callable[[bytes], bytes]] = {
    "null": lambda _: sketch_file(None),
    "a list": lambda _: sketch_file([1, 2]),
    "no JSON": lambda _: sketch_file(b"{"),
    "nested": lambda _: sketch_file(b"[" * 100_000),
    "a length beyond the file": lambda good: good[:49] + b"\xff" * 8 + good[57:],
    "a shard of 10**9": lambda good: changed_header(good, shard=[0, 10**9]),
    "a shard that is no shard": lambda good: changed_header(good, shard=[3, 2]),
    "a shard of text": lambda good: changed_header(good, shard="ab"),
    "True for a size": lambda good: changed_header(good, batch_size=True),
    "sizes that do not fit": lambda good: changed_header(good, sizes=[10**12]),
    "no tensors": lambda good: changed_header(good, sizes=[], batches={}),
    "extremes of text": lambda good: changed_header(good, early={"y": ["a", "b"]}),
    "a field too many": lambda good: changed_header(good, more=1),
    "nothing": lambda _: b"",
}


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, bytes]:
    space = make_workspace(tmp_path_factory.mktemp("collected") / "space")
    file = space.folder / "good"
    assert main(["collect", "-c", str(space.write_config()), "-o", str(file), "--quiet"]) == 0
    return space, file.read_bytes()


@pytest.mark.parametrize("name", NO_SKETCHES)
def test_bad_sketches(
    name: str, collected: tuple[Workspace, bytes], capfd: pytest.CaptureFixture[str]
) -> None:
    space, good = collected
    file = space.folder / "bad"
    file.write_bytes(NO_SKETCHES[name](good))
    arguments = ["quantize", "-c", str(space.folder / "config.json"), "--sketch", str(file)]
    status, _ = exit_status_and_error(arguments, capfd)
    assert status == 2


@pytest.mark.parametrize("level", [3, 4, 100])
@pytest.mark.parametrize("command", ["collect", "quantize"])
def test_sketches_serve_static_levels_only(
    command: str, level: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    space = make_workspace(tmp_path / "space")
    space.config["quantization_parameters"] = {"precision_level": level}
    before = space.write_config(), space.files()
    given = ["--sketch", str(tmp_path / "none")] if command == "quantize" else ["-o", str(tmp_path / "part")]
    status, error = exit_status_and_error([command, "-c", str(before[0]), *given], capfd)
    assert status == 2
    assert f"precision_level {level} takes no sketches" in error
    assert space.files() == before[1]


def test_a_tensor_left_out_of_one_shard(
    collected: tuple[Workspace, bytes], capfd: pytest.CaptureFixture[str]
) -> None:
    space, good = collected
    body = good[49:]
    end = 8 + int.from_bytes(body[:8], "little")
    fields = json.loads(body[8:end])
    last = fields["sizes"].pop()
    fields["batches"].popitem()
    file = space.folder / "short"
    file.write_bytes(sketch_file(fields, body[end:-last]))
    arguments = ["quantize", "-c", str(space.folder / "config.json"), "--sketch", str(file)]
    status, line = exit_status_and_error(arguments, capfd)
    assert (status, "does not hold the sketches of all tensors" in line) == (2, True)


def test_a_pipe_as_sketch_file(collected: tuple[Workspace, bytes], capfd: pytest.CaptureFixture[str]) -> None:
    space, _ = collected
    pipe = space.folder / "pipe"
    os.mkfifo(pipe)
    arguments = ["quantize", "-c", str(space.folder / "config.json"), "--sketch", str(pipe)]
    assert exit_status_and_error(arguments, capfd)[0] == 2


@pytest.mark.parametrize(
    "threads", ["1000000000", "1025", "0", "-1", "+2", "1e3", "0x4", "\u0663", "\u00b2", ""]
)
def test_threads(
    threads: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XSLIM_THREADS", threads)
    space = make_workspace(tmp_path / "space")
    status, line = exit_status_and_error(["-c", str(space.write_config())], capfd)
    assert (status, "XSLIM_THREADS" in line) == (2, True)
    assert not space.output.exists()


def no_zip(path: Path) -> None:
    np.savez(path, x=np.zeros((3, 3, 8, 8), np.float32))
    path.write_bytes(path.read_bytes()[:100])


ARCHIVES: dict[str, Callable[[Path], None]] = {
    "cut short": no_zip,
    "objects": lambda path: np.savez(path, x=np.array([{}], object)),
    "one number": lambda path: np.savez(path, x=np.float32(1)),
    "text": lambda path: np.savez(path, x=np.array(["a", "b"])),
    "empty": lambda path: path.write_bytes(b""),
    "a pipe": lambda path: os.mkfifo(path),
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_bad_archives(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    space = make_workspace(tmp_path / "space")
    file = tmp_path / "data.npz"
    ARCHIVES[name](file)
    model = str(space.model)
    status, _ = exit_status_and_error(["compare", model, model, "--data", str(file), "--quiet"], capfd)
    assert status == 2
