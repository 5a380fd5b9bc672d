"""The end of a run: the result proves itself aside, moves into its place, and the log says how near it is."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import onnx_ir as ir

from xslim.config import Config
from xslim.export.check import LEAN_ABOVE, TrialRun, check_file, run_float_model
from xslim.export.verify import OutputComparison
from xslim.graph.io import release_weights, save_model, to_proto, weight_bytes
from xslim.pipeline.paths import ModelSource, OutputPaths
from xslim.runtime import Isolated, unknown_operators

logger = logging.getLogger(__name__)

MOST_OUTPUTS = 6


def convert_without_data(
    convert: Conversion,
    model: ir.Model,
    source: ModelSource,
    config: Config,
    paths: OutputPaths,
    sketch_files: Sequence[Path],
    isolated: Isolated,
) -> ir.Model:
    """Convert a float model, and write the result once it has proved itself on random input.

    Parameters
    ----------
    convert : function
        That of the precision level.
    model, source, config, paths, sketch_files, isolated
        As of `run_static`; there are no sketches.

    Raises
    ------
    ConfigError, ModelError
        A region or a cut of the configuration does not exist in the model.
    InternalError
        The result is not valid, does not run, or returns something that is not finite.
    """
    del sketch_files
    output = Output.of(model, source, paths.model, isolated)
    result = convert(model, config, output)
    log_comparison(output.comparison)
    return result


@dataclass
class Output:
    """The file that a conversion writes, and what the float model says about it.

    Attributes
    ----------
    path : Path
        The file.
    source : ModelProto or Path
        Where the float model came from.
    reference : bytes or Path
        The float model to compare with.
    isolated : Isolated
        The process that runs the float model and the result.
    trial : TrialRun or None
        A run of the float model on random input; None where it takes none.
    lean : bool
        The model is large, so it is not held twice.
    loads : bool
        onnxruntime knows its operators.
    comparison : list of OutputComparison
        How far the written model is from the float model.
    """

    path: Path
    source: ModelSource
    reference: bytes | Path
    isolated: Isolated
    trial: TrialRun | None
    lean: bool
    loads: bool
    comparison: list[OutputComparison] = field(default_factory=list)

    @classmethod
    def of(cls, model: ir.Model, source: ModelSource, path: Path, isolated: Isolated) -> Output:
        """Run the float model once, if it can be run."""
        lean = weight_bytes(model) > LEAN_ABOVE
        reference = source if isinstance(source, Path) else to_proto(model).SerializeToString()
        trial = run_float_model(reference, model, isolated, lean=lean)
        release_weights(model)
        return cls(path, source, reference, isolated, trial, lean, loads=not unknown_operators(model))

    def write(self, model: ir.Model) -> ir.Model:
        """Write the model aside, check it there, and move it into its place."""

        def check(file: Path) -> None:
            self.comparison = check_file(
                file, self.reference, self.trial, self.isolated, lean=self.lean, loads=self.loads
            )

        save_model(model, self.path, check=check)
        release_weights(model)
        return model


Conversion = Callable[[ir.Model, Config, Output], ir.Model]
"""From a float model to the converted one, which is written when it returns."""


def log_comparison(rows: Sequence[OutputComparison], samples: int | None = None) -> None:
    """Log how far the outputs are from the float model's: of many, the worst."""
    if not rows:
        return
    worst = sorted(range(len(rows)), key=lambda index: rows[index].sqnr_db)[:MOST_OUTPUTS]
    shown = [rows[index] for index in sorted(worst)]
    # A name with line breaks in it must not look like a row.
    names = [row.name.replace("\n", r"\n") for row in shown]
    width = max(len("output"), *map(len, names))
    lines = [f"{'output':<{width}}  SQNR dB   cosine    largest error"]
    lines += [
        f"{name:<{width}}  {row.sqnr_db:7.2f}   {row.cosine:.5f}   {row.max_abs_error:.4g}"
        for name, row in zip(names, shown, strict=True)
    ]
    if len(rows) > len(shown):
        lines.append(f"and {len(rows) - len(shown)} outputs that are closer")
    on = f" on {samples} sample{'s' if samples > 1 else ''}" if samples else ""
    logger.info("compared with the float model%s:\n%s", on, "\n".join(lines))
