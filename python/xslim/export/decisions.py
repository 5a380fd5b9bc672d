"""The decisions of a conversion: what it did with every operator that it could convert, and why."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

logger = logging.getLogger(__name__)

_SHOWN = 3


@dataclass(frozen=True)
class Decision:
    """One operator of a conversion.

    Attributes
    ----------
    name, op_type : str
        The operator in the prepared model.
    converted : bool
        Whether the conversion changed it.
    reason : str
        The new form of the operator, or why it was not converted.
    """

    name: str
    op_type: str
    converted: bool
    reason: str


@dataclass(frozen=True)
class Conversion:
    """A converted model and the decisions that led to it."""

    model: ir.Model
    decisions: tuple[Decision, ...]

    @property
    def converted(self) -> int:
        """Number of operators that were converted."""
        return sum(decision.converted for decision in self.decisions)


def log_decisions(kind: str, decisions: Sequence[Decision]) -> None:
    """Log the number of converted operators, and the other operators by type and reason."""
    done = [decision for decision in decisions if decision.converted]
    forms: dict[str, Counter[str]] = {}
    for decision in done:
        forms.setdefault(decision.reason, Counter())[decision.op_type] += 1
    logger.info("%s: converted %d of %d operators", kind, len(done), len(decisions))
    for form, types in sorted(forms.items()):
        if form != kind:
            logger.info("written as %s: %s", form, _listed(types))
    left: dict[tuple[str, str], list[str]] = {}
    for decision in decisions:
        if not decision.converted:
            left.setdefault((decision.op_type, decision.reason), []).append(decision.name)
    for (op_type, reason), names in sorted(left.items()):
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        shown = ", ".join(names[:_SHOWN])
        logger.info("left alone, %d x %s: %s (%s%s)", len(names), op_type, reason, shown, more)


def _listed(types: Counter[str]) -> str:
    return ", ".join(f"{count} {op_type}" for op_type, count in sorted(types.items()))
