"""Check the prepared model against the original before quantisation; find the step that is wrong."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import onnx_ir as ir

import xslim.passes
from xslim.errors import InternalError, ModelError
from xslim.passes.preparation import ONNXSLIM
from xslim.passes.steps import UNHEARD, Steps
from xslim.pipeline.judge import Fault, Judge
from xslim.pipeline.original import Original

logger = logging.getLogger(__name__)

Preparation = Callable[[Steps, bool], ir.Model]
"""Function that prepares the model, given an observer of the steps and whether onnxslim is left out."""

READING = "reading the model"
UNCHECKED = "--unchecked writes the result all the same"


def prepare_proved(original: Original, prepare: Preparation) -> ir.Model:
    """Prepare a model and compare it with the original in onnxruntime.

    If onnxslim causes a difference, the model is prepared without onnxslim.

    Parameters
    ----------
    original : Original
        The model and its runs.
    prepare : callable
        The preparation, which must give the same model at every call.

    Raises
    ------
    ModelError
        A conversion of the opset changes the results of the model.
    InternalError
        A rewrite changes the results of the model.
    """
    prepared = prepare(UNHEARD, False)
    if not original.trials:
        return prepared
    judge = Judge(original)
    fault = judge.fault(prepared)
    if fault is None:
        return prepared
    if misread := judge.fault(original.model):
        _complain(original, READING, misread, None)
        return prepared
    step, tensor = _first_wrong_step(judge, prepare)
    if step == ONNXSLIM:
        logger.warning("onnxslim changed the model's results and was left out: %s", tensor or fault)
        without = prepare(UNHEARD, True)
        if (fault := judge.fault(without)) is None:
            return without
        step, tensor = _first_wrong_step(judge, lambda steps, _: prepare(steps, True))
    _complain(original, step, fault, tensor)
    return prepared


def _complain(original: Original, step: str, fault: Fault, tensor: Fault | None) -> None:
    if fault.tensor is None:
        what = f"after {step} {fault.words}"
    else:
        what = f"{step} changes what the model computes: {tensor or fault}"
    if original.unchecked:
        logger.warning("unchecked: %s", what)
    elif "opset" in step:
        raise ModelError(what, hint=f"choose another opset; {UNCHECKED}")
    else:
        raise InternalError(what, hint=f"a defect of XSlim: report it; {UNCHECKED}")


class _ReachedError(Exception):
    """Raised after the requested step, with the model."""

    def __init__(self, model: ir.Model) -> None:
        super().__init__()
        self.model = model


class _Counter:
    """Records the names of all steps."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def done(self, name: str, *_: object) -> None:
        self.names.append(name)


class _Stop:
    """Ends the preparation after a given number of steps."""

    def __init__(self, count: int) -> None:
        self._left = count

    def done(
        self, _name: str, model: ir.Model, functions: Mapping[Any, ir.Function] | None = None, /
    ) -> None:
        self._left -= 1
        if self._left == 0:
            model = model.clone()
            model.functions.update(functions or {})
            raise _ReachedError(model)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """While open, nothing is logged, because the steps are only repeated."""
    passes = logging.getLogger(xslim.passes.__name__)
    level = passes.level
    passes.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        passes.setLevel(level)


@_quietly()
def _first_wrong_step(judge: Judge, prepare: Preparation) -> tuple[str, Fault | None]:
    """Find the first wrong step by bisection: prepare again up to a step, and halve the remaining steps."""
    counter = _Counter()
    prepare(counter, False)
    right, wrong = 0, len(counter.names)
    while wrong - right > 1:
        middle = (right + wrong) // 2
        if judge.fault(_model_after(prepare, middle)) is None:
            right = middle
        else:
            wrong = middle
    try:
        tensor = judge.first_fault(_model_after(prepare, wrong))
    except ModelError as error:
        logger.debug("looking for the first tensor failed: %s", error)
        tensor = None
    return counter.names[wrong - 1], tensor


def _model_after(prepare: Preparation, steps: int) -> ir.Model:
    try:
        return prepare(_Stop(steps), False)
    except _ReachedError as reached:
        return reached.model
