"""The detection example: its mAP against figures worked out by hand, its script on a hand-made model."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

from tests.examples.detectors import SHRUNK, square_finder, write_pictures
from tests.examples.running import EXAMPLES, run

sys.path.insert(0, str(EXAMPLES / "detection"))
import mean_ap
import pictures

BOX = (0.0, 0.0, 10.0, 10.0)
FAR = (100.0, 100.0, 110.0, 110.0)


def truth(*rows: tuple[tuple[float, ...], int, bool]) -> mean_ap.Truth:
    boxes = np.array([row[0] for row in rows], float).reshape(-1, 4)
    return mean_ap.Truth(
        boxes, np.array([row[1] for row in rows], int), np.array([row[2] for row in rows], bool)
    )


def found(*rows: tuple[tuple[float, ...], float, int]) -> mean_ap.Detected:
    boxes = np.array([row[0] for row in rows], float).reshape(-1, 4)
    return mean_ap.Detected(
        boxes, np.array([row[1] for row in rows], float), np.array([row[2] for row in rows])
    )


def moved(by: float) -> tuple[float, ...]:
    return (BOX[0] + by, BOX[1], BOX[2] + by, BOX[3])


def score(detected: mean_ap.Detected, labelled: mean_ap.Truth) -> tuple[float, float]:
    return mean_ap.mean_average_precision({"a": detected}, {"a": labelled})


def test_all_right() -> None:
    labelled = truth((BOX, 0, False), (FAR, 3, False))
    assert score(found((BOX, 0.5, 0), (FAR, 0.4, 3)), labelled) == (1, 1)


def test_a_wrong_box_between_two_right_ones() -> None:
    labelled = truth((BOX, 0, False), (FAR, 0, False))
    detected = found((BOX, 0.9, 0), ((50, 50, 60, 60), 0.8, 0), (FAR, 0.7, 0))
    # Precision 1 up to a recall of 0.5 (51 of 101 recalls), 2/3 from there.
    assert score(detected, labelled) == pytest.approx([(51 + 50 * 2 / 3) / 101] * 2)


def test_half_of_the_boxes_found() -> None:
    labelled = truth((BOX, 0, False), (FAR, 0, False))
    assert score(found((BOX, 0.9, 0)), labelled) == pytest.approx([51 / 101] * 2)


def test_a_moved_box_counts_up_to_its_iou() -> None:
    # Moved by 2 of 10: 8 / 12 = 0.667 of the union, which exceeds 0.5, 0.55, 0.6 and 0.65.
    assert score(found((moved(2), 0.9, 0)), truth((BOX, 0, False))) == pytest.approx((1, 0.4))


def test_a_second_box_on_the_same_object_is_wrong() -> None:
    labelled = truth((BOX, 0, False), (FAR, 0, False))
    detected = found((BOX, 0.9, 0), (moved(0.1), 0.8, 0), (FAR, 0.7, 0))
    assert score(detected, labelled)[0] == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_boxes_in_a_crowd_neither_count_nor_cost() -> None:
    labelled = truth((BOX, 0, False), ((90, 90, 130, 130), 0, True))
    assert score(found((FAR, 0.95, 0), (BOX, 0.9, 0)), labelled) == (1, 1)


def test_the_mean_is_over_the_classes_of_the_truth() -> None:
    labelled = truth((BOX, 0, False), (FAR, 1, False))
    assert score(found((BOX, 0.9, 0), (FAR, 0.9, 7)), labelled) == pytest.approx((0.5, 0.5))
    assert np.isnan(score(found((BOX, 0.9, 0)), truth())[0])


def test_scores_are_sorted_over_all_pictures() -> None:
    labelled = {"a": truth((BOX, 0, False)), "b": truth((BOX, 0, False)), "c": truth()}
    detected = {"b": found((BOX, 0.2, 0)), "a": found((BOX, 0.9, 0)), "c": found((BOX, 0.5, 0))}
    assert mean_ap.mean_average_precision(detected, labelled)[0] == pytest.approx((51 + 50 * 2 / 3) / 101)


@pytest.mark.parametrize("how", [pictures.YOLO, pictures.YOLOX])
def test_boxes_return_to_the_pixels_of_the_picture(how: pictures.Preprocessing, tmp_path: Path) -> None:
    picture = np.zeros((60, 100, 3), np.uint8)
    picture[20:40, 70:90] = 0, 0, 255
    cv2.imwrite(str(tmp_path / "a.png"), picture)
    values, place = pictures.load(tmp_path / "a.png", (128, 256), how)
    red = values[2 if how.bgr else 0] * how.divisor
    blue = values[0 if how.bgr else 2] * how.divisor
    rows, columns = np.nonzero((red > 200) & (blue < 50))
    corners = np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]])
    np.testing.assert_allclose(place.in_picture(corners), [[70, 20, 90, 40]], atol=0.5)
    assert values[0, -1, -1] * how.divisor == pictures.GREY


def test_the_script_finds_the_squares(tmp_path: Path) -> None:
    onnx.save(square_finder(), tmp_path / "net.onnx")
    labels = write_pictures(tmp_path / "pictures", 12)
    output = tmp_path / "out" / "int8.onnx"
    out = run(
        "detection/run.py", tmp_path / "net.onnx", tmp_path / "pictures",
        "--truth", labels, "--output", output, "--finetune", "0",
    )  # fmt: skip
    assert "6 pictures for calibration, 6 measured" in out
    assert "first 18, second 18, common 18" in out
    assert "(yolox)" in out
    assert output.exists()
    # The boxes are squares of 0.905 of the side: 0.82 of the area, which exceeds seven of the ten IoUs.
    assert 0.8 < SHRUNK**2 < 0.85
    rows = {
        line.split()[0]: line.split()[1:] for line in out.splitlines() if line.startswith(("float", "int8"))
    }
    assert rows == {"float": ["1.0000", "0.7000"], "int8": ["1.0000", "0.7000"]}
