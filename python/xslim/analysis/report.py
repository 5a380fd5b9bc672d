"""The report as data: everything that the Markdown, JSON and HTML forms show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from xslim.analysis.facts import FloatOperator, RunFacts
from xslim.analysis.graph import GraphNode
from xslim.analysis.numbers import KEY
from xslim.analysis.seen import SampleView
from xslim.config import FinetuneLevel
from xslim.graph.gains import StepGain
from xslim.graph.spreads import ChannelSpread
from xslim.runtime import FAIR_DB, GOOD_DB, LostColumns
from xslim.texts import Message

Range = tuple[float, float]
Level = Literal["good", "fair", "poor"]

SQNR_LIMIT = 10.0
"""SQNR in dB below which a tensor is marked: the noise has a tenth of the signal's energy."""
COSINE_LIMIT = 0.99
"""Cosine similarity below which a tensor is marked."""
HIGHEST_FINETUNE = max(FinetuneLevel)
FIRST_THINGS_FIRST = "Act on the first finding and run again: what follows is often its consequence."


@dataclass(frozen=True)
class Errors:
    """Error measures of a tensor against its float reference.

    Attributes
    ----------
    noise_ratio : float
        Noise energy over signal energy; lower is better, 0 without noise. Reports call it ``snr``.
    sqnr_db : float
        Signal energy over noise energy in decibels; higher is better, infinite without noise.
    mse : float
        Mean squared error.
    cosine : float
        Cosine similarity, -1 to 1.
    max_abs_error : float
        Largest absolute difference.
    """

    noise_ratio: float = field(metadata={KEY: "snr"})
    sqnr_db: float
    mse: float
    cosine: float
    max_abs_error: float


@dataclass(frozen=True)
class Chosen:
    """The range that int8 covers, and the share of the float values that it clips.

    Attributes
    ----------
    scale, zero_point : float, int
        ``x ≈ (q - zero_point) * scale``.
    low, high : float
        The smallest and the largest value that int8 can represent.
    clipped : float
        Share of the float values outside this range, 0 to 1, over all calibration samples.
    clip_noise : float
        Noise energy of clipping relative to the signal energy, estimated from the histogram.
    """

    scale: float
    zero_point: int
    low: float
    high: float
    clipped: float
    clip_noise: float


@dataclass(frozen=True)
class TensorReport:
    """One int8 activation.

    Attributes
    ----------
    name : str
        Name of the tensor in the model.
    op_name, op_type : str
        The operator that computes it; for an input of the model, the first one that reads it.
    depth : int
        Position along the network, counted in operators; -1 for inputs.
    accumulated : Errors
        Error of the quantised model against the float model: it contains the errors of all operators before.
    local : Errors
        Error of the operator alone: its int8 form reads the float model's tensors, quantised as in the
        exported model. For a tensor that no int8 operator computes: the rounding error of the tensor itself.
    float_range, quantized_range : pair of float
        Extremes in the float model (all calibration samples) and in the quantised one (compared samples).
    chosen : Chosen
        The range that int8 covers.
    histogram : tuple of int
        Counts of the float values in 32 equal bins over `float_range`.
    channels : tuple of float
        Largest magnitude per channel, for the tensors with the worst int8 form; empty for others.
    """

    name: str
    op_name: str
    op_type: str
    depth: int
    accumulated: Errors
    local: Errors
    float_range: Range
    quantized_range: Range
    chosen: Chosen
    histogram: tuple[int, ...]
    channels: tuple[float, ...] = ()


@dataclass(frozen=True)
class HistogramPair:
    """The values of a constant before and after quantisation, in the same equal bins from `low` to `high`."""

    low: float
    high: float
    before: tuple[int, ...]
    after: tuple[int, ...]


