"""``xslim quantize``: the run of ``xslim -c``, optionally from sketches that were collected before."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the configuration, the sketch files and the paths."""
    parser.add_argument("-c", "--config", metavar="FILE", required=True, help="JSON configuration")
    parser.add_argument(
        "--sketch", metavar="FILE", nargs="+", default=[], help="files of xslim collect: every shard once"
    )
    parser.add_argument("-i", "--input_path", metavar="FILE", help="ONNX model, instead of the config's")
    parser.add_argument("-o", "--output_path", metavar="PATH", help="output file (.onnx) or folder")


def run(options: argparse.Namespace) -> int:
    """Quantise, from sketches where some are given."""
    from xslim.pipeline.run import quantize

    quantize(options.config, options.input_path, options.output_path, sketch_files=options.sketch)
    return 0
