"""The fields of a configuration, named as in JSON, with their defaults and descriptions."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from xslim.config import fields as f
from xslim.config.fields import problem
from xslim.config.levels import FinetuneLevel, PrecisionLevel


class _Section(BaseModel):
    # protected_namespaces: `model_parameters` is a documented name.
    # The docstrings of the fields are read by xslim.config.schema: use_attribute_docstrings would read them
    # from the source at every start.
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", protected_namespaces=())


class ModelParameters(_Section):
    """Which model, and where the result goes."""

    onnx_model: f.PathText | None = None
    """The ONNX model to quantise."""
    output_prefix: f.PlainName | None = None
    """Name of the output files without `.onnx`; by default the model's name and `.q`."""
    working_dir: f.PathText | None = None
    """Folder of the output files; by default the folder of the model."""
    skip_onnxsim: bool = False
    """Leave out the general simplification of the graph."""
    functions: bool = True
    """Make detection heads and window shuffles functions of the target; `false` keeps plain operators."""
    opset: f.Count | None = None
    """Version of the default operator set that the output must have."""
    unchecked: bool = False
    """Go on, with a warning, where the prepared model does not compute what the original does."""


class InputParameters(_Section):
    """Where the calibration data of one model input comes from."""

    input_name: f.Text | None = None
    """Name of the model input; by default the input at the same place in the list."""
    input_shape: f.Shape | None = None
    """Shape of the input; by default read from the model, with a symbolic batch of 1."""
    dtype: f.Dtype | None = None
    """Element type of the input; by default read from the model."""
    file_type: f.FileType = "img"
    """Images read by OpenCV, NumPy `.npy` arrays, or raw binary data in the input's type."""
    color_format: f.ColorFormat = "bgr"
    """Order of the colour channels that the model expects."""
    mean_value: f.Numbers | None = None
    """Subtracted from each channel of an image, on the scale from 0 to 255."""
    std_value: f.Divisors | None = None
    """Each channel of an image is divided by it after subtracting the mean."""
    preprocess_file: f.Preprocess | None = None
    """`PT_IMAGENET`, `IMAGENET`, `LETTERBOX`, or a function of one's own as `path/to/file.py:function`."""
    data_list_path: f.PathText | None = None
    """Text file with one calibration file per line, absolute or relative to the list's folder; required for
    precision levels 0 to 2."""

    _function: Callable[..., Any] | None = PrivateAttr(None)
    _paths: tuple[str, ...] | None = PrivateAttr(None)

    @property
    def function(self) -> Callable[..., Any] | None:
        """The preprocessing function, if a dict configuration holds one in place of `preprocess_file`."""
        return self._function

    @property
    def paths(self) -> tuple[str, ...] | None:
        """The calibration files, if a dict configuration holds their paths in place of `data_list_path`."""
        return self._paths

    @property
    def has_files(self) -> bool:
        """Whether calibration files are named."""
        return self.data_list_path is not None or self._paths is not None

    @property
    def has_own_function(self) -> bool:
        """Whether a function of the user reads the files."""
        return self._function is not None or ":" in (self.preprocess_file or "")

    @model_validator(mode="wrap")
    @classmethod
    def _take_objects(cls, data: Any, handler: ModelWrapValidatorHandler[InputParameters]) -> InputParameters:
        """Keep a function and a sequence of paths, which JSON does not have."""
        if not isinstance(data, Mapping):
            return handler(data)
        fields = dict(data)
        function = fields.pop("preprocess_file") if callable(data.get("preprocess_file")) else None
        listed = isinstance(data.get("data_list_path"), (list, tuple))
        paths = _path_texts(fields.pop("data_list_path")) if listed else None
        entry = handler(fields)
        entry._function, entry._paths = function, paths
        return entry

    @field_validator("std_value")
    @classmethod
    def _as_many_as_means(
        cls, std: tuple[float, ...] | None, info: ValidationInfo
    ) -> tuple[float, ...] | None:
        mean = info.data.get("mean_value")
        if std and mean and len(std) != len(mean):
            raise problem(f"has {len(std)} values but mean_value has {len(mean)}")
        return std

    @field_validator("preprocess_file")
    @classmethod
    def _presets_read_images(cls, preprocess: str | None, info: ValidationInfo) -> str | None:
        file_type = info.data.get("file_type", "img")
        if preprocess in f.PRESETS and file_type != "img":
            raise problem(f'{preprocess} reads images but file_type is "{file_type}"')
        return preprocess


def _path_texts(paths: Sequence[object]) -> tuple[str, ...]:
    wrong = [path for path in paths if not isinstance(path, (str, os.PathLike)) or not str(path)]
    if wrong or not paths:
        raise problem(
            "must hold paths of files" + (f", not {wrong[0]!r}" if wrong else ""), where="data_list_path"
        )
    return tuple(os.fsdecode(path) for path in paths if isinstance(path, (str, os.PathLike)))


