"""Bad input prints one clear line on stderr, exits with status 2 and leaves no file behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests import models
from tests.cli.workspace import Workspace, make_workspace
from tests.config.test_load import WRONG, changed
from xslim.cli import main

# What is done to a good workspace (it may return other arguments), and what the error must say.
Change = Callable[[Workspace], "list[str] | None"]
CASES: dict[str, tuple[Change, str]] = {}


def case(fragment: str) -> Callable[[Change], Change]:
    """Add a case to the table under the name of its function."""

    def add(change: Change) -> Change:
        CASES[change.__name__] = (change, fragment)
        return change

    return add


# The configuration file


@case("there is no such config file")
def config_is_missing(space: Workspace) -> list[str]:
    return ["-c", str(space.folder / "none.json")]


@case("line 1, column 2: not valid JSON")
def config_is_no_json(space: Workspace) -> list[str]:
    (space.folder / "bad.json").write_text("{model: 1}", "utf-8")
    return ["-c", str(space.folder / "bad.json")]


@case("calibration_parameters.calibration_stp: unknown field, did you mean calibration_step?")
def field_is_misspelt(space: Workspace) -> None:
    space.section("calibration")["calibration_stp"] = 3


@case("calibration_parameters.input_parameters: required for precision_level 0")
def static_without_data(space: Workspace) -> None:
    del space.config["calibration_parameters"]


# Arguments


@case("nothing to do: give -c CONFIG or -i MODEL")
def nothing_to_do(space: Workspace) -> list[str]:
    return ["--quiet"]


@case("unrecognized arguments: --fp8")
def unknown_option(space: Workspace) -> list[str]:
    return ["-i", str(space.model), "--fp8"]


@case("unknown command 'shema' (did you mean schema?)")
def unknown_command(space: Workspace) -> list[str]:
    return ["shema"]


@case("argument --fp16: not allowed with argument --dynq")
def two_levels(space: Workspace) -> list[str]:
    return ["-i", str(space.model), "--dynq", "--fp16"]


@case("argument --opset: invalid int value: 'new'")
def opset_is_no_number(space: Workspace) -> list[str]:
    return ["-i", str(space.model), "--opset", "new"]


@case("model_parameters.opset: must be at least 1, got 0")
def opset_is_zero(space: Workspace) -> list[str]:
    return ["-c", str(space.write_config()), "--opset", "0"]


@case("opset")
def opset_is_unheard_of(space: Workspace) -> list[str]:
    return ["-c", str(space.write_config()), "--opset", "999"]


# The model


@case("model_parameters.onnx_model: no model is given")
def model_is_not_named(space: Workspace) -> None:
    del space.section("model")["onnx_model"]


@case("net.onnx")
def model_is_missing(space: Workspace) -> None:
    space.model.unlink()


@case("cannot read the model: Is a directory")
def model_is_a_folder(space: Workspace) -> None:
    space.section("model")["onnx_model"] = str(space.folder)


@case("net.onnx")
def model_is_empty(space: Workspace) -> None:
    space.model.write_bytes(b"")


@case("net.onnx")
def model_is_no_onnx(space: Workspace) -> None:
    space.model.write_bytes(b"this is no protocol buffer" * 10)


@case("net.onnx")
def model_is_truncated(space: Workspace) -> None:
    space.model.write_bytes(space.model.read_bytes()[:-300])


@case("nowhere")
def model_reads_an_undefined_tensor(space: Workspace) -> None:
    proto = models.mlp()
    proto.graph.node[0].input[0] = "nowhere"
    space.set_model(proto)


@case("NoSuchOperator")
def model_has_an_unknown_operator(space: Workspace) -> None:
    proto = models.conv_net()
    proto.graph.node[1].op_type = "NoSuchOperator"
    space.set_model(proto)


@case("weights.bin")
def model_has_lost_its_weights(space: Workspace) -> None:
    onnx.save(
        models.conv_net(), space.model, save_as_external_data=True, location="weights.bin", size_threshold=0
    )
    (space.folder / "weights.bin").unlink()


@case("quantise, dequantise")
def model_is_quantised_already(space: Workspace) -> None:
    space.set_model(models.quantised_net())


@case("no operator of the model can be quantised")
def model_has_no_quantisable_operator(space: Workspace) -> None:
    space.set_model(models.float_only_net())


@case("no operator of the model can be quantised")
def every_operator_is_ignored(space: Workspace) -> None:
    space.section("quantization")["ignore_op_types"] = ["*"]


@case("only tensors of numbers can be fed")
def model_input_is_text(space: Workspace) -> None:
    proto = models.mlp()
    proto.graph.input.append(helper.make_tensor_value_info("s", TensorProto.STRING, [1]))
    proto.graph.node.append(helper.make_node("Identity", ["s"], ["t"], name="text"))
    proto.graph.output.append(helper.make_tensor_value_info("t", TensorProto.STRING, [1]))
    space.set_model(proto)


# Lists


@case("x.txt: there is no such list file")
def list_is_missing(space: Workspace) -> None:
    space.listing.unlink()


@case("x.txt: the list file names no file")
def list_is_empty(space: Workspace) -> None:
    space.listing.write_text("\n\n", "utf-8")


@case("x.txt, line 4: gone.npy: there is no such file")
def listed_file_is_missing(space: Workspace) -> None:
    space.listing.write_text(space.listing.read_text("utf-8") + "gone.npy\n", "utf-8")


@case("has 1 entries but the model has 2 inputs")
def entry_is_missing(space: Workspace) -> None:
    space.set_model(models.two_inputs())


@case("the list of input vector ends after 2 files, the list of image has 3")
def lists_are_unequal(space: Workspace) -> None:
    space.set_model(models.two_inputs())
    vectors = models.write_samples(space.folder / "data", (1, 5), 2, name="v")
    entry = {"file_type": "npy", "data_list_path": str(vectors)}
    space.section("calibration")["input_parametres"].append(entry)


@case("the model has no input 'y' (the inputs are x [1, 3, 8, 8] float32)")
def input_name_is_unknown(space: Workspace) -> None:
    space.entry["input_name"] = "y"


@case("[1, 3, 9, 9] does not fit the model's input x of shape [1, 3, 8, 8]")
def input_shape_is_wrong(space: Workspace) -> None:
    space.entry["input_shape"] = [1, 3, 9, 9]


@case("dtype: is int64 but the model's input x is float32")
def dtype_is_wrong(space: Workspace) -> None:
    space.entry["dtype"] = "int64"


# Files


@case("x.txt, line 2: x1.npy: has the shape [1, 3, 4, 4] but the input x has [1, 3, 8, 8]")
def array_has_the_wrong_shape(space: Workspace) -> None:
    space.set_sample(1, np.zeros((1, 3, 4, 4), np.float32))


@case("x.txt, line 1: x0.npy: holds complex128 values but the input is float32")
def array_has_the_wrong_type(space: Workspace) -> None:
    space.set_sample(0, np.zeros((1, 3, 8, 8), complex))


@case("x.txt, line 3: x2.npy: holds NaN")
def array_holds_nan(space: Workspace) -> None:
    space.set_sample(2, np.full((1, 3, 8, 8), np.nan, np.float32))


@case("x.txt, line 2: x1.npy: holds infinite values")
def array_holds_infinity(space: Workspace) -> None:
    space.set_sample(1, np.full((1, 3, 8, 8), np.inf, np.float32))


@case("x.txt, line 2: x1.npy: cannot read the npy file")
def array_is_truncated(space: Workspace) -> None:
    path = space.folder / "data" / "x1.npy"
    path.write_bytes(path.read_bytes()[:-8])


@case("x.txt, line 1: x0.npy: not a npy file")
def array_is_no_array(space: Workspace) -> None:
    (space.folder / "data" / "x0.npy").write_bytes(b"1 2 3")


@case("line 1: x0.npy: the file has 896 bytes, the input needs 768 for [1, 3, 8, 8] of float32")
def raw_file_has_the_wrong_size(space: Workspace) -> None:
    space.entry["file_type"] = "raw"


@case("list.txt, line 2: 1.jpg: cannot read the image")
def image_is_truncated(space: Workspace) -> None:
    path = space.use_images() / "1.jpg"
    path.write_bytes(path.read_bytes()[:-100])


@case("list.txt, line 3: 2.jpg: cannot read the image")
def image_is_text(space: Workspace) -> None:
    (space.use_images() / "2.jpg").write_bytes(b"hello")


@case("an image cannot fill an input of shape [1, 16]")
def model_takes_no_image(space: Workspace) -> None:
    space.set_model(models.mlp())
    space.use_images()


@case("mean_value: has 2 values but the input x has 3 channels")
def means_do_not_fit_the_channels(space: Workspace) -> None:
    space.use_images()
    space.entry["mean_value"] = [1, 2]


# Functions


@case("preprocess_file")
def function_file_is_missing(space: Workspace) -> None:
    space.entry["preprocess_file"] = "gone.py:run"


@case("the function raised KeyError: 'scale'")
def function_fails(space: Workspace) -> None:
    space.use_function("return parameters['scale']")


@case("has the shape [1, 8, 8] but the input x has [1, 3, 8, 8]")
def function_returns_the_wrong_shape(space: Workspace) -> None:
    space.use_function("return np.zeros((1, 8, 8))")


@case("the function returned NoneType")
def function_returns_nothing(space: Workspace) -> None:
    space.use_function("pass")


# Output


@case("cannot write here")
def output_folder_is_a_file(space: Workspace) -> None:
    space.section("model")["working_dir"] = str(space.model)


@case("cannot write here")
def output_folder_is_below_a_file(space: Workspace) -> None:
    space.section("model")["working_dir"] = str(space.model / "deep" / "deeper")


@case("folder")
def output_file_is_a_folder(space: Workspace) -> None:
    (space.output / "net.q.onnx").mkdir(parents=True)


def run(space: Workspace, change: Change) -> int:
    arguments = change(space)
    return main(["-c", str(space.write_config())] if arguments is None else arguments)


@pytest.mark.parametrize("name", CASES)
def test_bad_input(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    change, fragment = CASES[name]
    space = make_workspace(tmp_path / "space")
    before: dict[str, bytes] = {}

    def change_and_look(space: Workspace) -> list[str] | None:
        arguments = change(space)
        space.write_config()
        before.update(space.files())
        return arguments

    status = run(space, change_and_look)
    streams = capfd.readouterr()
    (error,) = [line for line in streams.err.splitlines() if line.startswith("xslim: ") and "error" in line]
    assert error.startswith("xslim: error: ")
    assert fragment in error
    assert "Traceback" not in streams.err
    assert streams.err.splitlines()[-1] == error
    assert streams.out == ""
    assert status == 2
    assert space.files() == before


@pytest.mark.parametrize(("path", "value", "fragment"), WRONG, ids=lambda value: str(value)[:48])
def test_every_field_wrong_once(
    path: str, value: Any, fragment: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    space = make_workspace(tmp_path / "space")
    space.config = changed(path, value)
    status = main(["-c", str(space.write_config())])
    streams = capfd.readouterr()
    assert status == 2
    assert streams.err.startswith(f"xslim: error: {space.folder / 'config.json'}: ")
    assert fragment in streams.err
    assert len(streams.err.splitlines()) == 1
    assert not space.output.exists()


def test_several_problems_come_one_per_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    space = make_workspace(tmp_path / "space")
    space.section("model")["opset"] = -1
    space.section("calibration")["calibration_stp"] = 1
    assert main(["-c", str(space.write_config())]) == 2
    first, *lines = capfd.readouterr().err.splitlines()
    assert first.endswith("config.json: 2 problems:")
    assert [line.split(":")[0].strip() for line in lines] == [
        "model_parameters.opset",
        "calibration_parameters.calibration_stp",
    ]


def test_the_workspace_itself_is_good(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    space = make_workspace(tmp_path / "space")
    status = main(["-c", str(space.write_config())])
    assert status == 0, capfd.readouterr().err
    assert (space.output / "net.q.onnx").is_file()


def test_the_table_is_long_enough() -> None:
    assert len(CASES) >= 30
