"""Convert pydantic's errors into lines for users: path, problem, nearest known name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, TypeAlias

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from xslim.config.fields import describe, shown
from xslim.config.model import (
    CalibrationParameters,
    Config,
    CustomSetting,
    InputParameters,
    ModelParameters,
    QuantizationParameters,
)

Sections: TypeAlias = Mapping[str, type[BaseModel]]

_SPELLINGS = ("input_parametres", "input_parameters")

# The path of each section; a list index in a path is written as an empty pair of brackets.
_SECTIONS: Sections = {
    "": Config,
    "model_parameters": ModelParameters,
    "calibration_parameters": CalibrationParameters,
    "calibration_parameters.input_parameters[]": InputParameters,
    "quantization_parameters": QuantizationParameters,
    "quantization_parameters.custom_setting[]": CustomSetting,
}

_EXPECTED = {
    "int_type": "an integer",
    "int_parsing_size": "a smaller integer",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "a string",
    "tuple_type": "a list",
    "model_type": "an object",
    "dict_type": "an object",
    "model_attributes_type": "an object",
}


def describe_problems(error: ValidationError, sections: Sections = _SECTIONS) -> list[str]:
    """Return one line per problem, in the order of the checks.

    Parameters
    ----------
    error : ValidationError
        An error of a pydantic model.
    sections : mapping of str to model
        The path of each model: ``a.list[]`` for the items of a list, ``operators.*`` for any operator.
    """
    # A list whose items are wrong is not too short besides.
    details = [item for item in error.errors() if item["type"] != "too_short" or not item["input"]]
    return list(dict.fromkeys(_line(detail, sections) for detail in details))


def _line(detail: ErrorDetails, sections: Sections) -> str:
    location = detail["loc"]
    context = detail.get("ctx", {})
    kind, value = detail["type"], detail["input"]
    path = context.get("where") or _path_text(location)
    if kind == "extra_forbidden":
        return f"{path}: {_unknown(location, sections)}"
    if kind == "missing":
        return f"{path}: required"
    if kind == "xslim":
        return f"{path}: {context['message']}"
    if kind in _EXPECTED:
        return f"{path}: must be {_EXPECTED[kind]}, got {describe(value)}"
    return f"{path}: {_range_message(kind, context, value) or detail['msg'] + ', got ' + describe(value)}"


def _range_message(kind: str, context: Mapping[str, Any], value: object) -> str | None:
    if kind == "literal_error":
        near = (
            get_close_matches(value.lower(), _words(context["expected"]), n=1)
            if isinstance(value, str)
            else []
        )
        hint = f", did you mean '{near[0]}'?" if near else ""
        return f"must be {context['expected']}, got {describe(value)}{hint}"
    if kind == "greater_than_equal":
        return f"must be at least {context['ge']:g}, got {shown(value)}"
    if kind == "less_than_equal":
        return f"must be at most {context['le']:g}, got {shown(value)}"
    if kind in {"string_too_short", "too_short"}:
        return "must not be empty"
    if kind == "string_pattern_mismatch":
        return f"must be 'cpu', 'cuda' or 'cuda:<number>', got {describe(value)}"
    return None


def _words(expected: str) -> list[str]:
    return [word.strip("' ") for word in expected.replace(" or ", ",").split(",")]


def _path_text(location: Sequence[int | str]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.lstrip(".") or "config"


def _section_of(location: Sequence[int | str]) -> str:
    # The keys of a table of operators are free names; the path of the section has an asterisk for each.
    named = {index + 1 for index, part in enumerate(location) if part == "operators"}
    parts = ["*" if index in named else part for index, part in enumerate(location[:-1])]
    generic = "".join("[]" if isinstance(part, int) else f".{part}" for part in parts).lstrip(".")
    return generic.replace(*_SPELLINGS)


def _names(section: str, sections: Sections) -> list[str]:
    names = list(sections[section].model_fields)
    return [*names, "input_parametres"] if "input_parameters" in names else names


def _unknown(location: Sequence[int | str], sections: Sections) -> str:
    key, section = str(location[-1]), _section_of(location)
    known = _names(section, sections)
    if key in known:
        return f"given twice: {_SPELLINGS[0]} and {_SPELLINGS[1]} are the same field"
    homes = [place for place in sections if place != section and key in _names(place, sections)]
    if homes:
        return f"unknown field here, it belongs in {homes[0].replace('[]', '') or 'the top level'}"
    near = get_close_matches(key, known, n=1, cutoff=0.5) or get_close_matches(
        key.lower(), known, n=1, cutoff=0.5
    )
    if near:
        return f"unknown field, did you mean {near[0]}?"
    return f"unknown field, the known ones are {', '.join(known)}"
