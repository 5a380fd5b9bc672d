"""`xslim.compare` on outputs that are sequences, or whose shape depends on values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import xslim
from tests import models
from xslim.cli import main


def sequence_net(scale: float = 1.0) -> onnx.ModelProto:
    """A scaled input, split into a sequence of its columns: ``x`` to ``parts`` and ``y``."""
    proto = models.model(
        [
            helper.make_node("Mul", ["x", "scale"], ["y"], name="mul"),
            helper.make_node("SplitToSequence", ["y"], ["parts"], axis=1, name="split"),
        ],
        {"x": [1, 4]},
        {"y": [1, 4]},
        {"scale": np.float32([scale, 1, 1, 1])},
    )
    parts = helper.make_tensor_sequence_value_info("parts", TensorProto.FLOAT, None)
    proto.graph.output.insert(0, parts)
    return proto


def choosing_net(limit: float, scale: float = 1.0) -> onnx.ModelProto:
    """The scaled values of ``x`` above a limit: ``x`` to ``found`` and ``y``, which holds all of them."""
    nodes = [
        helper.make_node("Greater", ["x", "limit"], ["over"], name="over"),
        helper.make_node("Mul", ["x", "scale"], ["y"], name="mul"),
        helper.make_node("Compress", ["y", "over"], ["found"], axis=0, name="compress"),
    ]
    weights = {"limit": np.float32(limit), "scale": np.float32(scale)}
    arrays = {name: np.asarray(value) for name, value in weights.items()}
    return models.model(nodes, {"x": [4]}, {"found": ["count"], "y": [4]}, arrays)


def test_a_sequence_has_the_figures_of_its_arrays() -> None:
    x = np.float32([[1, 2, 3, 4]])
    parts, y = xslim.compare(sequence_net(), sequence_net(), {"x": x}).outputs
    assert (parts.name, parts.equal, parts.max_abs_error, y.equal) == ("parts", 1.0, 0.0, 1.0)
    parts, y = xslim.compare(sequence_net(), sequence_net(1.5), {"x": x}).outputs
    assert parts.sqnr_db == pytest.approx(10 * np.log10((x**2).sum() / 0.25), rel=1e-5)
    assert (parts.equal, parts.max_abs_error) == (0.75, 0.5) == (y.equal, y.max_abs_error)
    assert parts.left_out == 0


def test_labels_look_for_classes_beside_a_sequence() -> None:
    found = xslim.compare(sequence_net(), sequence_net(), {"x": np.float32([[1, 2, 3, 4]])}, labels=[3])
    assert found.accuracy is not None
    assert (found.accuracy.output, found.accuracy.top1[1].value) == ("y", 1.0)


def test_boxes_are_not_looked_for_in_a_sequence() -> None:
    with pytest.raises(xslim.ModelError, match="no output has"):
        xslim.compare(pictures(), pictures(), {"x": np.ones((1, 3, 32, 32), np.float32)}, boxes="yolov8")


def pictures() -> onnx.ModelProto:
    proto = models.model(
        [
            helper.make_node("Relu", ["x"], ["y"], name="relu"),
            helper.make_node("SplitToSequence", ["y"], ["parts"], axis=1, name="split"),
        ],
        {"x": [1, 3, 32, 32]},
        {"y": [1, 3, 32, 32]},
    )
    proto.graph.output.append(helper.make_tensor_sequence_value_info("parts", TensorProto.FLOAT, None))
    return proto


SAMPLES = [np.float32(row) for row in ([-1, 1, 2, 3], [0.05, 1, 2, 3], [-1, -1, 4, 5])]
"""For the second one, a limit of 0.1 chooses other values than one of 0."""


def test_samples_of_other_shapes_are_left_out_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    found, y = xslim.compare(choosing_net(0.0), choosing_net(0.1, 1.25), SAMPLES).outputs
    used = np.concatenate([array[array > 0] for array in (SAMPLES[0], SAMPLES[2])])
    assert (found.left_out, y.left_out) == (1, 0)
    assert found.mse == pytest.approx(np.mean((used * 0.25) ** 2), rel=1e-5)
    assert y.mse == pytest.approx(np.mean((np.stack(SAMPLES) * 0.25) ** 2), rel=1e-5)
    expected = "found: its shape depends on values and differs between the models for 1 of 3 samples"
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [expected]


def test_an_output_without_comparable_samples_has_no_figures_and_passes_no_limit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = models.save(choosing_net(0.0), tmp_path / "a.onnx")
    second = models.save(choosing_net(0.1), tmp_path / "b.onnx")
    [found, y] = xslim.compare(first, second, [SAMPLES[1]]).outputs
    assert (found.sqnr_db, found.equal, y.equal) == (None, None, 1.0)
    np.save(tmp_path / "x.npy", SAMPLES[1])
    (tmp_path / "x.txt").write_text("x.npy\n", "utf-8")
    pair = ["compare", str(first), str(second), "--data", str(tmp_path / "x.txt")]
    assert main(pair) == 0
    assert main([*pair, "--fail-below", "10"]) == 1
    assert "output found could not be compared on any sample" in capsys.readouterr().err


def test_shapes_that_never_agree_are_an_error() -> None:
    other = models.model([helper.make_node("Concat", ["x", "x"], ["y"], axis=0)], {"x": [4]}, {"y": [8]})
    with pytest.raises(xslim.ModelError, match=r"has shape \[4\] in one model and \[8\] in the other"):
        xslim.compare(choosing_net(0.0), other, SAMPLES)
