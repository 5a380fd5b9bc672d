"""XSlim quantises ONNX models after training: int8, dynamic int8, fp16, or merely simplified.

``quantize_onnx_model`` does what the command ``xslim`` does; ``quantize_dynamic``, ``convert_fp16`` and
``slim`` need no configuration. Modules are imported at their first use, so ``import xslim`` is fast.
"""

from __future__ import annotations

# Type checkers treat this name as true. Importing it from typing would take a tenth of the command's start
# time.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Any

    from xslim.config import load_config
    from xslim.errors import (
        ConfigError,
        DataError,
        InternalError,
        ModelError,
        OutputError,
        XSlimError,
    )
    from xslim.pipeline.api import (
        convert_fp16,
        convert_to_fp16_onnx_model,
        dynamic_quantize_onnx_model,
        quantize_dynamic,
        quantize_onnx_model,
        slim,
    )

    __version__: str

__all__ = [
    "ConfigError",
    "DataError",
    "InternalError",
    "ModelError",
    "OutputError",
    "XSlimError",
    "__version__",
    "convert_fp16",
    "convert_to_fp16_onnx_model",
    "dynamic_quantize_onnx_model",
    "load_config",
    "quantize_dynamic",
    "quantize_onnx_model",
    "slim",
]

_HOMES = {
    "convert_fp16": "xslim.pipeline.api",
    "convert_to_fp16_onnx_model": "xslim.pipeline.api",
    "dynamic_quantize_onnx_model": "xslim.pipeline.api",
    "load_config": "xslim.config",
    "quantize_dynamic": "xslim.pipeline.api",
    "quantize_onnx_model": "xslim.pipeline.api",
    "slim": "xslim.pipeline.api",
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in __all__:
        raise AttributeError(f"module 'xslim' has no attribute {name!r}")
    value = (
        _version()
        if name == "__version__"
        else getattr(import_module(_HOMES.get(name, "xslim.errors")), name)
    )
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _version() -> str:
    from importlib.metadata import version

    return version("xslim")
