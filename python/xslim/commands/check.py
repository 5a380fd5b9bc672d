"""``xslim check``: which operators a target runs, which fall back, and which Q/DQ pairs do not fuse."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import onnx_ir as ir

from xslim.commands.qdq_patterns import PatternMatch, Site, find_patterns, sites_of
from xslim.commands.text import counted, known_only, say, say_json
from xslim.export.trial import run_float_model
from xslim.graph.cost import model_cost
from xslim.passes.folding import infer_shapes
from xslim.passes.tidy import unique_names
from xslim.pipeline.paths import ModelSource
from xslim.pipeline.protect import load_protected_model
from xslim.runtime import Isolated
from xslim.targets import Chip, Target, load_target
from xslim.targets.subgraphs import count_subgraphs, refusals

INTEGER_TYPES = (ir.DataType.INT8, ir.DataType.UINT8)
SHOWN = 5


@dataclass(frozen=True)
class NodeCheck:
    """One node of the main graph.

    Attributes
    ----------
    name, op_type : str
        The node.
    refusal : str or None
        Why the target does not run the node; None if it does.
    int8 : bool
        Whether the node computes with int8, or reads and writes int8.
    macs : int
        Multiply-accumulate operations.
    """

    name: str
    op_type: str
    refusal: str | None
    int8: bool
    macs: int


@dataclass(frozen=True)
class ProviderCheck:
    """The result of `check_provider`.

    Attributes
    ----------
    target, provider : str
        The target table, and the execution provider that the table describes.
    nodes : tuple of NodeCheck
        In graph order.
    findings : tuple of PatternMatch
        Q/DQ patterns that do not fuse.
    subgraphs : int
        Number of subgraphs that the nodes of the target form.
    macs_complete : bool
        Whether all shapes are known that the number of operations depends on; else the shares are incomplete.
    advice : tuple of str
        Sentences about the chip, if the target is one.
    """

    target: str
    provider: str
    nodes: tuple[NodeCheck, ...]
    findings: tuple[PatternMatch, ...]
    subgraphs: int
    macs_complete: bool = True
    advice: tuple[str, ...] = ()

    @property
    def refused_work(self) -> tuple[NodeCheck, ...]:
        """Convolutions and matrix products that fall back to the CPU."""
        return tuple(node for node in self.nodes if node.refusal and node.macs)

    @property
    def float_work(self) -> tuple[NodeCheck, ...]:
        """Convolutions and matrix products that the target runs in float."""
        return tuple(node for node in self.nodes if node.macs and not (node.int8 or node.refusal))

    @property
    def passed(self) -> bool:
        """Whether all patterns fuse and the target runs every convolution and matrix product."""
        return not self.findings and not self.refused_work

    @property
    def taken_share(self) -> float:
        """Share of the multiply-accumulate operations that the target runs, 0 to 1."""
        return self._share([node for node in self.nodes if not node.refusal])

    @property
    def int8_share(self) -> float:
        """Share of the multiply-accumulate operations that the target runs in int8, 0 to 1."""
        return self._share([node for node in self.nodes if node.int8 and not node.refusal])

    def _share(self, nodes: list[NodeCheck]) -> float:
        total = sum(node.macs for node in self.nodes)
        return sum(node.macs for node in nodes) / total if total else float(bool(nodes))


def run(model: str, target: str, as_json: bool) -> int:
    """Print what the provider takes; return 1 when something does not fuse or heavy work falls back.

    A model that onnxruntime refuses is an error.
    """
    check = check_model(Path(model), target)
    if as_json:
        say_json(_as_json(check))
    else:
        say(*_lines(check), folded=True)
    return 0 if check.passed else 1


def check_model(source: ModelSource, target: str) -> ProviderCheck:
    """Load a model, run it once, and check it against the table of a target.

    Raises
    ------
    ConfigError
        There is no such target.
    ModelError
        The model cannot be read, or onnxruntime refuses it.
    """
    table = load_target(target)
    with Isolated() as isolated:
        loaded = load_protected_model(source)
        given = source if isinstance(source, Path) else source.SerializeToString()
        run_float_model(given, loaded, isolated, lean=True)
    unique_names(loaded)
    return check_provider(loaded, table)


def check_provider(model: ir.Model, target: Target) -> ProviderCheck:
    """Check a model, quantised or not, against a target's table.

    Parameters
    ----------
    model : onnx_ir.Model
        Any model; missing shapes and types are inferred in place.
    target : Target
        The table.

    Returns
    -------
    ProviderCheck
    """
    infer_shapes(model)
    graph = model.graph
    reasons = refusals(graph, target)
    findings = find_patterns(graph, target)
    broken = {finding.node for finding in findings if finding.kind in ("no-output-quantizer", "float-weight")}
    integer = {site.node for site in sites_of(graph, target) if _is_int8(site)}
    cost = model_cost(model)
    macs = {operator.name: operator.macs for operator in cost.operators}
    nodes = tuple(
        NodeCheck(
            name=node.name or "",
            op_type=node.op_type,
            refusal=reason,
            int8=node.name not in broken and node in integer,
            macs=macs.get(node.name or "", 0),
        )
        for node, reason in reasons.items()
    )
    taken = {node: reason is None for node, reason in reasons.items()}
    parts = count_subgraphs(graph, taken)
    complete = not cost.unknown_shapes
    advice = tuple(_chip_advice(graph, target.chip)) if target.chip else ()
    return ProviderCheck(target.name, target.provider, nodes, tuple(findings), parts, complete, advice)


def _chip_advice(graph: ir.Graph, chip: Chip) -> Iterator[str]:
    """Yield what the number of cores and the size of the memory mean for a model."""
    yield f"the chip has {chip.ai_cores} AI cores: set SPACEMIT_EP_INTRA_THREAD_NUM={chip.ai_cores}"
    if chip.tightly_coupled_kb is None:
        return
    limit = chip.tightly_coupled_kb * 1024
    large = [
        name
        for name, value in graph.initializers.items()
        if value.const_value is not None and value.const_value.nbytes > limit
    ]
    if large:
        yield (
            f"{counted(len(large), 'weight')} above the {chip.tightly_coupled_kb} KiB of tightly coupled "
            f"memory, read in parts: {', '.join(large[:SHOWN])}"
        )


def _is_int8(site: Site) -> bool:
    first = site.node.inputs[0] if site.node.inputs else None
    if first is not None and first.dtype in INTEGER_TYPES:
        return True
    return bool(site.activations) and site.operator.role != "float"


def _as_json(check: ProviderCheck) -> dict[str, object]:
    summary = {name: getattr(check, name) for name in ("passed", "taken_share", "int8_share")}
    return {**summary, **asdict(check)}


def _lines(check: ProviderCheck) -> Iterator[str]:
    taken = [node for node in check.nodes if not node.refusal]
    count = f"{len(taken)} of {len(check.nodes)} operators"
    yield f"{check.provider} takes {count} in {counted(check.subgraphs, 'subgraph')}"
    shares = f"{check.taken_share:.1%} of the multiply-accumulates, {check.int8_share:.1%} in int8"
    yield shares + known_only(check.macs_complete)
    yield from _grouped(
        "fall back to the CPU", [(node.refusal, node.name) for node in check.nodes if node.refusal]
    )
    yield from _grouped(
        "Q/DQ patterns that do not fuse",
        [(f"{item.kind}: {item.op_type}: {item.detail}", item.node) for item in check.findings],
    )
    if check.int8_share:
        yield from _grouped(
            "sums of products in float", [(node.op_type, node.name) for node in check.float_work]
        )
    yield from check.advice
    yield "passed" if check.passed else f"failed: {', '.join(_failures(check))}"


def _failures(check: ProviderCheck) -> Iterator[str]:
    if check.refused_work:
        yield f"sums of products that fall back to the CPU ({len(check.refused_work)})"
    if check.findings:
        yield f"Q/DQ patterns that do not fuse ({len(check.findings)})"


def _grouped(title: str, rows: list[tuple[str, str]]) -> Iterator[str]:
    if not rows:
        return
    yield f"{title}: {len(rows)}"
    names: dict[str, list[str]] = defaultdict(list)
    for reason, name in rows:
        names[reason].append(name)
    for reason, found in sorted(names.items(), key=lambda item: -len(item[1])):
        more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        yield f"  {len(found):4}  {reason}: {', '.join(found[:SHOWN])}{more}"
