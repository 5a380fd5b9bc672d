"""``xslim plan``: which operators would become int8, and why, without running the model."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xslim.analysis.numbers import plain
from xslim.commands.text import counted, known_only, say, say_json
from xslim.config import ConfigSource, load_config
from xslim.errors import ConfigError
from xslim.files import write_whole
from xslim.graph.cost import ModelCost, model_cost
from xslim.graph.scheme import ConstantPlan, OperatorPlan, QuantPlan, TensorGroup
from xslim.pipeline.cut import FirstPart
from xslim.pipeline.paths import PLAN, ModelArgument, model_source, output_paths
from xslim.pipeline.prepare import prepare_model
from xslim.pipeline.protect import load_protected
from xslim.quantization.plan import make_plan
from xslim.quantization.rules import rules_from
from xslim.targets import target_of
from xslim.targets.subgraphs import count_subgraphs, refusals


@dataclass(frozen=True)
class PlanSummary:
    """A plan with its figures for a target.

    Attributes
    ----------
    target : str
        The target.
    operators : tuple of OperatorPlan
        Every operator, int8 or float, and why.
    groups : tuple of TensorGroup
        The int8 activations; those of one group share parameters.
    constants : tuple of ConstantPlan
        The int8 constants.
    int8_share : float
        Share of the multiply-accumulate operations that are int8, 0 to 1.
    qdq_pairs : int
        QuantizeLinear/DequantizeLinear pairs of the result.
    subgraphs : int
        Number of subgraphs that the operators of the target form.
    macs_complete : bool
        Whether all shapes are known on which `int8_share` depends; else it leaves some operators out.
    """

    target: str
    operators: tuple[OperatorPlan, ...]
    groups: tuple[TensorGroup, ...]
    constants: tuple[ConstantPlan, ...]
    int8_share: float
    qdq_pairs: int
    subgraphs: int
    macs_complete: bool

    def as_json(self) -> dict[str, Any]:
        """Return plain data for JSON, every tensor with its group; a missing bound of a clamp is null."""
        data: dict[str, Any] = plain(self)
        return data


def run(config: str, input_path: str | None, output: str | None, as_json: bool) -> int:
    """Print the plan and write it as JSON."""
    summary, file = plan_run(config, input_path, output=output, written=not as_json)
    if as_json:
        say_json(summary.as_json())
        return 0
    say(*_lines(summary), folded=True)
    write_whole(file, json.dumps(summary.as_json(), indent=1) + "\n")
    say(f"wrote {file}")
    return 0


def plan_run(
    config_or_path: ConfigSource,
    model_path: ModelArgument | None = None,
    *,
    output: str | Path | None = None,
    written: bool = True,
) -> tuple[PlanSummary, Path]:
    """Plan a static run without reading calibration data or running the model.

    Parameters
    ----------
    config_or_path : dict, str, Path or Config
        The configuration.
    model_path : onnx.ModelProto, str or Path, optional
        The model; by default the one that the configuration names.
    output : str or Path, optional
        File for the plan; by default ``<prefix>_plan.json`` in the output folder of the run.
    written : bool
        Whether the plan will be written to the file; its path is checked then.

    Returns
    -------
    PlanSummary, Path
        The plan, and its file.

    Raises
    ------
    ConfigError
        The precision level is not a static one, or a custom setting names what does not exist.
    ModelError
        The model cannot be read.
    OutputError
        The file would replace an input, or cannot be written.
    """
    config = load_config(config_or_path)
    level = config.quantization_parameters.precision_level
    if not level.is_static:
        raise ConfigError(
            f"there is no plan for precision level {level}",
            where="quantization_parameters.precision_level",
            hint="levels 0, 1 and 2 have one",
        )
    target = target_of(config)
    source = model_source(config, model_path)
    file = source if isinstance(source, Path) else None
    paths = output_paths(config, file, None, given=model_path is not None)
    path = paths.beside(PLAN) if output is None else Path(output)
    model = load_protected(config, source, [path] if written else [], reads_samples=False)
    prepared = prepare_model(model, config)
    part = FirstPart.of(prepared, config)
    plan = make_plan(part.model, target, rules_from(config))
    taken = {node: reason is None for node, reason in refusals(prepared.graph, target).items()}
    cost = model_cost(prepared)
    summary = PlanSummary(
        target=target.name,
        operators=(*plan.operators, *part.untouched()),
        groups=plan.groups,
        constants=plan.constants,
        int8_share=_int8_share(cost, plan),
        qdq_pairs=sum(len(group.tensors) for group in plan.groups),
        subgraphs=count_subgraphs(prepared.graph, taken),
        macs_complete=not cost.unknown_shapes,
    )
    return summary, path


def _int8_share(cost: ModelCost, plan: QuantPlan) -> float:
    int8 = sum(operator.macs for operator in cost.operators if operator.name in plan.int8_operators)
    return int8 / cost.macs if cost.macs else 0.0


def _lines(summary: PlanSummary) -> Iterator[str]:
    yield "operators, and the tensors that they write"
    width = max((len(operator.op_type) for operator in summary.operators), default=0)
    for operator in summary.operators:
        name = f"{operator.name} -> {', '.join(operator.outputs)}"
        yield f"  {_kind(operator):5} {operator.op_type:{width}} {name}{_reason(operator)}"
    if summary.groups:
        yield "int8 tensors, and how their range is found; those in one line share scale and zero point"
        yield from (f"  {_method(group)}: {', '.join(group.tensors)}" for group in summary.groups)
    int8 = sum(operator.int8 for operator in summary.operators)
    reasons = Counter(operator.reason for operator in summary.operators if not operator.int8)
    if reasons:
        yield "why operators are float"
        yield from (f"  {count:4}  {reason}" for reason, count in reasons.most_common())
    yield f"{int8} of {len(summary.operators)} operators are int8 on {summary.target}"
    yield f"{summary.int8_share:.1%} of the multiply-accumulates are int8{known_only(summary.macs_complete)}"
    pairs, sets = counted(summary.qdq_pairs, "Q/DQ pair"), counted(len(summary.groups), "set")
    yield f"{pairs} with {sets} of parameters"
    yield f"{counted(len(summary.constants), 'int8 constant')}, {counted(summary.subgraphs, 'subgraph')}"


def _kind(operator: OperatorPlan) -> str:
    return "int8" if operator.int8 else "float"


def _reason(operator: OperatorPlan) -> str:
    return "" if operator.reason == "int8" else f": {operator.reason}"


def _method(group: TensorGroup) -> str:
    if group.fixed_range is not None:
        return f"range {group.fixed_range[0]:g} to {group.fixed_range[1]:g}"
    return group.method if group.method != "percentile" else f"percentile {group.max_percentile:g}"
