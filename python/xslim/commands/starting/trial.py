"""Run the float model on the first samples of a configuration, to prove that the configuration works."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import onnx_ir as ir

from xslim.calibration.data import CalibrationData
from xslim.calibration.geometry import show_shape
from xslim.config import load_config
from xslim.graph.inputs import input_specs
from xslim.runtime import Isolated, require_runnable

SAMPLES = 2


def try_out(model: ir.Model, config_path: Path) -> str:
    """Run the model on two samples and return a line with the names and shapes of its outputs.

    Raises
    ------
    ConfigError, DataError
        The configuration or its data do not suit the model.
    ModelError
        The model refuses the samples, or cannot run here.
    """
    config = load_config(config_path)
    parameters = config.calibration_parameters
    data = CalibrationData(input_specs(model), parameters, config.base_dir)
    require_runnable(model)
    with Isolated() as isolated:
        session = isolated.session(model)
        runs = [session.run(feeds) for feeds in islice(data.samples(), SAMPLES)]
    shown = ", ".join(
        _described(name, [run[place] for run in runs]) for place, name in enumerate(session.outputs)
    )
    return f"ran {len(runs)} of {len(data)} samples through the float model: {shown}"


def _described(name: str, values: Sequence[object]) -> str:
    arrays = [np.asarray(value) for value in values]
    shapes = list(dict.fromkeys(show_shape(array.shape) for array in arrays))
    numbers = [array for array in arrays if array.dtype.kind == "f"]
    broken = any(not np.isfinite(array).all() for array in numbers)
    return f"{name} {' and '.join(shapes)}{' (holds NaN or infinity)' if broken else ''}"
