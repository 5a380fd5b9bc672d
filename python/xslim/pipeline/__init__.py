"""The whole run, as one straight line of named steps."""

from xslim.pipeline.direct import convert_fp16, quantize_dynamic, slim
from xslim.pipeline.run import quantize_onnx_model
from xslim.pipeline.version2 import convert_to_fp16_onnx_model, dynamic_quantize_onnx_model

__all__ = [
    "convert_fp16",
    "convert_to_fp16_onnx_model",
    "dynamic_quantize_onnx_model",
    "quantize_dynamic",
    "quantize_onnx_model",
    "slim",
]
