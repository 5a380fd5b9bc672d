"""Precision level 4: float16, except operators that would lose accuracy or overflow."""

from __future__ import annotations

import logging
from collections.abc import Collection

import numpy as np
import onnx_ir as ir

from xslim.config import Config
from xslim.export.decisions import log_decisions
from xslim.export.fp16 import convert_to_half
from xslim.export.fp16_constants import LARGEST
from xslim.export.proof import NotFiniteError
from xslim.graph.inputs import input_specs
from xslim.graph.io import release_weights
from xslim.graph.outputs import with_outputs
from xslim.pipeline.cut import FirstPart
from xslim.pipeline.exclusions import kept_operators
from xslim.pipeline.finish import Output
from xslim.pipeline.original import Original
from xslim.pipeline.prepare import prepare_model
from xslim.runtime import Feeds, Isolated, require_runnable
from xslim.targets import target_of

logger = logging.getLogger(__name__)

HEADROOM = 2.0
"""Tensors whose calibrated range times this factor exceeds float16 stay float32, because other inputs may
give larger values."""

# float16 does not need a higher opset than that of the model.
ANY_OPSET = 1


def convert(model: ir.Model, config: Config, output: Output) -> ir.Model:
    """Prepare a float model, convert it to float16 and write it.

    If the result overflows on random input, it is converted again with the overflowing tensors in float32.

    Raises
    ------
    ConfigError, ModelError
        A region or a cut of the configuration does not exist in the model.
    InternalError
        The result does not pass its checks.
    """
    conversion = HalfConversion(model, config, output.original)
    try:
        return output.write(conversion.convert())
    except NotFiniteError:
        trial = output.original.trial
        if trial is None or not conversion.look_for_overflow(trial.feeds, output.original.isolated):
            raise
    return output.write(conversion.convert())


class HalfConversion:
    """Prepares a model once and converts it; it converts again if more tensors have to stay float32."""

    def __init__(self, model: ir.Model, config: Config, original: Original) -> None:
        self._config = config
        self._prepared = prepare_model(model, config, original, minimum_opset=ANY_OPSET)
        release_weights(self._prepared)
        self._wide = set(self._calibrated())

    def convert(self) -> ir.Model:
        """Write the float16 model.

        Raises
        ------
        ConfigError, ModelError
            A region or a cut of the configuration does not exist in the model.
        """
        target = target_of(self._config)

        part = FirstPart.of(self._prepared, self._config)
        kept = kept_operators(part.model, self._config)
        conversion = convert_to_half(part.model, target, kept, self._wide)
        log_decisions("float16", conversion.decisions)
        if not conversion.converted:
            logger.warning("no operator of the main graph can be float16: the model is only slimmed")
        return part.whole(conversion.model)

    def look_for_overflow(self, feeds: Feeds, isolated: Isolated) -> bool:
        """Run the float model on one input and mark tensors that exceed float16; return whether any do."""
        names = _float_tensors(self._prepared)
        session = isolated.session(with_outputs(self._prepared, names), names)
        arrays = dict(zip(names, session.run(feeds), strict=True))
        found = {name for name, array in arrays.items() if array.size and np.nanmax(np.abs(array)) > LARGEST}
        logger.info("outside the range of fp16 on random input: %s", ", ".join(sorted(found)) or "nothing")
        before = len(self._wide)
        self._wide |= found
        return len(self._wide) > before

    def _calibrated(self) -> Collection[str]:
        """Return the tensors that exceed float16 on the calibration data; none without data."""
        calibration = self._config.calibration_parameters
        if not calibration.has_data:
            return ()
        # Few runs have calibration data here, and the import takes longer than the rest of a run.
        from xslim.calibration.data import CalibrationData
        from xslim.calibration.observe import observe
        from xslim.pipeline.calibrate import calibration_settings

        require_runnable(self._prepared)
        data = CalibrationData(input_specs(self._prepared), calibration, self._config.base_dir)
        names = _float_tensors(self._prepared)
        sketches = observe(self._prepared, names, data, calibration_settings(self._config)).sketches
        limit = LARGEST / HEADROOM
        wide = [
            name
            for name, sketch in sketches.items()
            if not sketch.is_empty and max(-sketch.min, sketch.max) > limit
        ]
        logger.info("calibration: %d of %d tensors may exceed fp16", len(wide), len(names))
        return wide


def _float_tensors(model: ir.Model) -> list[str]:
    """Return the names of the float32 values that operators of the main graph write."""
    return [
        output.name
        for node in model.graph
        for output in node.outputs
        if output.name and output.dtype == ir.DataType.FLOAT
    ]
