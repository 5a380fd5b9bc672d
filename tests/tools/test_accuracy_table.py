"""The accuracy table: lists that are drawn alike every time, rows that are kept, means and spreads."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from benches.accuracy.page import COLUMNS, line, page, spread
from benches.accuracy.record import Row, append, load
from benches.accuracy.suite import draw, draw_list

ROW = Row("resnet20", "xslim", 0, 1, 0, sqnr_db=[30.0, 20.0], own_db=[31.0], seconds=2.0, operators=5)


def test_a_list_has_no_repetition_and_is_drawn_alike_every_time() -> None:
    assert draw(54, 16, 3) == draw(54, 16, 3) != draw(54, 16, 4)
    assert len(set(draw(54, 16, 3))) == 16
    assert len(set(draw(10, 16, 0))) == 8


def test_all_inputs_of_a_sample_are_drawn_together(tmp_path: Path) -> None:
    entries = []
    for name in ("a", "b"):
        (tmp_path / f"{name}.txt").write_text("".join(f"{name}{n}.npy\n" for n in range(9)), "utf-8")
        entries.append({"data_list_path": str(tmp_path / f"{name}.txt")})
    config = {"calibration_parameters": {"calibration_step": 4, "input_parameters": entries}}
    drawn = draw_list(config, "task", 1, tmp_path / "lists")["calibration_parameters"]
    lists = [Path(item["data_list_path"]).read_text("utf-8").split() for item in drawn["input_parameters"]]
    numbers = [[Path(line).stem[1:] for line in lines] for lines in lists]
    assert numbers[0] == numbers[1]
    assert sorted(numbers[0]) == [str(n) for n in range(9)]
    assert drawn["calibration_step"] == 4


def test_an_interrupted_record_goes_on_and_the_last_row_counts(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    append(path, ROW)
    append(path, replace(ROW, number=1))
    append(path, replace(ROW, seconds=9.0))
    found = load(path)
    assert len(found) == 2
    assert found[ROW.key].seconds == 9.0
    assert json.loads(path.read_text("utf-8").splitlines()[0])["task"] == "resnet20"


def test_mean_and_standard_deviation() -> None:
    assert spread([1.0, 3.0], 2) == "2.00 ± 1.41"
    assert spread([2.0, 2.0], 1) == "2.0"
    assert spread([2.0], 1) == "2.0"
    assert spread([float("-inf"), 1.0], 1) == "-inf"
    assert spread([], 1) == ""


def test_a_line_has_every_column() -> None:
    rows = [ROW, replace(ROW, number=1, sqnr_db=[31.0, 21.0], error=""), replace(ROW, number=2, error="no")]
    text = line(rows)
    assert text.count("|") == len(COLUMNS) + 1
    assert "| 2 of 3 |" in text
    assert "25.50 ± 0.71" in text


@pytest.mark.parametrize("rows", [[replace(ROW, error="it | failed")], [ROW]])
def test_a_page_is_a_table(rows: list[Row]) -> None:
    table = [text for text in page(rows).splitlines() if text.startswith("|")]
    assert {text.count("|") for text in table} == {len(COLUMNS) + 1}
