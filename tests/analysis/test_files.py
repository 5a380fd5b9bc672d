"""Tests of the three files of a report."""

from __future__ import annotations

import json
import re
from dataclasses import fields, replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

import xslim
from tests import models
from tests.cli.workspace import Workspace, make_workspace
from xslim.analysis import Finding, Report, Subject, analyse, report_files
from xslim.analysis.as_json import SCHEMA_VERSION
from xslim.analysis.report import Errors, OutputReport, judge
from xslim.graph.gains import StepGain

ROOT = Path(__file__).parents[2]
SUFFIXES = ("_report.md", "_report.json", "_report.html")
NASTY = '</script><img src="https://example.com/x" onerror=alert(1)>|'


@pytest.fixture
def nasty(report: Report) -> Report:
    """A report with names and texts that want to break out."""
    finding = Finding("x.y", NASTY, NASTY, {NASTY: NASTY}, (NASTY,), {"a": [NASTY]})
    rows = (replace(report.tensors[0], name=NASTY, op_name=NASTY), *report.tensors[1:])
    steps = (StepGain(NASTY, "output SQNR (dB)", 10.0, 12.0, kept=True),)
    return replace(report, tensors=rows, findings=(finding,), steps=steps)


def rows_of(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_markdown_has_the_known_columns_the_worst_first(report: Report) -> None:
    head, *rows = rows_of(report_files(report)["_report.md"])
    assert head == ["Op", "Var", "SQNR", "MSE", "Cosine", "Q.MinMax", "F.MinMax", "F.Hist"]
    assert len(rows) == len(report.tensors) + len(report.constants)
    sqnr = [float(row[2].removesuffix(" dB").replace("exact", "inf")) for row in rows]
    assert sqnr == sorted(sqnr)
    assert {row[1] for row in rows if row[1].endswith("[Constant]")} == {
        "w1[Constant]",
        "w2[Constant]",
        "w3[Constant]",
    }
    assert ["conv1[Conv]", "x"] in [row[:2] for row in rows]
    assert all(len(row[7].split(",")) == 32 for row in rows)


def test_markdown_marks_what_is_bad(report: Report) -> None:
    first = report.tensors[0]
    bad = replace(first, accumulated=replace(first.accumulated, sqnr_db=8.17, cosine=0.9743))
    _, row, *_ = rows_of(report_files(replace(report, tensors=(bad, *report.tensors[1:])))["_report.md"])
    assert row[2] == '<font color="red">8.2 dB</font>'
    assert row[4] == '<font color="red">0.9743</font>'


def test_json_is_strict_and_complete(report: Report) -> None:
    exact = replace(report.outputs[0], errors=replace(report.outputs[0].errors, sqnr_db=float("inf")))
    text = report_files(replace(report, outputs=(exact,)))["_report.json"]

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    data = json.loads(text, parse_constant=refuse)
    assert data["schema_version"] == SCHEMA_VERSION
    hidden = {"samples", "graph"}
    assert set(data) == {"schema_version", *(field.name for field in fields(Report))} - hidden
    assert data["outputs"][0]["errors"]["sqnr_db"] is None
    assert data["tensors"][1]["local"]["snr"] == pytest.approx(report.tensors[1].local.noise_ratio, rel=1e-5)


def test_every_field_of_the_json_is_documented(nasty: Report) -> None:
    documented = set(re.findall(r"`([a-z_0-9]+)`", (ROOT / "docs" / "report-schema.md").read_text("utf-8")))

    def names(value: object, path: str) -> set[str]:
        if isinstance(value, dict) and path not in ("config", "evidence", "change", "float_reasons"):
            return {name for key, item in value.items() for name in {key} | names(item, key)}
        return {name for item in value for name in names(item, path)} if isinstance(value, list) else set()

    assert names(json.loads(report_files(nasty)["_report.json"]), "") <= documented


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for key, value in attrs if key in ("src", "href", "xlink:href")]
        self.ids += [value or "" for key, value in attrs if key == "id"]


def test_html_stands_alone(report: Report) -> None:
    page = Page(report_files(report)["_report.html"])
    outside = [link for link in page.links if not link.startswith(("data:,", "data:image/png;base64,"))]
    assert {link.removeprefix("#") for link in outside} <= set(page.ids)
    assert not {"iframe", "object"} & set(page.tags)
    assert page.tags.count("script") == 2


def test_html_escapes_what_it_shows(nasty: Report, report: Report) -> None:
    text = report_files(nasty)["_report.html"]
    page = Page(text)
    plain = Page(report_files(report)["_report.html"])
    assert all(page.tags.count(tag) == plain.tags.count(tag) for tag in ("script", "img"))
    embedded = re.search(r'<script type="application/json" class="data">(.*?)</script>', text, re.DOTALL)
    assert embedded is not None
    assert len(json.loads(embedded[1])["tensors"]) == len(nasty.tensors)


def test_same_run_same_report(subject: Subject, report: Report) -> None:
    assert report_files(analyse(subject)) == report_files(report)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = make_workspace(tmp_path)
    models.save(models.residual_net("batch"), made.model)
    made.section("quantization")["analysis_enable"] = True
    return made


def test_a_run_writes_its_report_beside_the_model(workspace: Workspace) -> None:
    xslim.quantize_onnx_model(workspace.config)
    for suffix in SUFFIXES:
        assert (workspace.output / f"net.q{suffix}").stat().st_size > 1000
    data = json.loads((workspace.output / "net.q_report.json").read_text("utf-8"))
    assert data["model"]["name"] == "net.q"
    assert [finding["code"] for finding in data["findings"]] == ["samples.few"]


def test_analysis_can_be_switched_off(workspace: Workspace) -> None:
    workspace.section("quantization")["analysis_enable"] = False
    xslim.quantize_onnx_model(workspace.config)
    assert not list(workspace.output.glob("*report*"))


def test_the_model_does_not_depend_on_the_analysis(workspace: Workspace) -> None:
    xslim.quantize_onnx_model(workspace.config)
    first = (workspace.output / "net.q.onnx").read_bytes()
    workspace.section("quantization")["analysis_enable"] = False
    xslim.quantize_onnx_model(workspace.config)
    assert (workspace.output / "net.q.onnx").read_bytes() == first


@pytest.mark.parametrize(
    ("level", "advice"), [(1, "try finetune_level 2."), (2, "try finetune_level 3."), (3, None)]
)
def test_a_fair_result_names_the_next_step(level: int, advice: str | None) -> None:
    fair = OutputReport("y", Errors(0.03, 15.2, 0.1, 0.98, 0.5))
    verdict = judge((fair,), level)
    assert verdict.level == "fair"
    assert verdict.text.endswith(advice or "(15.2 dB).")
