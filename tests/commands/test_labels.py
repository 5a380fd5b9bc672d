"""``xslim compare --labels``: accuracy by hand-made scores, and every kind of wrong label."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest

import xslim
from tests import models
from xslim.cli import main
from xslim.commands.accuracy import Accuracy, Share

CLASSES = 7
NODE = onnx.helper.make_node


def scorer(path: Path, offset: np.ndarray, batch: int | str = "n") -> Path:
    """Write a model whose scores are its input plus an offset."""
    models.save(
        models.model(
            [NODE("Add", ["x", "b"], ["y"])],
            {"x": [batch, CLASSES]},
            {"y": [batch, CLASSES]},
            {"b": offset.astype(np.float32)},
        ),
        path,
    )
    return path


@dataclass
class Case:
    """Twelve samples of scores, their classes, and two models."""

    folder: Path
    scores: np.ndarray
    classes: list[int]
    files: list[str]

    @property
    def rows(self) -> list[str]:
        return [f"{file} {label}" for file, label in zip(self.files, self.classes, strict=True)]

    @property
    def pair(self) -> list[str]:
        return [str(self.folder / name) for name in ("a.onnx", "b.onnx")]

    def write_list(self, rows: list[str]) -> str:
        (self.folder / "labels.txt").write_text("\n".join(rows), "utf-8")
        return str(self.folder / "labels.txt")

    def run(self, capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
        assert main(["compare", *self.pair, "--json", *arguments]) == 0
        found: dict[str, Any] = json.loads(capsys.readouterr().out)["accuracy"]
        return found

    def refused(self, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
        assert main(["compare", *self.pair, *arguments]) == 2
        return capsys.readouterr().err


@pytest.fixture
def case(tmp_path: Path) -> Case:
    generator = np.random.default_rng(3)
    classes = [int(value) for value in generator.integers(0, CLASSES, 12)]
    scores = generator.normal(0, 1, (12, CLASSES)).astype(np.float32)
    scores[np.arange(12), classes] += 1.5
    for number, (row, label) in enumerate(zip(scores, classes, strict=True)):
        folder = tmp_path / "data" / f"c{label}"
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / f"{number:02d}.npy", row)
    files = [f"data/c{label}/{number:02d}.npy" for number, label in enumerate(classes)]
    (tmp_path / "list.txt").write_text("\n".join(files), "utf-8")
    entry = {"file_type": "npy", "data_list_path": "list.txt"}
    config = {"calibration_parameters": {"input_parameters": [entry]}}
    (tmp_path / "config.json").write_text(json.dumps(config), "utf-8")
    np.savez(tmp_path / "all.npz", x=scores)
    scorer(tmp_path / "a.onnx", np.zeros(CLASSES))
    scorer(tmp_path / "b.onnx", np.linspace(0, 2, CLASSES))
    return Case(tmp_path, scores, classes, files)


def expected(case: Case, top: int, offset: float) -> np.ndarray:
    """Which samples are right, by sorting."""
    order = np.argsort(-(case.scores + np.linspace(0, offset, CLASSES)), axis=1)[:, :top]
    right: np.ndarray = (order == np.array(case.classes)[:, None]).any(axis=1)
    return right


def check(case: Case, found: dict[str, Any]) -> None:
    first, second = expected(case, 1, 0), expected(case, 1, 2)
    assert found["output"] == "y"
    assert found["samples"] == 12
    assert found["first"]["top1"] == pytest.approx(first.mean())
    assert found["second"]["top1"] == pytest.approx(second.mean())
    assert found["second"]["top5"] == pytest.approx(expected(case, 5, 2).mean())
    assert found["top1_change"] == pytest.approx(second.mean() - first.mean())
    assert found["right_to_wrong"] == (first & ~second).sum()
    assert found["right_to_wrong"] > 0
    assert found["wrong_to_right"] == (~first & second).sum()


@pytest.mark.parametrize("data", ["data", "list.txt", "config.json", None])
def test_labels_by_file(case: Case, capsys: pytest.CaptureFixture[str], data: str | None) -> None:
    labels = ["--labels", case.write_list(case.rows[::-1])]
    check(case, case.run(capsys, *labels, *(["--data", str(case.folder / data)] if data else [])))


@pytest.mark.parametrize(("data", "kind"), [("list.txt", "txt"), ("config.json", "npy"), ("all.npz", "txt")])
def test_labels_in_the_order_of_the_samples(
    case: Case, capsys: pytest.CaptureFixture[str], data: str, kind: str
) -> None:
    labels = case.write_list([str(label) for label in case.classes])
    if kind == "npy":
        labels = str(case.folder / "labels.npy")
        np.save(labels, np.array(case.classes))
    check(case, case.run(capsys, "--data", str(case.folder / data), "--labels", labels))


def test_labels_that_are_names(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    (case.folder / "classes.txt").write_text("".join(f"class {n}\n" for n in range(CLASSES)), "utf-8")
    rows = [f"{file}\tclass {label}" for file, label in zip(case.files, case.classes, strict=True)]
    check(case, case.run(capsys, "--labels", case.write_list(rows)))


@pytest.mark.parametrize("data", ["data", "list.txt", "config.json", None])
def test_a_folder_for_each_class(case: Case, capsys: pytest.CaptureFixture[str], data: str | None) -> None:
    for number in range(CLASSES):
        (case.folder / "data" / f"c{number}").mkdir(exist_ok=True)
        np.save(case.folder / "data" / f"c{number}" / "more.npy", np.eye(CLASSES, dtype=np.float32)[number])
    arguments = ["--data", str(case.folder / data)] if data else []
    found = case.run(capsys, "--labels", str(case.folder / "data"), *arguments)
    listed = data == "list.txt"
    assert found["samples"] == 12 + CLASSES * (not listed)
    right = expected(case, 1, 0).sum() + CLASSES * (not listed)
    assert found["first"]["top1"] == pytest.approx(right / found["samples"])


def test_samples_limit_them_evenly(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    found = case.run(capsys, "--labels", case.write_list(case.rows), "--samples", "3")
    assert found["samples"] == 3
    assert found["first"]["top1"] == pytest.approx(expected(case, 1, 0)[[2, 6, 10]].mean())


def test_a_name_alone_finds_the_file_elsewhere(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [row.rpartition("/")[2] for row in case.rows]
    check(case, case.run(capsys, "--data", str(case.folder / "data"), "--labels", case.write_list(rows)))


def test_a_fixed_batch_takes_several_files(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    scorer(case.folder / "a.onnx", np.zeros(CLASSES), 4)
    scorer(case.folder / "b.onnx", np.linspace(0, 2, CLASSES), 4)
    check(case, case.run(capsys, "--labels", case.write_list(case.rows)))


def test_what_is_printed(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *case.pair, "--labels", case.write_list(case.rows)]) == 0
    out = capsys.readouterr().out
    assert f"{expected(case, 1, 2).mean():.2%}" in out
    assert "12 labels, output y" in out
    assert "right -> wrong: " in out
    assert "random" not in out


def test_the_interval_is_that_of_wilson(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    found = case.run(capsys, "--labels", case.write_list(case.rows))["second"]
    for bound in found["top1_interval"]:
        # Wilson's bounds are the shares from which what was seen is 1.96 standard deviations away.
        assert abs(found["top1"] - bound) == pytest.approx(
            1.959964 * math.sqrt(bound * (1 - bound) / 12), abs=1e-9
        )


def test_the_p_value_is_that_of_the_binomial() -> None:
    model = models.model([NODE("Identity", ["x"], ["y"])], {"x": ["n", 2]}, {"y": ["n", 2]})
    other = models.model([NODE("Neg", ["x"], ["y"])], {"x": ["n", 2]}, {"y": ["n", 2]})
    x = np.tile(np.float32([[1, 0]]), (10, 1))
    found = xslim.compare(model, other, x, labels=[0] * 8 + [1] * 2).accuracy
    assert found is not None
    assert (found.right_to_wrong, found.wrong_to_right) == (8, 2)
    assert found.top5 is None
    assert found.p_value == pytest.approx(2 * (1 + 10 + 45) / 2**10)


def test_many_changes_have_a_p_value() -> None:
    share = Share(1, 2)
    found = Accuracy("y", (share, share), None, 3000, 2000)
    assert 0 <= found.p_value < 1e-9


def test_not_a_number_is_never_right() -> None:
    model = models.model([NODE("Identity", ["x"], ["y"])], {"x": ["n", 3]}, {"y": ["n", 3]})
    sqrt = models.model([NODE("Sqrt", ["x"], ["y"])], {"x": ["n", 3]}, {"y": ["n", 3]})
    found = xslim.compare(model, sqrt, np.float32([[-1, 2, 1], [0, 4, 1]]), labels=np.array([1, 1])).accuracy
    assert found is not None
    assert [share.right for share in found.top1] == [2, 1]


@pytest.mark.parametrize(("limit", "status"), [(0.1, 0), (0.999, 1)])
def test_a_wanted_accuracy_guards_a_build(
    case: Case, capsys: pytest.CaptureFixture[str], limit: float, status: int
) -> None:
    labels = ["--labels", case.write_list(case.rows)]
    assert main(["compare", *case.pair, *labels, "--fail-under", str(limit)]) == status
    assert ("top-1 accuracy of the second model is" in capsys.readouterr().err) == bool(status)


@pytest.mark.parametrize(("limit", "status"), [(-4.0, 0), (7.5, 1)])
def test_a_wanted_metric_guards_a_build(
    case: Case, capsys: pytest.CaptureFixture[str], limit: float, status: int
) -> None:
    path = case.folder / "rating.py"
    body = "    return run({'x': np.zeros((1, 7), np.float32)})['y'].sum()\n"
    path.write_text(f"import numpy as np\n\ndef rate(run):\n{body}", "utf-8")
    rating = ["--metric", f"{path}:rate", "--data", str(case.folder / "all.npz")]
    assert main(["compare", *case.pair, *rating, f"--fail-under={limit}"]) == status
    assert ("the metric of the second model is 7, below" in capsys.readouterr().err) == bool(status)


def test_a_limit_needs_something_to_limit(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    assert "none is given" in case.refused(capsys, "--fail-under", "0.5")
    labels = case.write_list(case.rows)
    assert "from 0 to 1" in case.refused(capsys, "--labels", labels, "--fail-under", "75")


@pytest.mark.parametrize(
    ("rows", "data", "message"),
    [
        (["0", "1"], "all.npz", "fewer labels than samples: 2"),
        (["0"] * 13, "all.npz", "13 labels for 12 samples"),
        (["0"] * 11 + ["7"], "all.npz", "label 7 is outside of the 7 classes of output y"),
        (["0"] * 12, None, "need samples"),
        (["data/x.npy 0"], "all.npz", "have no names"),
        (["data/x.npy 0"], "data", "no label for the sample"),
        (["data/x.npy 0"], "config.json", "there is no such file"),
        (["data/x.npy 0"], None, "there is no such file"),
        (["data/x.npy"], "data", "label 'data/x.npy' is not a class number"),
        (["data/x.npy cat"], "data", "line 1: label 'cat' is not a class number"),
        (["data/x.npy -1"], "data", "label '-1' is not a class number"),
        (["data/x.npy 1", "2"], "data", "some lines name a file and some do not"),
        (["data/x.npy 1", "data/x.npy 2"], "data", "line 2: data/x.npy: the file has a label already"),
        (["", " "], "data", "holds no label"),
    ],
)
def test_wrong_labels(
    case: Case, capsys: pytest.CaptureFixture[str], rows: list[str], data: str | None, message: str
) -> None:
    place = ["--data", str(case.folder / data)] if data else []
    assert message in case.refused(capsys, "--labels", case.write_list(rows), *place)


def test_wrong_places_of_labels(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    def refused(name: str) -> str:
        return case.refused(capsys, "--labels", str(case.folder / name), "--data", str(case.folder / "data"))

    assert "cannot read the labels" in refused("missing.txt")
    assert "cannot read the labels" in refused("missing.npy")
    np.save(case.folder / "shares.npy", np.ones(12))
    assert "must be class numbers in one dimension" in refused("shares.npy")
    np.save(case.folder / "minus.npy", np.full(12, -1))
    assert "label -1 is not a class number" in refused("minus.npy")
    assert "has no sub-folder for a class" in refused(f"data/c{case.classes[0]}")
    (case.folder / "data" / "z").mkdir()
    assert "the folder of class z holds no sample" in refused("data")
    for folder in ("one", "two"):
        (case.folder / "data" / folder).mkdir()
        np.save(case.folder / "data" / folder / "same.npy", case.scores[0])
    assert "fits two samples" in case.refused(
        capsys, "--labels", case.write_list([*case.rows, "same.npy 1"]), "--data", str(case.folder / "data")
    )


def test_more_folders_than_classes(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(CLASSES + 1):
        (case.folder / "data" / f"c{number}").mkdir(exist_ok=True)
        np.save(case.folder / "data" / f"c{number}" / "more.npy", case.scores[0])
    assert "label 7 is outside of the 7 classes" in case.refused(
        capsys, "--labels", str(case.folder / "data")
    )


def test_models_without_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models.save(
        models.model([NODE("Relu", ["x"], ["y"])], {"x": ["n", 1, 4, 4]}, {"y": ["n", 1, 4, 4]}),
        tmp_path / "net.onnx",
    )
    for number in range(2):
        (tmp_path / "data" / str(number)).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "data" / str(number) / "0.png"), np.zeros((4, 4), np.uint8))
    pair = [str(tmp_path / "net.onnx")] * 2
    assert main(["compare", *pair, "--labels", str(tmp_path / "data")]) == 2
    assert "no output has the shape (samples, classes)" in capsys.readouterr().err


def test_the_library_checks_the_number_of_labels(case: Case) -> None:
    a, b = case.pair
    with pytest.raises(xslim.DataError, match="fewer labels than samples"):
        xslim.compare(a, b, case.scores, labels=case.classes[:-1])
    with pytest.raises(xslim.DataError, match="must be class numbers"):
        xslim.compare(a, b, case.scores, labels=[])
    found = xslim.compare(a, b, case.scores, labels=case.classes).accuracy
    assert found is not None
    check(case, found.as_json())
