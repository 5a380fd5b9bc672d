"""Check a user's operator table and report every problem at once, with the nearest known name.

A table may have the fields of `Operator` and `Constraint`; a field that is added to these classes is allowed
in tables.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import fields
from difflib import get_close_matches
from functools import cache
from typing import Annotated, Any, Literal, get_type_hints

import onnx.defs
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from xslim.config.problems import describe_problems
from xslim.targets.constraints import Constraint, Scalar
from xslim.targets.table import Chip, Operator

STRICT = ConfigDict(strict=True, extra="forbid")
INPUT_FIELDS = ("attribute", "input", "inputs_from")
Name = Annotated[str, Field(min_length=1)]


def table_problems(table: Mapping[str, Any]) -> list[str]:
    """Return one line for each problem of a table, as `tomllib` has read it."""
    root, sections = _forms()
    lines = []
    try:
        # The table is validated as JSON, because strict pydantic types then accept a list for a tuple.
        root.model_validate_json(json.dumps(table, default=_date))
    except ValidationError as error:
        lines = describe_problems(error, sections)
    return [*lines, *_contradictions(table)]


def _date(value: object) -> dict[str, str]:
    """Represent a date, which JSON lacks, by an object of a kind that no field of a table accepts."""
    return {"date": str(value)}


@cache
def _forms() -> tuple[type[BaseModel], dict[str, type[BaseModel]]]:
    """Return the pydantic model of a whole table, and the models of its parts by their path."""
    constraint = _form(Constraint)
    constraints = tuple[constraint, ...]  # type: ignore[valid-type]
    changed: dict[str, Any] = {
        "role": Literal["compute", "elementwise", "activation", "concat", "passive", "float"],
        "max_level": Annotated[int, Field(ge=-1, le=2)],
        "square_level": Annotated[int, Field(ge=-1, le=2)],
        "dynamic": Literal["matmul", "integer", "lstm", "weights"],
        "types": Name,
        "weight_axis": tuple[dict[str, Scalar], ...],
        "constraints": constraints,
        "int8_constraints": constraints,
        "half_constraints": constraints,
    }
    operator = _form(Operator, **changed)
    operators = dict[Name, operator]  # type: ignore[valid-type]
    section = create_model("Section", __base__=operator, operators=(operators, ...))
    table = create_model(
        "Table",
        __config__=STRICT,
        name=(Name, ...),
        provider=(Name, ...),
        unsigned=(bool, False),
        takes_unlisted=(bool, False),
        float16_epilogue=(bool, False),
        chip=(_form(Chip), None),
        raises_opset_for=(tuple[Name, ...], ()),
        types=(dict[Name, tuple[Name, ...]], {}),
        section=(tuple[section, ...], ...),
    )
    places: dict[str, type[BaseModel]] = {"": table, "section[]": section, "section[].operators.*": operator}
    for name in ("constraints", "int8_constraints", "half_constraints"):
        places |= {f"section[].{name}[]": constraint, f"section[].operators.*.{name}[]": constraint}
    return table, places


def _form(data: type, **changed: Any) -> type[BaseModel]:
    """Return a pydantic model with the fields of a dataclass, all of them optional."""
    hints = get_type_hints(data)
    content: dict[str, Any] = {
        field.name: (changed.get(field.name, hints[field.name]), None) for field in fields(data)
    }
    return create_model(data.__name__, __config__=STRICT, **content)


def _contradictions(table: Mapping[str, Any]) -> Iterator[str]:
    """Yield problems that types cannot express: contradictions between fields of several places."""
    types = table.get("types", {})
    sections = table.get("section")
    chip = table.get("chip")
    if isinstance(chip, dict) and "ai_cores" not in chip:
        yield "chip.ai_cores: required"
    if sections == []:
        yield "section: must not be empty"
    for number, section in enumerate(sections if isinstance(sections, list) else ()):
        operators = section.get("operators") if isinstance(section, dict) else None
        for name, entry in operators.items() if isinstance(operators, dict) else ():
            if isinstance(entry, dict):
                place = f"section[{number}].operators.{name}"
                yield from (f"{place}{line}" for line in _of_operator(name, section | entry, types))


def _of_operator(name: str, entry: Mapping[str, Any], types: object) -> Iterator[str]:
    if "." not in name and not onnx.defs.has(name):
        near = get_close_matches(name, {schema.name for schema in onnx.defs.get_all_schemas()}, n=1)
        hint = f", did you mean {near[0]}?" if near else "; names of another domain begin with it and a dot"
        yield f": ONNX has no such operator{hint}"
    if "role" not in entry:
        yield ".role: required, here or in the section"
    elif entry["role"] != "float" and entry.get("max_level", -1) == -1:
        yield f'.max_level: required for the role "{entry["role"]}", here or in the section'
    listed = entry.get("types")
    if isinstance(listed, str) and isinstance(types, dict) and listed not in types:
        near = get_close_matches(listed, types, n=1)
        yield f".types: [types] has no list {listed!r}" + (f", did you mean {near[0]}?" if near else "")
    for field in ("constraints", "int8_constraints", "half_constraints"):
        conditions = entry.get(field)
        for number, item in enumerate(conditions if isinstance(conditions, list) else ()):
            if isinstance(item, dict) and sum(key in item for key in INPUT_FIELDS) != 1:
                yield f".{field}[{number}]: needs one of {', '.join(INPUT_FIELDS)}"
    axes = entry.get("weight_axis")
    for number, item in enumerate(axes if isinstance(axes, list) else ()):
        if isinstance(item, dict) and type(item.get("axis", 0)) is not int:
            yield f".weight_axis[{number}].axis: must be an integer"
