"""``xslim plan``: what would become int8, and why, without running anything."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from xslim.cli.text import counted, known_only, say, say_json

if TYPE_CHECKING:
    from xslim.commands.plan import PlanSummary
    from xslim.graph.scheme import OperatorPlan, TensorGroup


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the configuration, the model, the output and the amount of detail."""
    parser.add_argument("-c", "--config", metavar="FILE", required=True, help="JSON configuration")
    parser.add_argument("-i", "--input_path", metavar="FILE", help="ONNX model, instead of the config's")
    parser.add_argument("-o", "--output", metavar="FILE", help="JSON file (default: <prefix>_plan.json)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of writing it to a file")


def run(options: argparse.Namespace) -> int:
    """Print the plan and write it as JSON."""
    from xslim.commands.plan import plan_run
    from xslim.files import write_whole

    summary, file = plan_run(
        options.config, options.input_path, output=options.output, written=not options.json
    )
    if options.json:
        say_json(summary.as_json())
        return 0
    say(*_lines(summary), folded=True)
    write_whole(file, json.dumps(summary.as_json(), indent=1) + "\n")
    say(f"wrote {file}")
    return 0


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
