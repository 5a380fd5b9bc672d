"""``xslim quantize``: the run of ``xslim -c``, optionally from sketches that were collected before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from xslim.config import load_config
from xslim.pipeline.run import quantize


def run(
    config: str, sketch: Sequence[str], input_path: str | None, output_path: str | None, lang: str | None
) -> int:
    """Quantise a model, from sketches if some are given."""
    loaded = load_config(config, changes=report_language(lang))
    quantize(loaded, input_path, output_path, sketch_files=sketch)
    return 0


def report_language(lang: str | None) -> Mapping[str, Mapping[str, Any]]:
    """Return the change of a configuration that chooses the language of the report; none without one."""
    return {} if lang is None else {"quantization_parameters": {"report_language": lang}}
