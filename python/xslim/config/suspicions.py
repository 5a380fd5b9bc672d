"""Settings that are allowed but were probably meant otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from xslim.config.model import Config, InputParameters

SENSIBLE_STEPS = range(10, 1001)
QUANTISED_SUFFIX = ".q.onnx"
"""End of the name that a run gives to its result."""


def suspicions(config: Config) -> Iterator[str]:
    """Yield one sentence for every setting that was probably meant otherwise."""
    yield from _about_the_model(config)
    if config.is_static:
        yield from _about_calibration(config)


def _about_the_model(config: Config) -> Iterator[str]:
    name = config.model_parameters.onnx_model
    if name is not None and name.endswith(QUANTISED_SUFFIX):
        original = Path(name).name.removesuffix(QUANTISED_SUFFIX)
        yield (
            f"onnx_model {name} has the name of a result: was {original}.onnx meant, the float model it was "
            "made from?"
        )


def _about_calibration(config: Config) -> Iterator[str]:
    calibration, quantization = config.calibration_parameters, config.quantization_parameters
    step = calibration.calibration_step
    if step not in SENSIBLE_STEPS:
        yield f"calibration_step is {step}; from 10 to 1000 samples are sensible"
    if "max_percentile" in quantization.model_fields_set and calibration.calibration_type == "minmax":
        yield 'max_percentile has no effect with calibration_type "minmax": was "percentile" meant?'
    for index, entry in enumerate(calibration.input_parameters):
        if _has_unit_scale(entry):
            yield (
                f"{calibration.inputs_name}[{index}]: mean_value {list(entry.mean_value or ())} and "
                f"std_value {list(entry.std_value or ())} look like values for pixels from 0 to 1; "
                "pixels are from 0 to 255: multiply both by 255"
            )


def _has_unit_scale(entry: InputParameters) -> bool:
    """Whether mean and deviation of an image were given for pixels from 0 to 1."""
    mean, std = entry.mean_value, entry.std_value
    if entry.file_type != "img" or not mean or not std:
        return False
    return 0 < max(mean) < 1 and min(mean) >= 0 and max(std) < 1
