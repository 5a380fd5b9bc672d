"""Observers of the steps of a preparation, which see the model after each step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import onnx_ir as ir


class Steps(Protocol):
    """Observes every step of a preparation.

    No later step corrects an earlier one: if the results are wrong after a step, they are wrong at the end.
    """

    def done(self, name: str, model: ir.Model, functions: Mapping[Any, ir.Function] | None = None, /) -> None:
        """Called after every step.

        Parameters
        ----------
        name : str
            The step as a part of a sentence, such as "the rewrite RemoveIdentity".
        model : onnx_ir.Model
            The model after the step, which must not be changed.
        functions : mapping, optional
            Functions of the model that are removed from it at this moment.
        """


class Unheard:
    """An observer that ignores all steps."""

    def done(self, *_: object) -> None:
        """Do nothing."""


UNHEARD = Unheard()
