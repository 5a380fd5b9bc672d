"""Warn if another preprocessing than that of the configuration clearly suits the model better."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import islice

import numpy as np
import onnx_ir as ir

from xslim.analysis.facts import JudgedPreprocessing
from xslim.calibration.data import CalibrationData
from xslim.calibration.decode import ImageDecoder
from xslim.calibration.probing import Measured, Subject, Trial, measure
from xslim.calibration.probing.candidates import FITTED
from xslim.calibration.probing.images import pixels_of
from xslim.calibration.probing.measure import GOOD_DISTANCE, SAME_FIT
from xslim.calibration.sources import Source
from xslim.config import Config
from xslim.errors import XSlimError
from xslim.graph.inputs import input_specs
from xslim.runtime import Isolated

logger = logging.getLogger(__name__)

SAMPLES = 6
CLEARLY_BETTER = 3.0
"""Ratio of distances from the statistics of BatchNormalizations above which the run warns. For numbers that
were computed from the images it is `SAME_FIT`: images darker or paler than in training shift them too."""
VERY_SURE = 4.0
"""Gain in answers, in standard errors, above which the run warns. With six samples and five candidates, less
comes by chance."""
MEANING = {"BatchNorm": "distance from BatchNormalization", "answers": "how far answers stand out", "": ""}
"""What the figure of a candidate is."""
OWN_MOMENTS = "every image normalised by its own mean and deviation"
MOST_ELEMENTS = 1 << 21
"""Images with more values are not tried: every candidate would take as long as a calibration."""


def judge_preprocessing(model: ir.Model, config: Config, isolated: Isolated) -> JudgedPreprocessing | None:
    """Try the usual normalisations on a few calibration images, and warn if one fits clearly better.

    Parameters
    ----------
    model : onnx_ir.Model
        The float model, before preparation, which removes what is compared with.
    config : Config
        The configuration of the run.
    isolated : Isolated
        The child process that runs the model.

    Returns
    -------
    JudgedPreprocessing or None
        What the model says; None if it tells nothing, or has no images.
    """
    try:
        data = CalibrationData(input_specs(model), config.calibration_parameters, config.base_dir)
        source = _image_source(data)
        found = _measured(model, data, source, isolated) if source else None
    except XSlimError as error:
        # What is wrong with the data or the model is an error of the steps that follow.
        logger.debug("the preprocessing could not be judged: %s", error)
        return None
    if not (source and found and found.best and found.given):
        return None
    judged = _judged(found, found.best, found.given, source)
    _log(judged)
    return judged


def _image_source(data: CalibrationData) -> Source | None:
    """Return the only input that is decoded from images, if all candidates can be tried on it."""
    images = [source for source in data.sources if isinstance(source.reader, ImageDecoder)]
    if len(images) != 1 or data.rows != 1:
        return None
    reader = images[0].reader
    assert isinstance(reader, ImageDecoder)
    layout = reader.layout
    small = layout.channels * layout.height * layout.width <= MOST_ELEMENTS
    return images[0] if small and reader.dtype.kind == "f" else None


def _measured(model: ir.Model, data: CalibrationData, source: Source, isolated: Isolated) -> Measured:
    assert isinstance(source.reader, ImageDecoder)
    layout, dtype = source.reader.layout, source.reader.dtype
    samples = list(islice(data.samples(1, workers=1), SAMPLES))
    # A list of one line is used for all samples.
    entries = source.entries[: len(samples)] if len(source.entries) > 1 else source.entries * len(samples)
    pixels = pixels_of(entries, layout, source.parameters.preprocess_file)
    given = [np.asarray(sample[source.name]) for sample in samples]
    subject = Subject(
        model,
        source.name,
        {"": pixels},
        isolated.session,
        layout.channels_last,
        samples,
        given,
        dtype,
        source.parameters.color_format,
    )
    logger.info("trying the usual normalisations of images on %d samples", len(samples))
    return measure(subject)


def _judged(found: Measured, best: Trial, given: Trial, source: Source) -> JudgedPreprocessing:
    figure = f"{MEANING[found.by]} {given.figure}"
    if not _is_better(best, given):
        return JudgedPreprocessing(source.name, figure)
    mean, std = _numbers(best, source)
    better = f"mean_value {_listed(mean)}, std_value {_listed(std)}" if mean else OWN_MOMENTS
    return JudgedPreprocessing(source.name, figure, better, f"{MEANING[found.by]} {best.figure}", mean, std)


def _log(judged: JudgedPreprocessing) -> None:
    if judged.better:
        logger.warning(
            "another preprocessing suits the model clearly better: %s instead of what the configuration says "
            "(%s; better: %s). float and int8 agree on wrong inputs as well, so no figure below shows it",
            judged.better,
            judged.figure,
            judged.better_figure,
        )
    else:
        logger.info("mean_value and std_value suit the model (%s)", judged.figure)


def _is_better(best: Trial, given: Trial) -> bool:
    if best.distance is not None and given.distance is not None:
        ratio = SAME_FIT if best.normalisation.label == FITTED else CLEARLY_BETTER
        return given.distance > max(ratio * best.distance, GOOD_DISTANCE)
    return given.excluded > best.excluded or (given.excluded == best.excluded and given.gain > VERY_SURE)


def _numbers(trial: Trial, source: Source) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and deviation in the configuration's order of colours; empty if every image has its own."""
    chosen = trial.normalisation
    if chosen.is_per_image:
        return (), ()
    assert isinstance(source.reader, ImageDecoder)
    numbers = chosen.numbers(source.reader.layout.channels, source.parameters.color_format)
    mean, std = (tuple(float(f"{value:g}") for value in values) for values in numbers)
    return mean, std


def _listed(values: Sequence[float]) -> str:
    return f"[{', '.join(f'{value:g}' for value in values)}]"
