"""The sub-commands and their arguments; ``xslim NAME`` calls ``run`` of ``xslim.commands.NAME``.

The arguments stand here as data, so that the help needs none of the modules that do the work.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Argument:
    """The flags of an argument, or its name, and what `argparse` wants to know beside."""

    flags: tuple[str, ...]
    settings: dict[str, Any]


def _argument(*flags: str, **settings: Any) -> Argument:
    return Argument(flags, settings)


@dataclass(frozen=True)
class Command:
    """What a sub-command does, in a sentence, and its arguments: the parameters of its ``run``."""

    description: str
    arguments: tuple[Argument, ...]

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the arguments to a parser, in their order."""
        for argument in self.arguments:
            parser.add_argument(*argument.flags, **argument.settings)


MODEL = _argument("model", metavar="MODEL", help="ONNX model")
JSON = _argument("--json", dest="as_json", action="store_true", help="print JSON")
CONFIG = _argument("-c", "--config", metavar="FILE", required=True, help="JSON configuration")
INPUT = _argument("-i", "--input_path", metavar="FILE", help="ONNX model, instead of the config's")

BATCH = (
    _argument(
        "manifest", metavar="MANIFEST", help="TOML or JSON file with models, configurations and targets"
    ),
    _argument("-o", "--output", metavar="FOLDER", help="folder of the outputs, instead of the manifest's"),
    _argument("--jobs", metavar="N", type=int, help="models at a time (default: one for two processors)"),
    _argument("--memory", metavar="GB", type=float, help="memory that the process of a model may allocate"),
    _argument("--time-limit", metavar="MIN", type=float, help="minutes that a model may take"),
    _argument("--fresh", action="store_true", help="run models again although nothing has changed"),
    _argument("--dask", metavar="ADDRESS", help="scheduler of a dask cluster that runs the models"),
    JSON,
)
BOARD = (
    _argument("action", choices=("export", "compare", "profile"), help="what to do"),
    _argument(
        "path", metavar="PATH", help="export: the model; compare: the folder of dumps; profile: the file"
    ),
    _argument("--data", metavar="PATH", help="samples, as for compare; for compare also an exported folder"),
    _argument("--model", metavar="FILE", help="compare: the model that ran on the board"),
    _argument(
        "-o",
        "--output",
        metavar="PATH",
        help="export: the folder to write (default board); compare: an HTML page",
    ),
    _argument("--samples", metavar="N", type=int, default=2, help="export: at most N samples (default 2)"),
    _argument(
        "--threshold", metavar="DB", type=float, default=30.0, help="compare: wanted SQNR (default 30 dB)"
    ),
    JSON,
)
CHECK = (
    _argument("model", metavar="MODEL", help="ONNX model, quantised or not"),
    _argument(
        "--target", metavar="NAME", default="spacemit", help="spacemit (default), generic or a .toml file"
    ),
    JSON,
)
COLLECT = (
    CONFIG,
    _argument("--shard", metavar="I/N", default="1/1", help="the I-th of N parts (default 1/1)"),
    _argument("-o", "--output", metavar="FILE", required=True, help="sketch file to write"),
)
COMPARE = (
    _argument("first", metavar="A", help="reference model"),
    _argument("second", metavar="B", help="the other model"),
    _argument(
        "--data",
        metavar="PATH",
        help="configuration (.json), list file, folder or .npz; without it one random input",
    ),
    _argument(
        "--samples", metavar="N", type=int, help="at most N samples (default 16, with --labels all of them)"
    ),
    _argument(
        "--simulate", choices=("spacemit",), help="also run B with the float16 epilogue of the provider"
    ),
    _argument("--metric", metavar="FILE.py:FUNCTION", help="your own rating of a model, bigger is better"),
    _argument(
        "--labels",
        metavar="FILE",
        help="top-1 and top-5 of both models: a list of 'path label', or a folder with a folder per class",
    ),
    _argument(
        "--boxes",
        metavar="LAYOUT",
        help="F1 of a detector's boxes, those of A as the truth: auto, yolov8, yolov5, yolox or end2end",
    ),
    _argument("--fail-below", metavar="DB", type=float, help="exit with 1 if an output is below DB of SQNR"),
    _argument(
        "--fail-under",
        metavar="X",
        type=float,
        help="exit with 1 if B's metric, or else its top-1 or the F1 of its boxes (0 to 1), is below X",
    ),
    JSON,
)
INIT = (
    MODEL,
    _argument(
        "--data",
        metavar="PATH",
        action="append",
        default=[],
        help="folder or list of calibration files, .npz or .npy; INPUT=PATH for one of several inputs; "
        "may be repeated",
    ),
    _argument("-o", "--output", metavar="FILE", help="configuration to write (default MODEL's name .json)"),
)
PLAN = (
    CONFIG,
    INPUT,
    _argument("-o", "--output", metavar="FILE", help="JSON file (default: <prefix>_plan.json)"),
    _argument(
        "--json", dest="as_json", action="store_true", help="print JSON instead of writing it to a file"
    ),
)
QUANTIZE = (
    CONFIG,
    _argument(
        "--sketch", metavar="FILE", nargs="+", default=[], help="files of xslim collect: every shard once"
    ),
    INPUT,
    _argument("-o", "--output_path", metavar="PATH", help="output file (.onnx) or folder"),
)
TUNE = (
    CONFIG,
    INPUT,
    _argument("-o", "--output_path", metavar="PATH", help="output file (.onnx) or folder"),
    _argument("--min-sqnr", metavar="DB", type=float, help="SQNR that the worst output needs"),
    _argument("--min-cosine", metavar="X", type=float, help="cosine that the worst output needs"),
    _argument(
        "--min-agreement", metavar="X", type=float, help="share of samples whose top-1 answer stays, 0 to 1"
    ),
    _argument("--metric", metavar="FILE.py:FUNCTION", help="your own rating of a model, bigger is better"),
    _argument("--min", dest="least", metavar="X", type=float, help="value that the metric needs"),
    _argument(
        "--max-drop", metavar="X", type=float, help="how far the metric may fall below the float model"
    ),
    _argument("--time-limit", metavar="MIN", type=float, help="minutes after which no trial begins"),
    JSON,
)
REPORT = (
    _argument("action", choices=("diff",), help="what to do"),
    _argument("first", metavar="A", help="JSON report of the run before"),
    _argument("second", metavar="B", help="JSON report of the run after"),
    _argument("-o", "--output", metavar="FILE", help="also write it to FILE.html or FILE.md"),
    JSON,
)
SCHEMA = (_argument("-o", "--output", metavar="FILE", help="file to write, instead of printing"),)