@dataclass(frozen=True)
class ConstantReport:
    """One int8 constant.

    Attributes
    ----------
    name : str
        The initializer.
    op_name, op_type : str
        The first operator that reads it as int8.
    depth : int
        Position of that operator.
    axis : int or None
        Channel axis; None when quantised per tensor.
    channel_count : int
        Number of channels; 1 per tensor.
    channel_ranges : tuple of (low, high)
        Extremes per channel; with more than 64 channels, neighbouring channels share a range.
    errors : Errors
        The int8 values against the float ones.
    float_range, quantized_range : pair of float
        Extremes.
    histogram : tuple of int
        Counts of the float values in 32 equal bins over `float_range`.
    histograms : HistogramPair or None
        Float and int8 values side by side, for the worst constants.
    """

    name: str
    op_name: str
    op_type: str
    depth: int
    axis: int | None
    channel_count: int
    channel_ranges: tuple[Range, ...]
    errors: Errors
    float_range: Range
    quantized_range: Range
    histogram: tuple[int, ...]
    histograms: HistogramPair | None = None


@dataclass(frozen=True)
class OutputReport:
    """One floating-point output of the model.

    Attributes
    ----------
    name : str
        The output.
    errors : Errors
        The quantised model against the float one.
    lost : LostColumns or None
        Columns whose values are lost, although the output as a whole is fine.
    """

    name: str
    errors: Errors
    lost: LostColumns | None = None


@dataclass(frozen=True)
class Finding:
    """One piece of advice.

    Attributes
    ----------
    code : str
        Stable identifier, such as ``"preprocessing.mean-scale"``.
    title : str
        What is wrong, in one sentence.
    text : str
        Why it matters and what the change does.
    evidence : mapping
        The measured values that led to the finding.
    where : tuple of str
        Tensors, operators or inputs concerned.
    change : mapping
        The change of the configuration that applies the advice, to be merged into the JSON file; a list
        replaces the whole list there.
    """

    code: str
    title: str
    text: str
    evidence: Mapping[str, Any]
    where: tuple[str, ...]
    change: Mapping[str, Any]


@dataclass(frozen=True)
class ModelSummary:
    """The model as a whole.

    Attributes
    ----------
    name : str
        Name of the output.
    operators, int8_operators : int
        Number of operators before quantisation, and how many of them are int8.
    macs, int8_macs : int or None
        Multiply-accumulate operations of one run, and how many of them are int8; None where shapes are
        not known.
    float_bytes, quantized_bytes : int
        Bytes of the constants before and after.
    float_reasons : mapping of str to int
        Why operators stayed float, with the number of operators.
    """

    name: str
    operators: int
    int8_operators: int
    macs: int | None
    int8_macs: int | None
    float_bytes: int
    quantized_bytes: int
    float_reasons: Mapping[str, int]


@dataclass(frozen=True)
class Verdict:
    """The result in one word and one sentence.

    Attributes
    ----------
    level : {"good", "fair", "poor"}
        The word.
    text : str
        The sentence in English.
    message : Message
        The sentence for a catalogue; not part of the JSON.
    """

    level: Level
    text: str
    message: Message = field(default_factory=lambda: Message(""), metadata={KEY: None})

    @classmethod
    def of(cls, level: Level, message: Message) -> Verdict:
        """Return a verdict with one sentence."""
        return cls(level, str(message), message)


