"""Runs without calibration: convert, check on random input, compare, write."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

import onnx
import onnx_ir as ir

from xslim.config import Config, PrecisionLevel
from xslim.export.check import LEAN_ABOVE, TrialRun, check_file, run_float_model
from xslim.export.verify import NotFiniteError, OutputComparison
from xslim.graph.io import external_bytes, release_weights, save_model, to_proto, weight_bytes
from xslim.pipeline.dynamic import convert_to_dynamic
from xslim.pipeline.fp16 import HalfConversion
from xslim.pipeline.load import ModelSource
from xslim.pipeline.paths import OutputPaths
from xslim.pipeline.slim import operator_table, slim_model
from xslim.pipeline.summary import log_comparison
from xslim.runtime import Isolated, unknown_operators

logger = logging.getLogger(__name__)


def convert(
    model: ir.Model, config: Config, source: ModelSource, paths: OutputPaths, isolated: Isolated
) -> ir.Model:
    """Convert a float model as precision level 3, 4 or 100 says, and write it once it has proved itself.

    Parameters
    ----------
    model : onnx_ir.Model
        The float model.
    config : Config
        The configuration of the run.
    source : ModelProto or Path
        Where the model came from; a file is compared with as it is.
    paths : OutputPaths
        Where the result goes.
    isolated : Isolated
        The process that runs the float model and the result.

    Raises
    ------
    ConfigError, ModelError
        A region or a cut of the configuration does not exist in the model.
    InternalError
        The result is not valid, does not run, or returns something that is not finite.
    """
    output = _Output.of(model, source, paths.model, isolated)
    level = config.quantization_parameters.precision_level
    if level == PrecisionLevel.SLIM:
        result = output.write(slim_model(model, config))
        sizes = _source_bytes(source, model), _file_bytes(paths.model)
        logger.info("operators before and after:\n%s", operator_table(model, result, *sizes))
    elif level == PrecisionLevel.DYNAMIC:
        result = output.write(convert_to_dynamic(model, config))
    else:
        result = _write_half(HalfConversion(model, config), output)
    log_comparison(output.comparison)
    return result


def _write_half(conversion: HalfConversion, output: _Output) -> ir.Model:
    """Write the float16 model; where it overflows, find the tensors that did and try once more."""
    try:
        return output.write(conversion.convert())
    except NotFiniteError:
        if output.trial is None or not conversion.look_for_overflow(output.trial.feeds, output.isolated):
            raise
    return output.write(conversion.convert())


@dataclass
class _Output:
    """The file to write, and what the float model says about it."""

    path: Path
    source: bytes | Path
    isolated: Isolated
    trial: TrialRun | None
    lean: bool
    loads: bool
    comparison: list[OutputComparison] = field(default_factory=list)

    @classmethod
    def of(cls, model: ir.Model, source: ModelSource, path: Path, isolated: Isolated) -> _Output:
        lean = weight_bytes(model) > LEAN_ABOVE
        reference = source if isinstance(source, Path) else to_proto(model).SerializeToString()
        trial = run_float_model(reference, model, isolated, lean=lean)
        release_weights(model)
        return cls(path, reference, isolated, trial, lean, loads=not unknown_operators(model))

    def write(self, model: ir.Model) -> ir.Model:
        """Write the model aside, check it there, and move it into its place."""

        def check(file: Path) -> None:
            self.comparison = check_file(
                file, self.source, self.trial, self.isolated, lean=self.lean, loads=self.loads
            )

        save_model(model, self.path, check=check)
        release_weights(model)
        return model


def _source_bytes(source: ModelSource, model: ir.Model) -> int:
    file = source.ByteSize() if isinstance(source, onnx.ModelProto) else source.stat().st_size
    return file + external_bytes(model)


def _file_bytes(path: Path) -> int:
    weights = path.with_name(f"{path.name}.data")
    return path.stat().st_size + (weights.stat().st_size if weights.exists() else 0)
