"""Types of single config fields: what a value may be, before it meets any other field."""

from __future__ import annotations

import os
from collections.abc import Callable
from enum import IntEnum
from importlib import resources
from typing import Annotated, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetPydanticSchema,
    StringConstraints,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError, PydanticKnownError
from pydantic_core.core_schema import (
    literal_schema,
    no_info_after_validator_function,
    no_info_before_validator_function,
)

from xslim.config.levels import FinetuneLevel, PrecisionLevel
from xslim.config.paths import expand_home

PRESETS = ("PT_IMAGENET", "IMAGENET", "LETTERBOX")
DEFAULT_TARGET = "spacemit"
TABLE_SUFFIX = ".toml"
DEFAULT_FUNCTION = "preprocess_impl"
"""Function of a ``preprocess_file`` that names only the file, as in the examples of XSlim 2."""

Value = TypeVar("Value")


def problem(message: str, where: str = "") -> PydanticCustomError:
    """Make a validation error; `where` replaces the path when another field is to blame."""
    # The message goes through as data: its braces must not be read as a template.
    return PydanticCustomError("xslim", "{message}", {"message": message, "where": where})


def _checked(test: Callable[[Value], bool], message: str) -> AfterValidator:
    def check(value: Value) -> Value:
        if not test(value):
            raise problem(f"{message}, got {shown(value)}")
        return value

    return AfterValidator(check)


def _path_text(value: object) -> object:
    return expand_home(value) if isinstance(value, (str, os.PathLike)) else value


def _whole_number(value: object) -> int:
    # A literal of 1 would also accept True and 1.0, which are equal to it.
    if not isinstance(value, int) or isinstance(value, bool):
        raise problem(f"must be an integer, got {describe(value)}")
    return int(value)


def _level_of(kind: type[IntEnum], *but: IntEnum) -> GetPydanticSchema:
    """Take the numbers of an enum, some of its members left out, and give members."""
    numbers = [level.value for level in kind if level not in but]
    member = no_info_after_validator_function(kind, literal_schema(numbers))
    return GetPydanticSchema(
        lambda _source, _handler: no_info_before_validator_function(_whole_number, member)
    )


def target_names() -> tuple[str, ...]:
    """Names of the operator tables that the package carries, the default one first."""
    files = resources.files("xslim").joinpath("targets").iterdir()
    names = [file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml")]
    return tuple(sorted(names, key=lambda name: (name != DEFAULT_TARGET, name)))


def is_table_path(target: str) -> bool:
    """Whether a target is the path of a user's own table, not a name."""
    return target.endswith(TABLE_SUFFIX)


def _target(value: object) -> object:
    value = _path_text(value)
    if isinstance(value, str) and (value in target_names() or (is_table_path(value) and _has_no_nul(value))):
        return value
    if isinstance(value, str) and set(value) & set("/\\."):
        raise problem(f"a table of your own is a file that ends with {TABLE_SUFFIX}, got {describe(value)}")
    expected = " or ".join(map(repr, target_names()))
    raise PydanticKnownError("literal_error", {"expected": expected})


def _is_plain_name(value: str) -> bool:
    return value not in {".", ".."} and not set(value) & set("/\\\0")


def _is_preprocess(value: str) -> bool:
    file, function = split_preprocess(value)
    is_function = file.endswith(".py") and function.isidentifier() and _has_no_nul(file)
    return value in PRESETS or is_function


def split_preprocess(reference: str) -> tuple[str, str]:
    """Split ``path/to/file.py:function``; without a function, the name is `DEFAULT_FUNCTION`."""
    if reference.endswith(".py"):
        return reference, DEFAULT_FUNCTION
    file, _, function = reference.rpartition(":")
    return file, function


def describe(value: object) -> str:
    """Return the value the way an error shows it: its JSON type and a short form of it."""
    names = {
        bool: "boolean",
        str: "string",
        int: "integer",
        float: "number",
        dict: "object",
        type(None): "null",
    }
    name = names.get(type(value), "list" if isinstance(value, (list, tuple)) else type(value).__name__)
    if value is None or isinstance(value, (dict, list, tuple)):
        return name
    return f"{name} {shown(value)}"


def shown(value: object) -> str:
    """Return a value as text, cut where it is long."""
    try:
        text = repr(value)
    except ValueError:
        # Python writes no integer of more than a few thousand digits.
        return "<too many digits>"
    return text if len(text) <= 60 else text[:57] + "..."


def _has_no_nul(value: str) -> bool:
    return "\0" not in value


# No path and no name of ONNX holds a NUL; the operating system refuses it with an error of its own.
Text = Annotated[
    str, StringConstraints(min_length=1), _checked(_has_no_nul, "must not contain a NUL character")
]
PathText = Annotated[Text, BeforeValidator(_path_text)]
PlainName = Annotated[
    Text, _checked(_is_plain_name, "must be a file name without folders (working_dir names the folder)")
]
Preprocess = Annotated[
    str,
    BeforeValidator(_path_text),
    _checked(_is_preprocess, f'must be {", ".join(PRESETS)} or "path/to/file.py:function"'),
]
Device = Annotated[str, StringConstraints(pattern=r"^(cpu|cuda(:\d+)?)$")]

# Lists become tuples, so that a frozen config cannot change inside; the items stay strict.
Number = Annotated[float, Field(allow_inf_nan=False)]
Numbers = Annotated[tuple[Number, ...], Field(strict=False, min_length=1)]
Texts = Annotated[tuple[Text, ...], Field(strict=False)]
SomeTexts = Annotated[tuple[Text, ...], Field(strict=False, min_length=1)]
Divisors = Annotated[
    Numbers, _checked(lambda values: all(value != 0 for value in values), "must not contain 0")
]
# The largest size that every library takes.
Count = Annotated[int, Field(ge=1, le=2**31 - 1)]
Shape = Annotated[tuple[Count, ...], Field(strict=False)]

CalibrationType = Literal["default", "kl", "minmax", "percentile", "mse"]
FileType = Literal["img", "npy", "raw"]
ColorFormat = Literal["bgr", "rgb"]
Dtype = Literal[
    "float32", "float16", "float64", "bfloat16", "bool",
    "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
]  # fmt: skip
BiasType = Literal["float", "int32"]
Language = Literal["en", "zh"]
TargetName = Annotated[
    str,
    BeforeValidator(_target),
    WithJsonSchema({"anyOf": [{"enum": list(target_names())}, {"type": "string", "pattern": r"\.toml$"}]}),
]
Percentile = Annotated[float, Field(ge=0.99, le=1)]
Share = Annotated[float, Field(ge=0, le=1)]
GlobalLevel = Annotated[PrecisionLevel, _level_of(PrecisionLevel)]
RegionLevel = Annotated[PrecisionLevel, _level_of(PrecisionLevel, PrecisionLevel.SLIM)]
Effort = Annotated[FinetuneLevel, _level_of(FinetuneLevel)]
