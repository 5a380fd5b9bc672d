"""The whole run, as one straight line of named steps."""

from xslim.pipeline.run import quantize_onnx_model

__all__ = ["quantize_onnx_model"]
