"""Limits above which a model is refused; environment variables change them."""

from __future__ import annotations

import os
from collections.abc import Callable

import onnx_ir as ir

from xslim.errors import ConfigError, ModelError

MAX_NODES = "XSLIM_MAX_NODES"
"""Largest number of nodes of a model after its functions are inlined."""
FOLD_MB = "XSLIM_FOLD_MB"
"""Largest growth of a model by folding constants, in MiB."""

RUN_SECONDS = "XSLIM_RUN_SECONDS"
"""Seconds that loading a model, or running it once, may take where it is tried or checked."""
RUN_MB = "XSLIM_RUN_MB"
"""Megabytes that the process may allocate in which models are tried and checked."""

TRIAL_ELEMENTS = "XSLIM_TRIAL_ELEMENTS"
"""Elements of all inputs and outputs, and of the largest other tensor, of a run on random input."""


def _installed() -> int:
    """Megabytes of the machine's memory; more than any machine has where the system does not tell."""
    try:
        return max(1, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20)
    except (AttributeError, OSError, ValueError):
        return 1 << 40


_DEFAULTS: dict[str, Callable[[], int]] = {
    MAX_NODES: lambda: 1_000_000,
    FOLD_MB: lambda: 256,
    RUN_SECONDS: lambda: 600,
    RUN_MB: _installed,
    TRIAL_ELEMENTS: lambda: 1 << 26,
}


def limit(name: str) -> int:
    """Return the limit that an environment variable sets, or its default.

    Raises
    ------
    ConfigError
        The value of the variable is not a positive whole number.
    """
    given = os.environ.get(name)
    if given is None:
        return _DEFAULTS[name]()
    if not (given.isascii() and given.isdecimal()) or len(given) > 18 or int(given) < 1:
        raise ConfigError(f"{given[:20]!r} is not a positive whole number", where=name)
    return int(given)


def check_expansion(model: ir.Model, where: str) -> None:
    """Refuse recursive functions, and functions that become too many nodes when a runtime inlines them.

    If each of forty functions calls the next one twice, a small file becomes 2^40 nodes.

    Raises
    ------
    ModelError
    """
    most = limit(MAX_NODES)
    sizes: dict[ir.OperatorIdentifier, int] = {}
    waiting: list[ir.OperatorIdentifier] = list(model.functions)
    open_calls: set[ir.OperatorIdentifier] = set()
    while waiting:
        current = waiting[-1]
        if current in sizes:
            waiting.pop()
            continue
        calls = [node.op_identifier() for node in model.functions[current].all_nodes()]
        missing = [call for call in dict.fromkeys(calls) if call in model.functions and call not in sizes]
        if any(call in open_calls for call in missing) or current in missing:
            raise ModelError(
                f"function {current[0]}.{current[1]} calls itself", where=where, hint="export the model again"
            )
        if missing:
            open_calls.add(current)
            waiting.extend(missing)
            continue
        open_calls.discard(current)
        sizes[current] = sum(sizes.get(call, 1) for call in calls)
    total = sum(sizes.get(node.op_identifier(), 1) for node in model.graph.all_nodes())
    if total > most:
        raise ModelError(
            f"the model has more than {most} nodes once its functions are written out",
            where=where,
            hint=f"set {MAX_NODES} to allow more",
        )
