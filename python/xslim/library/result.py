"""The result of `xslim.quantize`: the model, and the numbers behind the model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray

from xslim.analysis import Report, Subject, analyse
from xslim.analysis.as_json import to_json
from xslim.analysis.html import to_html, to_summary
from xslim.analysis.markdown import to_markdown
from xslim.errors import ConfigError, ModelError
from xslim.export.proof import OutputComparison
from xslim.files import InputFile, refuse_inputs
from xslim.graph.gains import StepGain
from xslim.graph.io import load_model, save_model, to_proto
from xslim.graph.scheme import QuantPlan
from xslim.kernels import Sketch
from xslim.pipeline.protect import weight_files
from xslim.pipeline.result import Finished
from xslim.texts import language_of

Kind = Literal["activation", "constant"]
Language = Literal["en", "zh"]


@dataclass(frozen=True)
class Parameter:
    """Scale and zero point of one int8 tensor: ``x ≈ (q - zero_point) * scale``.

    Attributes
    ----------
    tensor : str
        Name of the tensor.
    kind : {"activation", "constant"}
        Whether the tensor depends on the input of the model.
    scale : float32 array
        Shape ``()`` per tensor, or ``(channels,)`` per channel.
    zero_point : array of integers
        Same shape as `scale`.
    dtype : str
        Type of the stored values, such as ``int8``.
    axis : int or None
        Channel axis; None per tensor.
    range_seen : pair of float, or None
        Smallest and largest float value: of the calibration samples, or of the constant. None if no sample
        was needed, as for the output of a Softmax.
    method : str
        How the range was chosen: a calibration type, ``fixed``, or ``largest magnitude`` for a constant.
    """

    tensor: str
    kind: Kind
    scale: NDArray[np.float32]
    zero_point: NDArray[np.integer[Any]]
    dtype: str
    axis: int | None
    range_seen: tuple[float, float] | None
    method: str


@dataclass(frozen=True)
class ReportView:
    """The report of a run in its forms; a notebook shows a summary."""

    data: Report = field(repr=False)

    def to_html(self, language: Language | None = None, *, embedded: bool = False) -> str:
        """Return the report as a self-contained HTML page.

        Parameters
        ----------
        language : {"en", "zh"}, optional
            The language of its texts; by default that of the locale.
        embedded : bool
            Whether to return an element for the page of a notebook instead of a page. Several reports fit one
            page, for example with ``IPython.display.HTML``.
        """
        return to_html(self.data, language_of(language), embedded=embedded)

    def to_json(self) -> str:
        """Return the report as JSON."""
        return to_json(self.data)

    def to_markdown(self, language: Language | None = None) -> str:
        """Return the report as Markdown, in the language of the locale if none is given."""
        return to_markdown(self.data, language_of(language))

    def _repr_html_(self) -> str:
        """Return a summary for a notebook: verdict, outputs, the worst tensors and findings."""
        return to_summary(self.data, language_of(None))


@dataclass(frozen=True)
class Result:
    """The result of `xslim.quantize`.

    Attributes
    ----------
    model : onnx.ModelProto
        The quantised model.
    path : Path or None
        The file that was written; None if no output was named.
    comparison : sequence of OutputComparison
        The errors of every output against the float model: ``name``, ``sqnr_db`` in decibels (higher is
        better), ``cosine``, ``max_abs_error``, ``top1_agreement`` (0 to 1, for outputs of classes) and
        ``lost``, columns of small values that int8 has lost.
    warnings : sequence of str
        What the run has warned of, such as names that no operator has.
    """

    model: onnx.ModelProto = field(repr=False)
    path: Path | None
    comparison: Sequence[OutputComparison]
    warnings: Sequence[str] = ()
    _source: onnx.ModelProto | Path | None = field(default=None, repr=False)
    _subject: Subject | None = field(default=None, repr=False)
    _report: Report | None = field(default=None, repr=False)

    @classmethod
    def of(
        cls, finished: Finished, path: Path | None, source: onnx.ModelProto | Path, warnings: Sequence[str]
    ) -> Result:
        """Return the result of a run; `source` is the float model."""
        return cls(
            model=to_proto(finished.model),
            path=path,
            comparison=tuple(finished.comparison),
            warnings=tuple(warnings),
            _source=source,
            _subject=finished.subject,
            _report=finished.report,
        )

    def save(self, path: str | Path) -> Path:
        """Write the model to a file, completely or not at all, and return its path.

        Raises
        ------
        OutputError
            The file cannot be written, or is the float model that the result was made from.
        """
        if isinstance(self._source, Path):
            refuse_inputs([Path(path)], _files_of(self._source))
        save_model(load_model(self.model), Path(path))
        return Path(path)

    @property
    def plan(self) -> QuantPlan | None:
        """What is int8 and why; None at precision levels without calibration."""
        return self._subject.plan if self._subject else None

    @property
    def gains(self) -> Sequence[StepGain]:
        """The gain of every step of refinement in dB, its standard deviation, and whether it was kept."""
        return self._subject.steps if self._subject else ()

    @property
    def sketches(self) -> Mapping[str, Sketch]:
        """The sketches of the observed tensors, by name."""
        return self._subject.sketches if self._subject else {}

    @cached_property
    def parameters(self) -> Mapping[str, Parameter]:
        """The parameters of every int8 tensor, by name; empty at precision levels without calibration."""
        return {} if self._subject is None else _parameters(self._subject)

    @cached_property
    def report(self) -> ReportView:
        """The report, made at the first use: the float and the quantised model run on a few samples.

        Raises
        ------
        ConfigError
            The precision level has no report.
        """
        if self._subject is None:
            raise ConfigError(
                "there is no report without calibration", where="report", hint="levels 0, 1 and 2 have one"
            )
        return ReportView(self._report or analyse(self._subject))

    def _repr_html_(self) -> str:
        """Return the summary of the report for a notebook."""
        if self._subject is not None:
            warned = "".join(f"<li>{escape(text)}</li>" for text in self.warnings)
            return (f"<ul>{warned}</ul>" if warned else "") + self.report._repr_html_()
        lines = (f"<li>{escape(row.name)}: {row.sqnr_db:.1f} dB</li>" for row in self.comparison)
        return f"<ul>{''.join(lines)}</ul>"


def _files_of(source: Path) -> Iterator[InputFile]:
    yield InputFile(source, "the model")
    with suppress(ModelError):
        yield from weight_files(load_model(source))


def _parameters(subject: Subject) -> dict[str, Parameter]:
    found = {}
    for group in subject.plan.groups:
        for name in group.tensors:
            params = subject.quantization.activations[name]
            observed = [name] if name in subject.sketches else group.observed
            sketches = [subject.sketches[item] for item in observed if item in subject.sketches]
            full = [sketch for sketch in sketches if not sketch.is_empty]
            seen = (min(item.min for item in full), max(item.max for item in full)) if full else None
            found[name] = Parameter(
                tensor=name,
                kind="activation",
                scale=params.scale,
                zero_point=params.zero_point,
                dtype="int8",
                axis=params.axis,
                range_seen=seen,
                method=group.method if group.fixed_range is None else "fixed",
            )
    for plan, stored in subject.quantization.constants.items():
        value = subject.reference.graph.initializers.get(plan.tensor)
        array = value.const_value.numpy() if value is not None and value.const_value is not None else None
        found[plan.tensor] = Parameter(
            tensor=plan.tensor,
            kind="constant",
            scale=stored.params.scale,
            zero_point=stored.params.zero_point,
            dtype=str(stored.values.dtype),
            axis=stored.params.axis,
            range_seen=None if array is None else (float(array.min()), float(array.max())),
            method="largest magnitude",
        )
    return found
