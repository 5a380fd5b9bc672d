"""Hints for users who give a model file of another format."""

from __future__ import annotations

from pathlib import Path

_EXPORTS = {
    (".pt", ".pth", ".ckpt", ".bin", ".safetensors"): "torch.onnx.export(model, example_input, 'model.onnx')",
    (".h5", ".keras", ".pb"): "python -m tf2onnx.convert --saved-model FOLDER --output model.onnx",
    (".tflite",): "python -m tf2onnx.convert --tflite model.tflite --output model.onnx",
    (".pdmodel", ".pdiparams"): "paddle2onnx --model_dir FOLDER --save_file model.onnx",
}
"""The file endings of other formats, each with the command that exports such a model to ONNX."""


def is_foreign(path: Path) -> bool:
    """Whether the file ending belongs to another format."""
    return _export(path) is not None


def foreign_hint(path: Path) -> str:
    """Return a hint, chosen by the file ending, how to convert a file that is not ONNX."""
    if path.suffix.lower() == ".json":
        return "give a configuration with -c"
    command = _export(path)
    if command is None:
        return "a Git LFS pointer or another format?"
    return f"export the model to ONNX first, for example: {command}"


def _export(path: Path) -> str | None:
    found = (command for endings, command in _EXPORTS.items() if path.suffix.lower() in endings)
    return next(found, None)
