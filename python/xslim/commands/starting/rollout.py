"""States of a recurrent model for calibration: those that the float model reaches on the samples."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from xslim.calibration.data import CalibrationData
from xslim.commands.starting.found import MOST_ARRAYS
from xslim.config import load_config
from xslim.errors import ModelError
from xslim.graph.inputs import input_specs
from xslim.runtime import Isolated

Array = NDArray[Any]


def reached_states(
    model: ir.Model, config_path: Path, following: Mapping[str, str]
) -> dict[str, list[Array]]:
    """Run the samples of a configuration one after the other, each with the state that the one before left.

    Ranges that were calibrated with zeros as the only state would be too narrow for every later step.

    Parameters
    ----------
    model : onnx_ir.Model
        The float model.
    config_path : Path
        Its configuration, in which the states are zeros.
    following : dict of str to str
        Each state, and the output that holds its next value.

    Returns
    -------
    dict of str to list of array
        The value of each state before each sample; the first is that of the configuration.

    Raises
    ------
    ModelError
        The model does not take its own state.
    """
    config = load_config(config_path)
    data = CalibrationData(input_specs(model), config.calibration_parameters, config.base_dir)
    states: dict[str, Array] = {}
    reached: dict[str, list[Array]] = {name: [] for name in following}
    with Isolated() as isolated:
        session = isolated.session(model)
        for feeds in islice(data.samples(), MOST_ARRAYS):
            merged = {**feeds, **states}
            for name, values in reached.items():
                values.append(np.asarray(merged[name]))
            outputs = dict(zip(session.outputs, session.run(merged), strict=True))
            states = {name: np.asarray(outputs[output]) for name, output in following.items()}
            _require_finite(states)
    return reached


def _require_finite(states: Mapping[str, Array]) -> None:
    for name, values in states.items():
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise ModelError(f"the state {name} becomes NaN or infinite", hint="look at the samples")