@dataclass(frozen=True)
class Report:
    """The whole report of one run.

    Attributes
    ----------
    version : str
        Version of XSlim.
    model : ModelSummary
    verdict : Verdict
    calibration_samples, compared_samples, tensor_samples : int
        Number of samples that the ranges were calibrated on, of samples that both models ran on, and of those
        among them on which tensors were compared too.
    compared_unseen : bool
        Whether calibration has seen none of the samples that both models ran on.
    outputs : tuple of OutputReport
    tensors : tuple of TensorReport
        Along the network.
    constants : tuple of ConstantReport
        Along the network.
    findings : tuple of Finding
        The findings, the most important first.
    steps : tuple of StepGain
        The gain of each step of refinement.
    channel_spreads : tuple of ChannelSpread
        The tensors whose channels differ most, and what was done about them.
    config : mapping
        The configuration that was used, with its defaults.
    run : RunFacts
        The file of the model, its inputs and their preprocessing.
    float_operators : tuple of FloatOperator
        The operators that stayed float, along the network.
    samples : tuple of SampleView
        What the network sees; not part of the JSON.
    graph : tuple of GraphNode
        The float model; not part of the JSON.
    """

    version: str
    model: ModelSummary
    verdict: Verdict
    calibration_samples: int
    compared_samples: int
    tensor_samples: int
    compared_unseen: bool
    outputs: tuple[OutputReport, ...]
    tensors: tuple[TensorReport, ...]
    constants: tuple[ConstantReport, ...]
    findings: tuple[Finding, ...]
    steps: tuple[StepGain, ...]
    channel_spreads: tuple[ChannelSpread, ...]
    config: Mapping[str, Any]
    run: RunFacts = field(default_factory=RunFacts)
    float_operators: tuple[FloatOperator, ...] = ()
    samples: tuple[SampleView, ...] = field(default=(), metadata={KEY: None})
    graph: tuple[GraphNode, ...] = field(default=(), metadata={KEY: None})


def compared_words(report: Report) -> Message:
    """Return how many samples were compared, and whether the figures flatter."""
    whole = report.compared_samples == report.tensor_samples
    return Message(
        COMPARED[report.compared_unseen, whole],
        {"count": report.compared_samples} | ({} if whole else {"few": report.tensor_samples}),
    )


COMPARED = {
    (True, True): "{count} others compared",
    (True, False): "{count} others compared, {few} of them tensor by tensor",
    (False, True): "{count} of them compared, so figures on new samples are lower",
    (False, False): "{count} of them compared, {few} tensor by tensor, so figures on new samples are lower",
}
"""By whether calibration has not seen the samples, and whether tensors were compared on all of them."""


JUDGED = {
    "good": "The outputs follow the float model closely: {noise}.",
    "fair": "The outputs follow the float model with visible error: {noise}.",
    "poor": "The outputs are far from the float model: {noise}.",
}
NOISE = "noise is {percent} % of the signal's energy ({db} dB)"
NOISE_AT = "noise is {percent} % of the signal's energy at {name} ({db} dB)"
DOUBTED = "{sentence} But the inputs seem wrong, which no comparison with the float model shows."
TRY_MORE = "{sentence} If the task suffers, try finetune_level {level}."


def doubted(verdict: Verdict) -> Verdict:
    """Return the verdict of a run whose inputs are probably wrong: fair at best, and it says why."""
    level: Level = "fair" if verdict.level == "good" else verdict.level
    return Verdict.of(level, Message(DOUBTED, {"sentence": verdict.message}))


def judge(outputs: tuple[OutputReport, ...], finetune_level: int = HIGHEST_FINETUNE) -> Verdict:
    """Rate the result good, fair or poor by its worst output, with advice for a fair one."""
    if not outputs:
        return Verdict.of("fair", Message("The model has no floating-point output to compare."))
    worst = min(outputs, key=lambda output: output.errors.sqnr_db)
    db, several = worst.errors.sqnr_db, len(outputs) > 1
    if db == float("inf"):
        key = "The outputs equal those of the float model"
        key = f"{key} at {{name}}." if several else f"{key}."
        return Verdict.of("good", Message(key, {"name": worst.name}))
    level: Level = "good" if db >= GOOD_DB else "fair" if db >= FAIR_DB else "poor"
    percent = f"{100 * worst.errors.noise_ratio:.3g}"
    noise = Message(
        NOISE_AT if several else NOISE, {"percent": percent, "db": f"{db:.1f}", "name": worst.name}
    )
    sentence = Message(JUDGED[level], {"noise": noise})
    if level == "fair" and finetune_level < HIGHEST_FINETUNE:
        sentence = Message(TRY_MORE, {"sentence": sentence, "level": finetune_level + 1})
    return Verdict.of(level, sentence)
