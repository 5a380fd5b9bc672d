"""Weights in other files are read at allowed locations and refused at others."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import xslim
from tests.passes.build import draw, feeds, run
from xslim.errors import ModelError
from xslim.graph.io import load_model, to_proto

WEIGHT = draw(40, 30)
DATA = b"\0" * 64 + WEIGHT.tobytes()


def external(location: str, *, offset: object = 64, length: object = WEIGHT.nbytes) -> TensorProto:
    tensor = numpy_helper.from_array(WEIGHT, "w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, "offset": offset, "length": length}.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def model(tensor: TensorProto, *, constant: bool = False) -> onnx.ModelProto:
    """MatMul by a weight, which is an initializer or the value of a Constant node."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Relu", ["m"], ["y"])]
    if constant:
        nodes.insert(0, helper.make_node("Constant", [], ["w"], value=tensor))
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 40])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 30])],
        [] if constant else [tensor],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def beside(folder: Path) -> str:
    (folder / "w.bin").write_bytes(DATA)
    return "w.bin"


def below(folder: Path) -> str:
    (folder / "deep").mkdir()
    (folder / "deep" / "w.bin").write_bytes(DATA)
    return "./deep/../deep/w.bin"


def linked(folder: Path) -> str:
    (folder.parent / "blob").write_bytes(DATA)
    (folder / "w.bin").symlink_to("../blob")
    return "w.bin"


def linked_twice(folder: Path) -> str:
    (folder.parent / "blob").write_bytes(DATA)
    (folder.parent / "step").symlink_to("blob")
    (folder / "w.bin").symlink_to(folder.parent / "step")
    return "w.bin"


def hard_linked(folder: Path) -> str:
    (folder.parent / "blob").write_bytes(DATA)
    os.link(folder.parent / "blob", folder / "w.bin")
    return "w.bin"


def through_a_linked_folder(folder: Path) -> str:
    (folder.parent / "blobs").mkdir()
    (folder.parent / "blobs" / "w.bin").write_bytes(DATA)
    (folder / "weights").symlink_to("../blobs")
    return "weights/w.bin"


PLACES: list[Callable[[Path], str]] = [
    beside,
    below,
    linked,
    linked_twice,
    hard_linked,
    through_a_linked_folder,
]


@pytest.mark.parametrize("constant", [False, True], ids=["initializer", "Constant"])
@pytest.mark.parametrize("place", PLACES)
def test_weights_are_read_where_they_lie(
    place: Callable[[Path], str], constant: bool, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    file = folder / "m.onnx"
    file.write_bytes(model(external(place(folder)), constant=constant).SerializeToString())
    inside = model(numpy_helper.from_array(WEIGHT, "w"), constant=constant)
    inputs = feeds(inside)
    for result in (to_proto(load_model(file)), xslim.slim(file)):
        np.testing.assert_array_equal(run(result, inputs)[0], run(inside, inputs)[0])


def test_a_model_that_is_a_link_itself_finds_its_weights(tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "main"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    (blobs / "a").write_bytes(model(external("w.bin")).SerializeToString())
    (blobs / "b").write_bytes(DATA)
    (snapshot / "m.onnx").symlink_to("../../blobs/a")
    (snapshot / "w.bin").symlink_to("../../blobs/b")
    result = xslim.slim(snapshot / "m.onnx")
    np.testing.assert_array_equal(numpy_helper.to_array(result.graph.initializer[0]), WEIGHT)


REFUSED = {
    "outside of the model's folder": [
        "../w.bin",
        "a/../../w.bin",
        "{folder}/w.bin",
        "C:\\w.bin",
        "",
        ".",
        "..",
    ],
    "is missing": ["none.bin", "dangling"],
    "is no regular file": ["folder", "pipe", "device"],
}


@pytest.mark.parametrize("constant", [False, True], ids=["initializer", "Constant"])
@pytest.mark.parametrize(
    ("message", "location"), [(key, place) for key, places in REFUSED.items() for place in places]
)
def test_other_places_are_refused(message: str, location: str, constant: bool, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "folder").mkdir(parents=True)
    for file in (folder / "w.bin", tmp_path / "w.bin"):
        file.write_bytes(DATA)
    (folder / "dangling").symlink_to("nowhere")
    (folder / "device").symlink_to("/dev/zero")
    os.mkfifo(folder / "pipe")
    proto = model(external(location.format(folder=folder)), constant=constant)
    (folder / "m.onnx").write_bytes(proto.SerializeToString())
    with pytest.raises(ModelError, match=message) as caught:
        load_model(folder / "m.onnx")
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("message", "entries"),
    [
        ("is cut short", {"offset": 65}),
        ("is cut short", {"offset": 2**62}),
        ("offset '-1'", {"offset": -1}),
        ("length 'all'", {"length": "all"}),
        ("has 8 bytes of external data, not 4800", {"length": 8}),
    ],
)
def test_contents_that_do_not_fit_are_refused(
    message: str, entries: dict[str, object], tmp_path: Path
) -> None:
    (tmp_path / "w.bin").write_bytes(DATA)
    (tmp_path / "m.onnx").write_bytes(model(external("w.bin", **entries)).SerializeToString())
    with pytest.raises(ModelError, match=message):
        load_model(tmp_path / "m.onnx")
