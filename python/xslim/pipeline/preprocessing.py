"""Warn if another preprocessing than that of the configuration clearly suits the model better."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import onnx_ir as ir

from xslim.analysis.facts import JudgedPreprocessing
from xslim.calibration.arrays import Array
from xslim.calibration.data import CalibrationData
from xslim.calibration.decode import ImageDecoder
from xslim.calibration.geometry import ImageLayout, image_layout
from xslim.calibration.preprocess import UserFunction
from xslim.calibration.probing import Measured, Subject, Trial, measure
from xslim.calibration.probing.candidates import FITTED, Floats
from xslim.calibration.probing.images import pixels_of
from xslim.calibration.probing.measure import GOOD_DISTANCE, SAME_FIT
from xslim.calibration.sources import Source
from xslim.config import Config
from xslim.errors import XSlimError
from xslim.graph.inputs import input_specs
from xslim.runtime import Feeds, Isolated

logger = logging.getLogger(__name__)

SAMPLES = 6
CLEARLY_BETTER = 3.0
"""Ratio of distances from the statistics of BatchNormalizations above which the run warns. For numbers that
were computed from the images it is `SAME_FIT`: images darker or paler than in training shift them too."""
VERY_SURE = 4.0
"""Gain in answers, in standard errors, above which the run warns. With six samples and five candidates, less
comes by chance."""
IMAGE_RANK, PIXEL_MAX = 4, 255.0
GREY_OR_COLOURS = (1, 3)
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
        if source is None:
            return None
        samples = list(islice(data.samples(1, workers=1), SAMPLES))
        pictures = _pictures(source, samples)
        found = _measured(model, samples, pictures, isolated) if pictures else None
    except (XSlimError, ValueError) as error:
        # What is wrong with the data or the model is an error of the steps that follow. Advice must not end a
        # run over numbers or shapes that numpy refuses.
        logger.debug("the preprocessing could not be judged: %s", error)
        return None
    if not (pictures and found and found.best and found.given):
        return None
    judged = _judged(found, found.best, found.given, pictures)
    _log(judged)
    return judged


@dataclass(frozen=True)
class _Pictures:
    """The images of one input as pixels.

    Attributes
    ----------
    name : str
        The input.
    layout : ImageLayout
        Size and order of the axes.
    order : str
        Order of the colours that the input is fed with.
    pixels : list of array
        The images from 0 to 255, of shape (channels, height, width), in the order BGR.
    scale : float or None
        Pixels over the values that were given; None if the run itself decodes and normalises the images.
    """

    name: str
    layout: ImageLayout
    order: str
    pixels: list[Floats]
    scale: float | None = None


def _image_source(data: CalibrationData) -> Source | None:
    """Return the only input that is decoded from images, or else the only one of arrays shaped like images.

    A function of the user is not called once more for this.
    """
    decoded = [source for source in data.sources if isinstance(source.reader, ImageDecoder)]
    arrays = [
        source
        for source in data.sources
        if len(source.shape or ()) == IMAGE_RANK and not isinstance(source.reader, UserFunction)
    ]
    found = decoded or arrays
    return found[0] if len(found) == 1 and data.rows == 1 else None


def _pictures(source: Source, samples: Sequence[Feeds]) -> _Pictures | None:
    """Return the images of an input as pixels, if all candidates can be tried on them."""
    given = [np.asarray(sample[source.name]) for sample in samples]
    if any(len(array) != 1 for array in given):
        # A model that takes several images at once cannot be tried on one.
        return None
    decoder = source.reader if isinstance(source.reader, ImageDecoder) else None
    layout = decoder.layout if decoder else image_layout(given[0].shape, source.name)
    small = max(array.size for array in given) <= MOST_ELEMENTS
    if not small or given[0].dtype.kind != "f":
        return None
    if decoder is None:
        return _arrays(source, layout, given)
    # A list of one line is used for all samples.
    entries = source.entries[: len(samples)] if len(source.entries) > 1 else source.entries * len(samples)
    pixels = pixels_of(entries, layout, source.parameters.preprocess_file)
    return _Pictures(source.name, layout, source.parameters.color_format, pixels)


def _arrays(source: Source, layout: ImageLayout, given: Sequence[Array]) -> _Pictures | None:
    """Return arrays from 0 to 1 or from 0 to 255 as pixels."""
    arrays = [array.astype(np.float32) for array in given]
    low, high = min(float(array.min()) for array in arrays), max(float(array.max()) for array in arrays)
    if layout.channels not in GREY_OR_COLOURS or not 0 <= low < high <= PIXEL_MAX:
        return None
    scale = PIXEL_MAX if high <= 1 else 1.0
    planes = [array[0].transpose(2, 0, 1) if layout.channels_last else array[0] for array in arrays]
    # Whoever makes arrays mostly has RGB.
    return _Pictures(source.name, layout, "rgb", [scale * plane[::-1] for plane in planes], scale)


def _measured(model: ir.Model, samples: Sequence[Feeds], pictures: _Pictures, isolated: Isolated) -> Measured:
    given = [np.asarray(sample[pictures.name]) for sample in samples]
    subject = Subject(
        model,
        pictures.name,
        {"": pictures.pixels},
        isolated.session,
        pictures.layout.channels_last,
        samples,
        given,
        given[0].dtype,
        pictures.order,
    )
    logger.info("trying the usual normalisations of images on %d samples", len(samples))
    return measure(subject)


def _judged(found: Measured, best: Trial, given: Trial, pictures: _Pictures) -> JudgedPreprocessing:
    figure = f"{MEANING[found.by]} {given.figure}"
    if not _is_better(best, given):
        return JudgedPreprocessing(pictures.name, figure)
    better_figure = f"{MEANING[found.by]} {best.figure}"
    if best.normalisation.is_per_image:
        return JudgedPreprocessing(pictures.name, figure, OWN_MOMENTS, better_figure)
    mean, std = best.normalisation.numbers(pictures.layout.channels, pictures.order)
    if pictures.scale is not None:
        own = ([value / pictures.scale for value in values] for values in (mean, std))
        better = "(x - {}) / {} of the arrays".format(*map(_listed, own))
        return JudgedPreprocessing(pictures.name, figure, better, better_figure)
    better = f"mean_value {_listed(mean)}, std_value {_listed(std)}"
    numbers = (tuple(float(f"{value:g}") for value in values) for values in (mean, std))
    return JudgedPreprocessing(pictures.name, figure, better, better_figure, *numbers)


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


def _listed(values: Iterable[float]) -> str:
    return f"[{', '.join(f'{value:g}' for value in values)}]"
