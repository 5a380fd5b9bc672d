"""The configuration reference says what the code does: fields, defaults, values, examples."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from xslim.config import load_config, schema

from . import markdown
from .conftest import DOCUMENTS, QUICKSTART, ROOT, name

REFERENCES = (ROOT / "docs" / "configuration.md", ROOT / "docs" / "configuration_zh.md")
JSON_BLOCKS = [
    block for document in DOCUMENTS for block in markdown.blocks(document) if block.language == "json"
]

references = pytest.mark.parametrize("document", REFERENCES, ids=name)


def fields() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every field of the schema below the sections, with its schema."""
    for title, section in schema()["$defs"].items():
        for field, content in section["properties"].items():
            # Both spellings have one row, which the other spelling's text mentions.
            if field != "input_parameters":
                yield f"{title}.{field}", content


def rows_of(document: Path, field: str) -> list[list[str]]:
    """Return the table rows that describe a field."""
    return [row for row in markdown.table_rows(document) if row[0] == f"`{field}`" and len(row) == 4]


def allowed_values(content: dict[str, Any]) -> list[Any]:
    """Return the values of an enumeration, also behind a reference or beside null."""
    choices = [content, *content.get("anyOf", [])]
    return [value for choice in choices for value in (*choice.get("enum", ()), *(choice.get("const", ()),))]


def test_the_schema_has_fields() -> None:
    assert len(list(fields())) >= 30


@references
@pytest.mark.parametrize(
    ("path", "content"), list(fields()), ids=lambda value: value if str(value) == value else ""
)
def test_every_field_has_a_row_with_its_default(document: Path, path: str, content: dict[str, Any]) -> None:
    rows = rows_of(document, path.rpartition(".")[2])
    assert rows, f"{path} has no row"
    default = content.get("default")
    if default is not None:
        expected = f"`{json.dumps(default)}`"
        assert expected in [row[2] for row in rows], f"{path}: the default is {expected}, the rows say {rows}"
    else:
        assert any(not row[2].startswith("`") for row in rows), f"{path} has no default, the rows say {rows}"


@references
def test_every_allowed_value_is_mentioned(document: Path) -> None:
    known = " ".join(markdown.inline_code(document))
    cells = {cell for row in markdown.table_rows(document) for cell in row}
    for path, content in fields():
        for value in allowed_values(content):
            if isinstance(value, str) and not path.endswith(".dtype"):
                assert value in known, f"{path}: {value} is not mentioned"
            elif isinstance(value, int):
                assert str(value) in cells, f"{path}: level {value} is not mentioned"


@references
def test_no_row_describes_an_unknown_field(document: Path) -> None:
    known = {path.rpartition(".")[2] for path, _ in fields()}
    described = {row[0].strip("`") for row in markdown.table_rows(document) if len(row) == 4} - {
        "field",
        "字段",
    }
    assert described == known


def complete(partial: dict[str, Any]) -> dict[str, Any]:
    """Lay an example over the quick start's configuration, section by section."""
    base = json.loads((QUICKSTART / "config.json").read_text("utf-8"))
    assert set(partial) <= set(base)
    return {section: {**base[section], **partial.get(section, {})} for section in base}


@pytest.mark.parametrize("block", JSON_BLOCKS, ids=str)
def test_json_blocks_are_configurations(block: markdown.Block) -> None:
    load_config(complete(json.loads(block.text)))


def test_the_last_example_has_every_field() -> None:
    example = json.loads(markdown.blocks(REFERENCES[0])[-1].text)
    calibration, quantization = example["calibration_parameters"], example["quantization_parameters"]
    used = {*example["model_parameters"], *calibration, *calibration["input_parametres"][0], *quantization}
    known = {
        path.rpartition(".")[2] for path, _ in fields() if not path.startswith(("Config.", "CustomSetting."))
    }
    assert used == known


@pytest.mark.parametrize("readme", ["README.md", "README_zh.md"])
@pytest.mark.parametrize("field", ["precision_level", "finetune_level"])
def test_the_levels_of_the_readme_exist(field: str, readme: str) -> None:
    rows = markdown.table_rows(ROOT / readme)
    start = next(index for index, row in enumerate(rows) if row[0] == f"`{field}`")
    table = itertools.takewhile(lambda row: row[0][0].isdigit(), rows[start + 1 :])
    levels = [int(level) for row in table for level in re.findall(r"\d", row[0])]
    assert len(levels) >= 4
    for level in levels:
        load_config(complete({"quantization_parameters": {field: level}}))