class CalibrationParameters(_Section):
    """Which samples, and how a range is chosen from what they produce."""

    calibration_step: f.Count = 100
    """Largest number of samples to use; 10 to 1000 are sensible."""
    calibration_batch_size: f.Count = 1
    """Samples that are decoded together; the model runs on them one by one."""
    calibration_device: f.Device = "cuda"
    """`cuda` when there is such a device, else `cpu`."""
    calibration_type: f.CalibrationType = "default"
    """How the range of a tensor is chosen."""
    comparison_samples: f.Count | None = None
    """Largest number of samples that calibration does not use and the result is compared on; by default 8,
    and no more than an eighth of the samples if the lists name no further files."""
    calibration_memory_mb: f.Count | None = None
    """Budget for the observed tensors under way, in MiB; by default a quarter of the machine."""
    input_parameters: Annotated[tuple[InputParameters, ...], Field(strict=False)] = Field(
        (), validation_alias=AliasChoices("input_parametres", "input_parameters")
    )
    """One entry per model input; the spelling `input_parametres` means the same."""

    _inputs_name: str = PrivateAttr("input_parameters")

    @property
    def inputs_name(self) -> str:
        """The spelling of `input_parameters` in the configuration, for messages."""
        return self._inputs_name

    @property
    def has_data(self) -> bool:
        """Whether every entry names its calibration files."""
        return bool(self.input_parameters) and all(entry.has_files for entry in self.input_parameters)

    @model_validator(mode="wrap")
    @classmethod
    def _remember_spelling(
        cls, data: Any, handler: ModelWrapValidatorHandler[CalibrationParameters]
    ) -> CalibrationParameters:
        section = handler(data)
        if isinstance(data, Mapping) and "input_parametres" in data:
            section._inputs_name = "input_parametres"
        return section

    def __eq__(self, other: object) -> bool:
        """Compare the values; the spelling of a field makes no difference."""
        return isinstance(other, CalibrationParameters) and self.model_dump() == other.model_dump()

    @field_validator("input_parameters")
    @classmethod
    def _names_differ(cls, inputs: tuple[InputParameters, ...]) -> tuple[InputParameters, ...]:
        names = [entry.input_name for entry in inputs if entry.input_name]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise problem(f"two entries have the input_name {', '.join(map(repr, twice))}")
        return inputs


class CustomSetting(_Section):
    """What differs in one part of the graph."""

    input_names: f.SomeTexts
    """Tensors where the part begins; constants may be left out."""
    output_names: f.SomeTexts
    """Tensors where the part ends."""
    precision_level: f.RegionLevel | None = None
    """Precision level inside; 3 and 4 mean float."""
    calibration_type: f.CalibrationType | None = None
    """Calibration type inside."""
    max_percentile: f.Percentile | None = None
    """Percentile inside."""

    @model_validator(mode="after")
    def _sets_something(self) -> CustomSetting:
        if self.precision_level is None and self.calibration_type is None and self.max_percentile is None:
            raise problem("sets nothing: give precision_level, calibration_type or max_percentile")
        return self


class QuantizationParameters(_Section):
    """What becomes int8, and how much effort goes into it."""

    precision_level: f.GlobalLevel = PrecisionLevel.ALL_OPERATORS
    """0 all int8, 1 and 2 partly, 3 dynamic, 4 fp16, 100 simplification only."""
    finetune_level: f.Effort = FinetuneLevel.CORRECTIONS
    """How far weights and ranges may be adjusted, from 0 (not at all) to 3."""
    analysis_enable: bool = True
    """Compare the result with the float model, tensor by tensor, and write a report."""
    report_language: f.Language | None = None
    """Language of the report, `en` or `zh`; by default that of the locale."""
    max_percentile: f.Percentile = 0.9999
    """Share of the values inside the range that `percentile` chooses."""
    max_float_share: f.Share = 0.05
    """Largest share of the multiply-accumulates that refinement may leave in float."""
    custom_setting: Annotated[tuple[CustomSetting, ...], Field(strict=False)] | None = None
    """Parts of the graph with settings of their own."""
    truncate_var_names: f.Texts = ()
    """Tensors that cut the graph in two; only the first part is quantised."""
    target: f.TargetName = "spacemit"
    """What runs the result: `spacemit`, `generic` for onnxruntime on any CPU, or the path of a TOML table."""
    bias_type: f.BiasType = "float"
    """How the biases of int8 operators are stored."""
    fp16_keep_types: f.Texts = ()
    """Operator types that stay float32 in an fp16 run, such as Softmax; shell patterns are allowed."""
    float_tensors: f.Texts = ()
    """Names of tensors that stay float, and with them the operators that read or write these tensors; shell
    patterns are allowed."""
    ignore_op_types: f.Texts = ()
    """Operator types that stay float; shell patterns are allowed."""
    ignore_op_names: f.Texts = ()
    """Names of nodes that stay float; shell patterns are allowed."""


class Config(_Section):
    """Everything that one run needs to know."""

    model_parameters: ModelParameters = ModelParameters()
    calibration_parameters: CalibrationParameters = CalibrationParameters()
    quantization_parameters: QuantizationParameters = Field(QuantizationParameters(), validate_default=True)

    _file: Path | None = PrivateAttr(None)

    @property
    def file(self) -> Path | None:
        """The config file, absolute; None for a config that did not come from a file."""
        return self._file

    @property
    def base_dir(self) -> Path | None:
        """Folder of the config file; None for a config that did not come from a file."""
        return None if self._file is None else self._file.parent

    @field_validator("quantization_parameters")
    @classmethod
    def _static_needs_data(cls, quantization: QuantizationParameters, info: ValidationInfo) -> Any:
        calibration = info.data.get("calibration_parameters")
        level = quantization.precision_level
        if calibration is None or not level.is_static:
            return quantization
        where = f"calibration_parameters.{calibration.inputs_name}"
        if not calibration.input_parameters:
            raise problem(f"required for precision_level {level}, one entry per model input", where=where)
        without_list = [
            f"{where}[{index}].data_list_path"
            for index, entry in enumerate(calibration.input_parameters)
            if not entry.has_files
        ]
        if without_list:
            raise problem(f"required for precision_level {level}", where=", ".join(without_list))
        return quantization

    @property
    def is_static(self) -> bool:
        """Whether activations get fixed ranges, so that calibration data is needed."""
        return self.quantization_parameters.precision_level.is_static