COMMANDS = {
    "batch": Command("Quantise the models of a manifest, several at a time.", BATCH),
    "board": Command("Export test data for the board, and read its dumps and profiles.", BOARD),
    "check": Command("Show what a target's execution provider does with a model.", CHECK),
    "collect": Command("Calibrate on a part of the samples and keep the sketches.", COLLECT),
    "compare": Command("Compare the outputs of two models on the same samples.", COMPARE),
    "info": Command("Show inputs, outputs, operators, parameters and cost of a model.", (MODEL, JSON)),
    "init": Command("Look at a model and write a configuration to start from.", INIT),
    "plan": Command("Show what would become int8, and why, without running anything.", PLAN),
    "quantize": Command("Quantise as a configuration says, from collected sketches where given.", QUANTIZE),
    "report": Command("Compare the reports of two runs.", REPORT),
    "schema": Command("Print the JSON Schema of the configuration.", SCHEMA),
    "tune": Command("Search the cheapest model that is as accurate as you need.", TUNE),
}


def call(name: str, options: argparse.Namespace) -> int:
    """Run a sub-command with its own options; only now is its module imported."""
    from inspect import signature

    run = import_module(f"xslim.commands.{name}").run
    status: int = run(*(getattr(options, parameter) for parameter in signature(run).parameters))
    return status
