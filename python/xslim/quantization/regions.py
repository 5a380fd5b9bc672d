"""Find the operators of a custom setting: those on a path from its input tensors to its output tensors."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from difflib import get_close_matches

import onnx_ir as ir

from xslim.errors import ConfigError
from xslim.graph.ops import is_constant
from xslim.graph.outputs import values_by_name
from xslim.quantization.rules import OperatorSettings, Region, Rules

logger = logging.getLogger(__name__)


def settings_by_node(
    graph: ir.Graph, rules: Rules, *, mention: bool = True
) -> dict[ir.Node, OperatorSettings]:
    """Return the settings of every operator of the main graph.

    Raises
    ------
    ConfigError
        A region names a tensor that does not exist, or holds no operator.
    """
    settings = dict.fromkeys(graph, rules.settings)
    owner: dict[ir.Node, int] = {}
    for index, region in enumerate(rules.regions):
        where = f"quantization_parameters.custom_setting[{index}]"
        nodes = region_nodes(graph, region, where, mention=mention)
        if mention:
            logger.info("%s covers %d of %d operators", where, len(nodes), len(settings))
        overlapping = sorted({owner[node] for node in nodes if node in owner})
        if overlapping and mention:
            logger.warning("%s overlaps custom_setting %s: the later one wins", where, overlapping)
        owner.update(dict.fromkeys(nodes, index))
        settings.update(dict.fromkeys(nodes, region.override(rules.settings)))
    return settings


def region_nodes(graph: ir.Graph, region: Region, where: str, *, mention: bool = True) -> list[ir.Node]:
    """Return the operators of a region in graph order; `where` names the region in errors."""
    inputs = _tensors(graph, region.input_names, f"{where}.input_names")
    outputs = _tensors(graph, region.output_names, f"{where}.output_names")
    starts = [value for value in inputs if not is_constant(value)]
    if not starts:
        raise ConfigError(
            "names only constants",
            where=f"{where}.input_names",
            hint="name tensors that are computed: xslim plan lists them",
        )
    below = _reachable((use.node for value in starts for use in value.uses()), _successors)
    above = _reachable((node for value in outputs if (node := value.producer())), _predecessors)
    nodes = [node for node in graph if node in below and node in above]
    if not nodes:
        raise ConfigError(
            "no operator lies between input_names and output_names",
            where=where,
            hint="xslim plan lists the operators in their order",
        )
    _check_ends(nodes, starts, outputs, where)
    if mention:
        _mention_side_inputs(nodes, inputs, where)
    return nodes


def _tensors(graph: ir.Graph, names: Iterable[str], where: str) -> list[ir.Value]:
    known = values_by_name(graph)
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, n=1, cutoff=0.5)
            raise ConfigError(
                f"the prepared model has no tensor {name!r}"
                + (f", did you mean {near[0]!r}?" if near else ""),
                where=where,
                hint="xslim plan lists its tensors",
            )
    return [known[name] for name in names]


def _reachable(start: Iterable[ir.Node], neighbours: Callable[[ir.Node], Iterable[ir.Node]]) -> set[ir.Node]:
    found: set[ir.Node] = set()
    waiting = list(start)
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting.extend(neighbours(node))
    return found


def _successors(node: ir.Node) -> Iterable[ir.Node]:
    return node.successors()


def _predecessors(node: ir.Node) -> Iterable[ir.Node]:
    return node.predecessors()


def _check_ends(nodes: list[ir.Node], starts: list[ir.Value], ends: list[ir.Value], where: str) -> None:
    """Refuse a region if one of its named tensors is not on its boundary."""
    inside = set(nodes)
    for value in starts:
        if not any(use.node in inside for use in value.uses()):
            raise ConfigError(
                f"no path from {value.name!r} to any of output_names",
                where=where,
                hint="name every tensor that leaves the region",
            )
    for value in ends:
        if value.producer() not in inside:
            raise ConfigError(
                f"no path from any of input_names to {value.name!r}",
                where=where,
                hint="name every tensor that enters the region",
            )


def _mention_side_inputs(nodes: list[ir.Node], inputs: list[ir.Value], where: str) -> None:
    inside = set(nodes)
    sides = [
        value.name
        for node in nodes
        for value in node.inputs
        if value is not None
        and value not in inputs
        and not is_constant(value)
        and value.producer() not in inside
    ]
    if sides:
        logger.warning(
            "%s is not closed: it also reads %s", where, ", ".join(map(repr, dict.fromkeys(sides)))
        )
