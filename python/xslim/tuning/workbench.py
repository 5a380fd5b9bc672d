"""Runs trials of one model: what stays the same between them is read, prepared and run once."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import onnx_ir as ir

from xslim.config import Config, load_config
from xslim.export.proof import prove
from xslim.export.trial import TrialRun, run_on_samples
from xslim.graph.cost import model_cost
from xslim.graph.io import to_proto
from xslim.pipeline.cut import FirstPart
from xslim.pipeline.fallback import serialised
from xslim.pipeline.paths import SKETCHES, ModelSource, OutputPaths
from xslim.pipeline.prepare import prepare_model
from xslim.pipeline.static import StaticResult, original_model, quantize_static
from xslim.runtime import Isolated, Runs
from xslim.targets.subgraphs import subgraphs_of
from xslim.tuning.landscape import Landscape, survey
from xslim.tuning.trial import Settings, Trial

Rating = Callable[[Runs], float]
"""Returns the metric of the user for the model of a session."""


class Workbench:
    """Quantises one model with different settings and rates the results.

    Parameters
    ----------
    model : onnx_ir.Model
        The float model.
    source : ModelProto or Path
        Where the model comes from.
    config : Config
        The configuration that the settings change.
    folder : Path
        Folder for sketches, which trials share where they can.
    isolated : Isolated
        The process in which results run.
    rating : callable, optional
        The metric of the user.
    """

    def __init__(
        self,
        model: ir.Model,
        source: ModelSource,
        config: Config,
        folder: Path,
        isolated: Isolated,
        rating: Rating | None,
    ) -> None:
        self._source = source if isinstance(source, Path) else to_proto(model).SerializeToString()
        self._config = config
        self._paths = OutputPaths(folder, "trial")
        self._isolated = isolated
        self._rating = rating
        self.prepared = prepare_model(model, config, original_model(model, source, config, isolated))
        self._part = FirstPart.of(self.prepared, config)
        self._macs = {item.name: item.macs for item in model_cost(self.prepared).operators}
        self._references: list[TrialRun] = []
        self._kept: tuple[Settings, StaticResult] | None = None
        self.seconds_per_sample = 0.0
        self.calibration_samples = 0

    def float_metric(self) -> float:
        """Return the metric of the float model."""
        assert self._rating is not None
        return self._rating(self._isolated.session(self._source))

    def trial(self, settings: Settings) -> Trial:
        """Quantise with settings and rate the result.

        Raises
        ------
        XSlimError
            The data, the model or the metric is wrong.
        """
        started = time.monotonic()
        # Warnings of the first trial hold for all others.
        with _quiet(logging.ERROR if self._references else logging.WARNING):
            config = load_config(self._config, changes=settings.changes())
            result = quantize_static(
                self._part.model, config, self._paths.beside(SKETCHES), isolated=self._isolated
            )
        self._kept = settings, result
        whole = self._part.whole(result.model)
        references = self._float_outputs(result)
        with serialised(whole, self._paths.model) as made:
            outputs = prove(made, self._source, references, self._isolated, called="quantised")
            metric = None if self._rating is None else self._rating(self._isolated.session(made))
            size = len(made) if isinstance(made, bytes) else made.stat().st_size
        int8 = sum(self._macs.get(name, 0) for name in result.plan.int8_operators)
        return Trial(
            settings=settings,
            outputs=tuple(replace(row, lost=None) for row in outputs),
            metric=metric,
            int8_share=int8 / max(1, sum(self._macs.values())),
            subgraphs=subgraphs_of(whole.graph, result.target),
            bytes=size,
            seconds=time.monotonic() - started,
        )

    def landscape(self, settings: Settings) -> Landscape:
        """Measure the noise of every quantiser of the model that settings give."""
        if self._kept is None or self._kept[0] != settings:
            self.trial(settings)
        assert self._kept is not None
        return survey(self._kept[1])

    def _float_outputs(self, result: StaticResult) -> list[TrialRun]:
        """Return the outputs of the float model on the samples of the comparison, which all trials share."""
        if not self._references:
            started = time.monotonic()
            self._references = run_on_samples(self._source, result.compared, self._isolated)
            self.seconds_per_sample = (time.monotonic() - started) / max(1, len(self._references))
            self.calibration_samples = result.calibration_samples
        return self._references


@contextmanager
def _quiet(least: int) -> Iterator[None]:
    """Keep the log of a trial from being shown; the search says what a trial has given."""
    logger = logging.getLogger("xslim")
    level = logger.level
    logger.setLevel(max(least, logger.getEffectiveLevel()))
    try:
        yield
    finally:
        logger.setLevel(level)
