"""The part of a model that a run converts: the whole model, or the part before ``truncate_var_names``."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import onnx_ir as ir

from xslim.config import Config
from xslim.graph.scheme import OperatorPlan
from xslim.passes.cut import Parts, join, split

logger = logging.getLogger(__name__)

BEHIND = "behind truncate_var_names"


@dataclass(frozen=True)
class FirstPart:
    """The part of a model that is converted, and the data for joining it with the rest.

    Attributes
    ----------
    model : onnx_ir.Model
        The whole prepared model, or its first part; both have all inputs of the whole model.
    parts : Parts or None
        Both parts; None without a cut.
    """

    model: ir.Model
    parts: Parts | None

    @classmethod
    def of(cls, prepared: ir.Model, config: Config) -> FirstPart:
        """Split a prepared model at the tensors that the configuration names.

        Raises
        ------
        ModelError
            The tensors do not exist or do not split the model into two parts.
        """
        names = config.quantization_parameters.truncate_var_names
        if not names:
            return cls(prepared, None)
        parts = split(prepared, names)
        logger.info(
            "cut at %s: the %d operators behind stay as they are",
            ", ".join(names),
            len(parts.tail.graph),
        )
        return cls(parts.head, parts)

    def whole(self, converted: ir.Model) -> ir.Model:
        """Return the whole model with its first part replaced by the converted one."""
        return join(self.parts, converted) if self.parts is not None else converted

    def untouched(self) -> tuple[OperatorPlan, ...]:
        """Return the plan of the operators behind the cut, which stay float."""
        if self.parts is None:
            return ()
        return tuple(
            OperatorPlan(node.name or "", node.op_type, int8=False, reason=BEHIND)
            for node in self.parts.tail.graph
        )
