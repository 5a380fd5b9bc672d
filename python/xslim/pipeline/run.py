"""One run: load the configuration, find the model, run the precision level, write the file."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import onnx_ir as ir

from xslim.config import Config, ConfigSource, PrecisionLevel, load_config
from xslim.errors import ConfigError
from xslim.pipeline.paths import ModelArgument, ModelSource, OutputPaths, model_source, output_paths
from xslim.pipeline.progress import shown_progress
from xslim.pipeline.protect import load_protected
from xslim.pipeline.result import Finished
from xslim.runtime import Isolated, thread_count
from xslim.targets import target_of

logger = logging.getLogger(__name__)

Level = Callable[[ir.Model, ModelSource, Config, OutputPaths, Sequence[Path], Isolated], Finished]


def quantize(
    config_or_path: ConfigSource,
    model_or_path: ModelArgument | None = None,
    output_path: str | Path | None = None,
    *,
    sketch_files: Sequence[str | Path] = (),
) -> ir.Model:
    """Run `quantize_onnx_model`, optionally with the sketch files of ``xslim collect``."""
    return run(config_or_path, model_or_path, output_path, sketch_files)[0].model


def run(
    config_or_path: ConfigSource,
    model_or_path: ModelArgument | None,
    output_path: str | Path | None,
    sketch_files: Sequence[str | Path] = (),
    isolated: Isolated | None = None,
) -> tuple[Finished, Path]:
    """Return the results and the file that holds the model; a child process that has started is used."""
    started = time.monotonic()
    config = load_config(config_or_path)
    # A wrong number of threads or a wrong table is an error before any work starts.
    thread_count()
    target_of(config)
    source = model_source(config, model_or_path)
    file = source if isinstance(source, Path) else None
    paths = output_paths(config, file, output_path, given=model_or_path is not None)
    sketches = [Path(name) for name in sketch_files]
    if sketches:
        require_static(config)
    outputs = paths.files(config, sketches_given=bool(sketches))
    # The child imports onnxruntime while this process reads and prepares the model.
    with shown_progress(), isolated or Isolated() as child:
        model = load_protected(config, source, outputs, paths.reports(config), sketches)
        convert = load_level(config.quantization_parameters.precision_level)
        result = convert(model, source, config, paths, sketches, child)
    logger.info("wrote %s in %.1f s", paths.model, time.monotonic() - started)
    return result, paths.model


def require_static(config: Config) -> None:
    """Refuse sketches at the levels that do not use them.

    Raises
    ------
    ConfigError
        The precision level is not a static one.
    """
    level = config.quantization_parameters.precision_level
    if not level.is_static:
        raise ConfigError(
            f"precision_level {int(level)} takes no sketches",
            where="quantization_parameters.precision_level",
            hint="sketches serve the static levels 0, 1 and 2",
        )


def load_level(level: PrecisionLevel) -> Level:
    """Import the modules of one precision level only, and return the function that runs it.

    A run starts faster without the modules of the other levels.
    """
    if level.is_static:
        from xslim.pipeline.static import run_static

        return run_static
    from xslim.pipeline.finish import convert_without_data

    if level == PrecisionLevel.DYNAMIC:
        from xslim.pipeline.dynamic import convert
    elif level == PrecisionLevel.HALF:
        from xslim.pipeline.fp16 import convert
    else:
        from xslim.pipeline.slim import convert
    return partial(convert_without_data, convert)
