"""``xslim quantize``: the run of ``xslim -c``, optionally from sketches that were collected before."""

from __future__ import annotations

from collections.abc import Sequence

from xslim.pipeline.run import quantize


def run(config: str, sketch: Sequence[str], input_path: str | None, output_path: str | None) -> int:
    """Quantise a model, from sketches if some are given."""
    quantize(config, input_path, output_path, sketch_files=sketch)
    return 0
