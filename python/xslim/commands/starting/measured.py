"""Replace the guessed preprocessing of an image input by what the model says about its preprocessing."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir

from xslim.calibration.geometry import image_layout
from xslim.calibration.lists import Entry
from xslim.calibration.probing import Measured, Subject, Trial, measure
from xslim.calibration.probing.candidates import FITTED
from xslim.calibration.probing.images import GEOMETRIES, usual_aspect, views_of
from xslim.commands.starting.guesses import Guess, Section, filled
from xslim.errors import ModelError, XSlimError
from xslim.graph.inputs import InputSpec
from xslim.runtime import Isolated, unknown_operators
from xslim.texts import spoken

logger = logging.getLogger(__name__)

USUAL_SIZES = ((224, 224), (48, 320), (32, 320), (640, 640))
"""Heights and widths to try where a model leaves them open: classifiers, lines of text, detectors."""
SHOWN_RIVALS = 2
JUDGED = {
    "BatchNorm": "distance from the statistics of the first BatchNormalizations, less is better",
    "answers": "how far the answers stand out, more is better",
}
UNTOLD = "CHECK: tried on the images, but the model does not tell; take it from the training code. "
PER_IMAGE = (
    "CHECK: the model wants every image normalised by its own mean and deviation ({figures}): "
    "write a preprocess_file that does so. "
)


def measured_entry(
    entry: Section, spec: InputSpec, model: ir.Model, files: Sequence[Path], inputs: int
) -> Section:
    """Return an entry of ``input_parameters`` whose preprocessing is measured, with the evidence.

    The entry stays as it is where nothing can be measured: no images, no floats, several inputs, or a model
    that does not run.
    """
    if inputs != 1 or not files or entry["file_type"].value != "img" or "mean_value" not in entry:
        return entry
    shape = spec.shape
    if unknown_operators(model) or not shape or shape[0] not in (None, 1):
        return entry
    listed = [Entry(path.parent / "files", line, path.name) for line, path in enumerate(files, start=1)]
    preset = entry.get("preprocess_file")
    try:
        with Isolated() as isolated:
            if "input_shape" in entry:
                entry = entry | {"input_shape": _size_that_runs(model, spec, listed, isolated)}
                shape = tuple(entry["input_shape"].value)
            layout = image_layout(shape, spec.name)
            views = views_of(listed, layout, preset.value if preset else None)
            subject = Subject(
                model, spec.name, views, isolated.session, layout.channels_last, dtype=spec.dtype
            )
            found = measure(subject)
    except XSlimError as error:
        logger.warning("the preprocessing is guessed, as it could not be measured: %s", error)
        return entry
    return _with_evidence(entry, found, layout.channels)


def _size_that_runs(model: ir.Model, spec: InputSpec, files: Sequence[Entry], isolated: Isolated) -> Guess:
    """Return the usual size that the model takes and whose proportions are closest to those of the files.

    Raises
    ------
    ModelError
        The model runs with none of them.
    """
    aspect = usual_aspect(files)
    session = isolated.session(model, threads=1)
    refusal: ModelError | None = None
    for size in sorted(USUAL_SIZES, key=lambda size: abs(math.log(aspect * size[0] / size[1]))):
        shape = filled(spec, size)
        try:
            session.run({spec.name: np.zeros(shape, spec.dtype)})
        except ModelError as error:
            refusal = refusal or error
        else:
            return Guess(shape, "CHECK: the model leaves the size of its images open; this one runs.")
    assert refusal is not None
    raise refusal


def _with_evidence(entry: Section, found: Measured, channels: int) -> Section:
    """Return the entry with the numbers that were found; every one says how it was found."""
    best, changed = found.best, dict(entry)
    if best is None:
        changed["mean_value"] = Guess(entry["mean_value"].value, UNTOLD + entry["mean_value"].reason[7:])
        return changed
    if best.normalisation.is_per_image:
        changed["mean_value"] = Guess(
            entry["mean_value"].value, PER_IMAGE.format(figures=_figures(found)).rstrip()
        )
        return changed
    order = found.order or str(entry["color_format"].value if "color_format" in entry else "rgb")
    if "color_format" in entry:
        changed["color_format"] = Guess(order, _order_reason(found))
    mean, std = best.normalisation.numbers(channels, order)
    changed["mean_value"] = Guess(mean, f"Measured: {_figures(found)}.")
    changed["std_value"] = Guess(std)
    if found.view is not None:
        changed.pop("preprocess_file", None)
        preset = GEOMETRIES[found.view]
        if preset is not None:
            changed["preprocess_file"] = Guess(
                preset, "Measured: the answers stand out clearly more than with the other geometries."
            )
    return changed | {"data_list_path": changed.pop("data_list_path")}


def _order_reason(found: Measured) -> str:
    figures = ", ".join(f"{order} {figure:.3g}" for order, figure in found.order_figures.items())
    if found.order is None:
        return f"CHECK: rgb or bgr, as in training; the model does not tell ({figures})."
    return f"Measured: {figures}."


def _figures(found: Measured) -> str:
    """Return the figures of the best candidate and of the next ones, and what they mean."""
    best, *rivals = found.trials
    shown = "; ".join(spoken(_named(trial)) for trial in [best, *rivals[:SHOWN_RIVALS]])
    return f"{shown} ({JUDGED[found.by]})"


def _named(trial: Trial) -> str:
    chosen = trial.normalisation
    if chosen.label != FITTED:
        return f"{chosen.label}: {trial.figure}"
    means = ", ".join(f"{value:g}" for value in chosen.mean)
    return f"mean {means}, deviation {chosen.std[0]:g} from the first BatchNormalization: {trial.figure}"
