"""Replace the guessed preprocessing of an image input by what the model says about its preprocessing."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import onnx_ir as ir

from xslim.calibration.geometry import image_layout
from xslim.calibration.lists import Entry
from xslim.calibration.probing import Measured, Subject, Trial, measure
from xslim.calibration.probing.images import GEOMETRIES, views_of
from xslim.commands.guesses import Guess, Section
from xslim.errors import XSlimError
from xslim.graph.inputs import InputSpec
from xslim.runtime import Isolated, unknown_operators

logger = logging.getLogger(__name__)

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
    shape = entry["input_shape"].value if "input_shape" in entry else spec.shape
    if unknown_operators(model) or not shape or shape[0] not in (None, 1):
        return entry
    layout = image_layout(tuple(shape), spec.name)
    listed = [Entry(path.parent / "files", line, path.name) for line, path in enumerate(files, start=1)]
    preset = entry.get("preprocess_file")
    try:
        views = views_of(listed, layout, preset.value if preset else None)
        with Isolated() as isolated:
            subject = Subject(
                model, spec.name, views, isolated.session, layout.channels_last, dtype=spec.dtype
            )
            found = measure(subject)
    except XSlimError as error:
        logger.warning("the preprocessing is guessed, as it could not be measured: %s", error)
        return entry
    return _with_evidence(entry, found, layout.channels)


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
    shown = "; ".join(_named(trial) for trial in [best, *rivals[:SHOWN_RIVALS]])
    return f"{shown} ({JUDGED[found.by]})"


def _named(trial: Trial) -> str:
    chosen = trial.normalisation
    if chosen.label != "fitted":
        return f"{chosen.label}: {trial.figure}"
    means = ", ".join(f"{value:g}" for value in chosen.mean)
    return f"mean {means}, deviation {chosen.std[0]:g} from the first BatchNormalization: {trial.figure}"
