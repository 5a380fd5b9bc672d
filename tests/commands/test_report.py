"""``xslim report diff``: what became better, what became worse, and errors for files that are no reports."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests import models
from tests.analysis.subjects import make_subject, pictures
from xslim.analysis import Report, analyse, report_files
from xslim.analysis.facts import FloatOperator
from xslim.cli import main
from xslim.commands.report import report_diff, run
from xslim.errors import ConfigError, DataError, OutputError

UP, DOWN, SAME = 4.0, -3.0, 0.2


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return analyse(make_subject(tmp_path_factory.mktemp("run"), models.conv_net(), pictures(16)))


def moved(report: Report) -> Report:
    """The same run with three tensors at other levels, one operator float, and another setting."""
    changes = dict(zip(range(1, 4), (UP, DOWN, SAME), strict=True))
    rows = tuple(
        replace(
            row, accumulated=replace(row.accumulated, sqnr_db=row.accumulated.sqnr_db + changes.get(i, 0))
        )
        for i, row in enumerate(report.tensors[:-1])
    )
    output = report.outputs[0]
    outputs = (replace(output, errors=replace(output.errors, sqnr_db=float("inf"), noise_ratio=0.0)),)
    settings = {**report.config["quantization_parameters"], "finetune_level": 2}
    return replace(
        report,
        tensors=rows,
        outputs=outputs,
        graph=(),
        float_operators=(FloatOperator("fc", "Gemm", "listed in ignore_op_names"),),
        config={**report.config, "quantization_parameters": settings},
    )


def save(report: Report, path: Path) -> Path:
    path.write_text(report_files(report)["_report.json"], "utf-8")
    return path


@pytest.fixture
def files(report: Report, tmp_path: Path) -> tuple[Path, Path]:
    return save(report, tmp_path / "a.json"), save(moved(report), tmp_path / "b.json")


def test_changes_are_found_by_name(report: Report, files: tuple[Path, Path]) -> None:
    diff = report_diff(*files)
    names = [row.name for row in report.tensors]
    (better,), (worse,) = diff.better, diff.worse
    assert (better.name, worse.name) == (names[1], names[2])
    assert better.gain == pytest.approx(UP, abs=1e-3)
    assert worse.gain == pytest.approx(DOWN, abs=1e-3)
    assert diff.similar == len(names) - 3
    assert diff.only_first == (names[-1],)
    assert [item.name for item in diff.became_float] == ["fc"]
    assert [(item.path, item.before, item.after) for item in diff.settings] == [
        ("quantization_parameters.finetune_level", 0, 2)
    ]
    assert diff.outputs[0].after == float("inf")


def test_a_report_equals_itself(files: tuple[Path, Path]) -> None:
    diff = report_diff(files[0], files[0])
    assert (diff.better, diff.worse, diff.settings) == ((), (), ())
    assert (diff.became_float, diff.became_int8) == ((), ())
    assert all(change.gain == 0 for change in diff.outputs)


def test_a_report_without_float_operators_tells_nothing_about_them(files: tuple[Path, Path]) -> None:
    data = json.loads(files[0].read_text("utf-8"))
    del data["float_operators"]
    files[0].write_text(json.dumps(data), "utf-8")
    assert report_diff(*files).became_float == ()


def test_the_command_prints_and_writes(
    files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, text = tmp_path / "d.html", tmp_path / "d.md"
    arguments = ["report", "diff", *map(str, files), "--lang", "en", "-o"]
    assert main([*arguments, str(page)]) == 0
    printed = capsys.readouterr().out
    assert "tensors that became worse: 1" in printed
    assert "fc (Gemm): listed in ignore_op_names" in printed
    assert "finetune_level: 0 -> 2" in printed
    assert main([*arguments, str(text)]) == 0
    worse = report_diff(*files).worse[0].name
    assert worse in page.read_text("utf-8")
    assert f"| {worse} |" in text.read_text("utf-8")
    assert "https://" not in page.read_text("utf-8")


def test_the_file_is_written_although_nobody_reads_the_lines(
    files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(*lines: str) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("xslim.commands.report.say", closed)
    output = tmp_path / "diff.html"
    with pytest.raises(BrokenPipeError):
        run("diff", *map(str, files), str(output), None, False)
    assert output.exists()


def test_the_command_speaks_chinese_and_json(
    files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", "diff", *map(str, files), "--lang", "zh"]) == 0
    assert "变差的张量: 1" in capsys.readouterr().out
    assert main(["report", "diff", *map(str, files), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert len(data["better"]) == len(data["worse"]) == 1


def test_files_that_are_no_reports_are_refused(files: tuple[Path, Path], tmp_path: Path) -> None:
    bad = tmp_path / "bad.json"
    with pytest.raises(DataError, match="there is no such report"):
        report_diff(files[0], bad)
    for content, message in (
        ("{", "the report is no JSON"),
        ("[1, 2]", "this JSON is no report of XSlim"),
        ('{"model_parameters": {}}', "this JSON is no report of XSlim"),
        ('{"model": 3, "schema_version": 1}', "this JSON is no report of XSlim"),
        ('{"schema_version": 99}', "the report has schema version 99"),
    ):
        bad.write_text(content, "utf-8")
        with pytest.raises(DataError, match=message):
            report_diff(files[0], bad)
    bad.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="cannot read the report"):
        report_diff(files[0], bad)
    with pytest.raises(DataError, match="cannot read the report"):
        report_diff(files[0], tmp_path)


def test_an_output_is_checked_before_anything_is_read(files: tuple[Path, Path], tmp_path: Path) -> None:

    with pytest.raises(ConfigError, match=r"must end in \.html or \.md"):
        run("diff", *map(str, files), str(tmp_path / "d.txt"), None, False)
    page = tmp_path / "a.html"
    page.write_bytes(files[0].read_bytes())
    with pytest.raises(OutputError, match="would replace an input"):
        run("diff", str(page), str(files[1]), str(page), None, False)
