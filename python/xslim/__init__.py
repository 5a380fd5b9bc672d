"""XSlim quantises ONNX models after training: int8, dynamic int8, fp16, or merely simplified.

``quantize`` takes samples from memory and returns the model with its numbers. ``quantize_onnx_model`` does
what the command ``xslim`` does; ``quantize_dynamic``, ``convert_fp16`` and ``slim`` need no samples. The
functions ``plan``, ``check``, ``compare``, ``tune``, ``info``, ``collect`` and ``merge`` do what the
sub-commands do.
Modules are imported at their first use, so ``import xslim`` is fast.
"""

from __future__ import annotations

from xslim.deferred import defer_imports

# Type checkers treat this name as true. Importing it from typing would take a tenth of the command's start
# time.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Any

    from xslim.commands.metric import Metric, Run
    from xslim.config import Config, load_config
    from xslim.errors import (
        ConfigError,
        CrashError,
        DataError,
        InternalError,
        LimitError,
        ModelError,
        OutputError,
        XSlimError,
    )
    from xslim.export.proof import NotFiniteError, NotRunnableError
    from xslim.library.others import check, collect, compare, info, merge, plan
    from xslim.library.quantize import quantize
    from xslim.library.result import Parameter, ReportView, Result
    from xslim.library.tune import TuneResult, tune
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
    "Config",
    "ConfigError",
    "CrashError",
    "DataError",
    "InternalError",
    "LimitError",
    "Metric",
    "ModelError",
    "NotFiniteError",
    "NotRunnableError",
    "OutputError",
    "Parameter",
    "ReportView",
    "Result",
    "Run",
    "TuneResult",
    "XSlimError",
    "__version__",
    "check",
    "collect",
    "compare",
    "convert_fp16",
    "convert_to_fp16_onnx_model",
    "dynamic_quantize_onnx_model",
    "info",
    "load_config",
    "merge",
    "plan",
    "quantize",
    "quantize_dynamic",
    "quantize_onnx_model",
    "slim",
    "tune",
]

_HOMES = {
    "Config": "xslim.config",
    "Metric": "xslim.commands.metric",
    "NotFiniteError": "xslim.export.proof",
    "NotRunnableError": "xslim.export.proof",
    "Parameter": "xslim.library.result",
    "ReportView": "xslim.library.result",
    "Result": "xslim.library.result",
    "Run": "xslim.commands.metric",
    "TuneResult": "xslim.library.tune",
    "check": "xslim.library.others",
    "collect": "xslim.library.others",
    "compare": "xslim.library.others",
    "convert_fp16": "xslim.pipeline.api",
    "convert_to_fp16_onnx_model": "xslim.pipeline.api",
    "dynamic_quantize_onnx_model": "xslim.pipeline.api",
    "info": "xslim.library.others",
    "load_config": "xslim.config",
    "merge": "xslim.library.others",
    "plan": "xslim.library.others",
    "quantize": "xslim.library.quantize",
    "quantize_dynamic": "xslim.pipeline.api",
    "quantize_onnx_model": "xslim.pipeline.api",
    "slim": "xslim.pipeline.api",
    "tune": "xslim.library.tune",
}

defer_imports()


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
