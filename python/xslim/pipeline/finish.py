"""The end of a run: check the result in a temporary file, move it to its place, and log its error."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import onnx_ir as ir

from xslim.config import Config
from xslim.export.proof import OutputComparison, prove
from xslim.graph.io import release_weights, save_model
from xslim.pipeline.original import Original
from xslim.pipeline.paths import ModelSource, OutputPaths
from xslim.pipeline.result import Finished
from xslim.runtime import FAIR_DB, Isolated
from xslim.texts import spoken
from xslim.texts.columns import table

logger = logging.getLogger(__name__)

MOST_OUTPUTS = 6

UNSEEN, SEEN = " that calibration has not seen", " of the calibration (figures on new samples are lower)"


def convert_without_data(
    convert: Conversion,
    model: ir.Model,
    source: ModelSource,
    config: Config,
    paths: OutputPaths,
    sketch_files: Sequence[Path],
    isolated: Isolated,
) -> Finished:
    """Convert a float model, check the result on random input, and write it.

    Parameters
    ----------
    convert : function
        The conversion of the precision level.
    model, source, config, paths, sketch_files, isolated
        The parameters of `run_static`; there are no sketch files here.

    Raises
    ------
    ConfigError, ModelError
        A region or a cut of the configuration does not exist in the model.
    InternalError
        The result is not valid, does not run, or returns something that is not finite.
    """
    del sketch_files
    original = Original.of(model, source, isolated, unchecked=config.model_parameters.unchecked)
    release_weights(model)
    output = Output(paths.model, source, original)
    result = convert(model, config, output)
    log_comparison(output.comparison)
    return Finished(result, output.comparison)


@dataclass
class Output:
    """The file that a conversion writes, and the float model to which the result is compared.

    Attributes
    ----------
    path : Path
        The file.
    source : ModelProto or Path
        The source of the float model: a path, or a model in memory.
    original : Original
        The float model and its outputs for random input.
    comparison : list of OutputComparison
        The differences between the written model and the float model.
    """

    path: Path
    source: ModelSource
    original: Original
    comparison: list[OutputComparison] = field(default_factory=list)

    def write(self, model: ir.Model) -> ir.Model:
        """Write the model to a temporary file, check this file, and move it to its place."""

        def check(file: Path) -> None:
            original = self.original
            self.comparison = prove(
                file,
                original.source,
                original.trials[:1],
                original.isolated,
                called="converted",
                lean=original.lean,
                loads=original.loads,
            )

        save_model(model, self.path, check=check)
        release_weights(model)
        return model


Conversion = Callable[[ir.Model, Config, Output], ir.Model]
"""Function that converts a float model, writes the result and returns it."""


def log_comparison(
    rows: Sequence[OutputComparison], samples: int | None = None, *, unseen: bool = False
) -> None:
    """Log the errors of the outputs, of many outputs only the worst, and warn of a poor result.

    `samples` is the number of samples that were compared, `unseen` whether calibration has not seen them.
    """
    if not rows:
        return
    worst = sorted(range(len(rows)), key=lambda index: rows[index].sqnr_db)[:MOST_OUTPUTS]
    shown = [rows[index] for index in sorted(worst)]
    # A line break in a name must not look like the end of a row.
    names = [row.name.replace("\n", r"\n") for row in shown]
    lines = table(
        [
            tuple(map(spoken, ("output", "SQNR dB", "cosine", "largest error"))),
            *(
                (name, f"{row.sqnr_db:.2f}", f"{row.cosine:.5f}", f"{row.max_abs_error:.4g}")
                for name, row in zip(names, shown, strict=True)
            ),
        ],
        "<>><",
    )
    if len(rows) > len(shown):
        lines.append(f"and {len(rows) - len(shown)} outputs that are closer")
    on = f" on {samples} sample{'s' if samples > 1 else ''}{UNSEEN if unseen else SEEN}" if samples else ""
    logger.info("compared with the float model%s:\n%s", on, "\n".join(lines))
    poorest = rows[worst[0]]
    if poorest.sqnr_db < FAIR_DB:
        logger.warning(
            "output %s is at %.1f dB: its noise has more than a tenth of the signal's energy",
            poorest.name, poorest.sqnr_db,
        )  # fmt: skip
    for row in rows:
        if row.lost is not None:
            logger.warning(
                "%s: the columns %s of axis %d are lost (%.1f dB), although the whole is at %.1f dB",
                row.name, row.lost.words, row.lost.axis, row.lost.sqnr_db, row.sqnr_db,
            )  # fmt: skip
