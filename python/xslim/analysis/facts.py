"""What a run was fed with, and which operators it left float, in the user's own names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import PurePath

import onnx_ir as ir

from xslim.analysis.numbers import KEY
from xslim.config import Config, InputParameters
from xslim.graph.inputs import input_specs
from xslim.graph.scheme import OperatorPlan


@dataclass(frozen=True)
class InputFacts:
    """One input of the model and its preprocessing.

    Attributes
    ----------
    name : str
        Name of the input.
    shape : tuple of int or str
        Its shape; symbolic dimensions by their names, ``?`` if they have none.
    dtype : str
        Its element type.
    files : str
        ``img``, ``npy`` or ``raw``.
    preprocess : str
        Preset or function that prepares the samples; empty without one.
    color_format : str
        Order of the colours of an image; empty for grey images and other files.
    mean, deviation : tuple of float
        Per channel, on the scale from 0 to 255; empty where none is applied.
    """

    name: str
    shape: tuple[int | str, ...]
    dtype: str
    files: str
    preprocess: str
    color_format: str
    mean: tuple[float, ...]
    deviation: tuple[float, ...]


@dataclass(frozen=True)
class JudgedPreprocessing:
    """What the float model itself says about the preprocessing of its images.

    Attributes
    ----------
    input_name : str
        The input.
    figure : str
        What was measured with the preprocessing of the configuration, in words.
    better : str
        The preprocessing that suits the model clearly better, in words; empty if the configuration suits it.
    better_figure : str
        What was measured with the better one; empty without one.
    mean, deviation : tuple of float
        Numbers of the better one, for the configuration; empty without one, or if every image has its own.
    """

    input_name: str
    figure: str
    better: str = ""
    better_figure: str = ""
    mean: tuple[float, ...] = ()
    deviation: tuple[float, ...] = ()


@dataclass(frozen=True)
class RunFacts:
    """Where the numbers of a report come from.

    Attributes
    ----------
    source : str
        Name of the model's file without its folder; empty for a model in memory.
    inputs : tuple of InputFacts
        The inputs in the order of the model.
    preprocessing : JudgedPreprocessing or None
        What the model says about the preprocessing of its images; None if it tells nothing.
    date : str
        Day and time of the run; not part of the JSON, which is the same for the same run. Empty if unknown.
    """

    source: str = ""
    inputs: tuple[InputFacts, ...] = ()
    preprocessing: JudgedPreprocessing | None = None
    date: str = field(default="", metadata={KEY: None})


@dataclass(frozen=True)
class FloatOperator:
    """One operator that stayed float.

    Attributes
    ----------
    name : str
        Name of the node in the user's model. Where that has no name, or where preparation made the operator:
        the tensor that it writes.
    op_type : str
        Type of the operator.
    reason : str
        Why it is float.
    """

    name: str
    op_type: str
    reason: str


def run_facts(
    source: str,
    date: str,
    model: ir.Model,
    config: Config,
    preprocessing: JudgedPreprocessing | None = None,
) -> RunFacts:
    """Describe the inputs of a model as the configuration feeds them."""
    entries = config.calibration_parameters.input_parameters
    specs = input_specs(model)
    by_name = {entry.input_name or spec.name: entry for spec, entry in zip(specs, entries, strict=False)}
    values = {value.name: value for value in model.graph.inputs}
    inputs = tuple(
        _input_facts(values[spec.name], str(spec.dtype), by_name[spec.name])
        for spec in specs
        if spec.name in by_name
    )
    return RunFacts(PurePath(source).name, inputs, preprocessing, date)


def _input_facts(value: ir.Value, dtype: str, entry: InputParameters) -> InputFacts:
    image = entry.file_type == "img" and not entry.has_own_function
    function = "" if entry.function is None else getattr(entry.function, "__qualname__", "function")
    return InputFacts(
        name=value.name or "",
        shape=tuple(_sizes(value)),
        dtype=dtype,
        files=entry.file_type,
        preprocess=function or _without_folder(entry.preprocess_file or ""),
        color_format=entry.color_format if image and not _is_grey(value) else "",
        mean=(entry.mean_value or ()) if image else (),
        deviation=(entry.std_value or ()) if image else (),
    )


def _is_grey(value: ir.Value) -> bool:
    """Whether an image input has one channel, NCHW or NHWC."""
    return 1 in list(value.shape or ())[1::2]


def _without_folder(reference: str) -> str:
    """Return ``file.py:function`` without the folder of the file."""
    return PurePath(reference).name


def _sizes(value: ir.Value) -> Iterator[int | str]:
    for size in value.shape or ():
        yield size if isinstance(size, int) else str(size.value or "?")


def float_operators(original: ir.Model, operators: tuple[OperatorPlan, ...]) -> tuple[FloatOperator, ...]:
    """Return the operators of a plan that are float, in its order, with the names that the user knows."""
    writers = {value.name: node for node in original.graph for value in node.outputs if value.name}
    named = {node.name for node in original.graph if node.name}
    return tuple(
        FloatOperator(_own_name(operator, named, writers), operator.op_type, operator.reason)
        for operator in operators
        if not operator.int8
    )


def _own_name(operator: OperatorPlan, named: set[str], writers: dict[str, ir.Node]) -> str:
    if operator.name in named:
        return operator.name
    known = (writers[name].name for name in operator.outputs if name in writers)
    written = next((name for name in operator.outputs if name), operator.name)
    return next((name for name in known if name), written)


def by_reason(operators: Sequence[FloatOperator]) -> dict[str, list[FloatOperator]]:
    """Group the operators that stayed float by their reason, the most frequent first."""
    ordered = sorted(operators, key=lambda operator: operator.reason)
    groups = [(reason, list(group)) for reason, group in groupby(ordered, key=lambda item: item.reason)]
    return dict(sorted(groups, key=lambda item: (-len(item[1]), item[0])))
