"""The steps of a preparation, for those who want to look at the model in between."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import onnx_ir as ir


class Steps(Protocol):
    """Is told of every step of a preparation.

    No later step mends an earlier one: a model that computes something else after a step does so at the end.
    """

    def done(self, name: str, model: ir.Model, functions: Mapping[Any, ir.Function] | None = None, /) -> None:
        """Hear of a step that was made.

        Parameters
        ----------
        name : str
            What was done, as part of a sentence: "the rewrite RemoveIdentity".
        model : onnx_ir.Model
            The model after it; to be left unchanged.
        functions : mapping, optional
            Functions that the model lacks at the moment.
        """


class Unheard:
    """Nobody listens."""

    def done(self, *_: object) -> None:
        """Do nothing."""


UNHEARD = Unheard()
