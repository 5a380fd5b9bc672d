"""A whole static run: quantise with data, compare with the float model, write, report."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import onnx_ir as ir

from xslim.config import Config
from xslim.export.verify import OutputComparison, compare_outputs, require_valid
from xslim.graph.io import save_model, to_proto
from xslim.pipeline.cut import FirstPart
from xslim.pipeline.load import ModelSource, prepare_model
from xslim.pipeline.paths import SKETCHES, OutputPaths
from xslim.pipeline.report import analyse_static, log_report, write_report
from xslim.pipeline.static import quantize_static
from xslim.pipeline.summary import log_comparison
from xslim.refinement.steps import log_gains
from xslim.runtime import Feeds, Isolated, unknown_operators

logger = logging.getLogger(__name__)

COMPARED_SAMPLES = 4


def run_static(
    model: ir.Model,
    source: ModelSource,
    config: Config,
    paths: OutputPaths,
    sketch_files: Sequence[Path],
    isolated: Isolated,
) -> ir.Model:
    """Quantise a float model as precision level 0, 1 or 2 says, write it and its report.

    Parameters
    ----------
    model : onnx_ir.Model
        The float model.
    source : ModelProto or Path
        Where it came from.
    config : Config
        The configuration of the run.
    paths : OutputPaths
        Where everything goes.
    sketch_files : sequence of Path
        Sketches that ``xslim collect`` wrote, to be used instead of calibrating.
    isolated : Isolated
        The process that runs the float model first, and the result.

    Raises
    ------
    XSlimError
        Nothing can be quantised, the data are wrong, the result does not pass its checks, or the place
        cannot be written.
    """
    # A file is compared with as it is; only a model in memory has to be kept a second time.
    original = source if isinstance(source, Path) else to_proto(model).SerializeToString()
    part = FirstPart.of(prepare_model(model, config), config)
    result = quantize_static(part.model, config, paths.beside(SKETCHES), sketch_files, isolated=isolated)
    whole = part.whole(result.model)
    log_gains(result.gains)
    comparison = _compare(original, whole, result.samples[:COMPARED_SAMPLES], isolated)
    wanted = config.quantization_parameters.analysis_enable
    # The report is about the part that changed; sizes too.
    before = model if part.parts is None else part.model
    report = analyse_static(before, result, config, paths) if wanted else None
    save_model(whole, paths.model)
    if report is None or part.parts is not None:
        log_comparison(comparison, min(len(result.samples), COMPARED_SAMPLES))
    if report is not None:
        log_report(report, write_report(report, paths))
    return whole


def _compare(
    original: bytes | Path, whole: ir.Model, samples: Sequence[Feeds], isolated: Isolated
) -> list[OutputComparison]:
    """Check the result and compare it with the float model, unless the part behind a cut cannot be run."""
    proto = to_proto(whole)
    if unknown := unknown_operators(whole):
        require_valid(proto.SerializeToString(), original, "quantised")
        logger.warning("onnxruntime has no operator %s: the result is neither run nor compared", unknown[0])
        return []
    return compare_outputs(original, proto, samples, isolated)
