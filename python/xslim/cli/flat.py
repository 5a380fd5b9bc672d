"""The flat options, compatible with XSlim 2: ``xslim -c config.json``, ``xslim -i model.onnx --fp16``."""

from __future__ import annotations

import argparse
import logging
from typing import TYPE_CHECKING

from xslim.cli.commands import COMMANDS
from xslim.cli.parser import SHELLS, WIDTH, Parser, add_common_arguments, names
from xslim.cli.start import import_run
from xslim.commands.text import say
from xslim.errors import ConfigError
from xslim.texts import spoken
from xslim.texts.columns import wrapped

USAGE = """xslim -c CONFIG [-i MODEL] [-o OUTPUT] [options]
       xslim -i MODEL [-o OUTPUT] [--dynq | --fp16] [options]"""

EXAMPLES = """examples:
  xslim -c resnet18.json                        static int8, as configured
  xslim -i resnet18.onnx -o out/ --dynq         dynamic int8, without data
  xslim -i resnet18.onnx -o half.onnx --fp16    half precision"""


if TYPE_CHECKING:
    from collections.abc import Sequence

    from xslim.export.proof import OutputComparison

logger = logging.getLogger(__name__)


def make_parser() -> argparse.ArgumentParser:
    """Return the parser; its help fits a screen of 80 columns and 24 lines."""
    heading = f"{spoken('commands')} (xslim help; xslim COMMAND --help)"
    commands = "\n".join(wrapped(f"{heading}: {', '.join(COMMANDS)}", WIDTH, "  "))
    parser = Parser(prog="xslim", usage=spoken(USAGE), epilog=f"{commands}\n{spoken(EXAMPLES)}")
    parser.add_argument("-c", "--config", metavar="FILE", help="JSON configuration")
    parser.add_argument("-i", "--input_path", metavar="FILE", help="ONNX model, instead of the config's")
    parser.add_argument("-o", "--output_path", metavar="PATH", help="output file (.onnx) or folder")
    level = parser.add_mutually_exclusive_group()
    level.add_argument(
        "--dynq", dest="precision_level", action="store_const", const="DYNAMIC", help="quantise dynamically"
    )
    level.add_argument(
        "--fp16", dest="precision_level", action="store_const", const="HALF", help="convert to half precision"
    )
    parser.add_argument("--opset", type=int, metavar="N", help="opset version of the output")
    parser.add_argument("--no-functions", action="store_true", help="keep plain operators only")
    parser.add_argument(
        "--unchecked",
        action="store_true",
        help="only warn where the preparation changes results",
    )
    parser.add_argument(
        "--ignore_op_types", type=names, default=[], metavar="A,B", help="operator types to keep in float"
    )
    parser.add_argument(
        "--ignore_op_names", type=names, default=[], metavar="A,B", help="names of nodes to keep in float"
    )
    parser.add_argument(
        "--fail-below", type=float, metavar="DB", help="exit with 1 if an output is below DB of SQNR"
    )
    add_common_arguments(parser, "this help; or --version, --lang, --print-completion")
    parser.add_argument("--version", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--print-completion", metavar="SHELL", choices=SHELLS, help=argparse.SUPPRESS)
    return parser


def run(options: argparse.Namespace) -> int:
    """Quantise as the options say; they win over the config."""
    import xslim

    if options.version:
        say(f"xslim {xslim.__version__}")
        return 0
    if options.print_completion:
        from xslim.cli.completion import completion

        say(*completion(options.print_completion).split("\n"))
        return 0
    if options.config is None and options.input_path is None:
        raise ConfigError("nothing to do: give -c CONFIG or -i MODEL", hint="see xslim --help")
    from xslim.commands.quantize import report_language
    from xslim.config import PrecisionLevel, load_config

    name = options.precision_level
    if options.config is None and name is None:
        name = PrecisionLevel.SLIM.name
    config = load_config(
        {} if options.config is None else options.config,
        opset=options.opset,
        functions=False if options.no_functions else None,
        unchecked=True if options.unchecked else None,
        precision_level=None if name is None else PrecisionLevel[name],
        ignore_op_types=options.ignore_op_types,
        ignore_op_names=options.ignore_op_names,
        changes=report_language(options.lang),
    )
    if config.quantization_parameters.precision_level == PrecisionLevel.SLIM:
        _mention_slimming(options.output_path)
    from xslim.runtime import Isolated

    # The child process imports onnxruntime while this process imports the rest.
    with Isolated() as isolated:
        import_run(config)
        from xslim.pipeline.run import run as run_level

        finished, _ = run_level(config, options.input_path, options.output_path, isolated=isolated)
    return 0 if options.fail_below is None else _below(finished.comparison, options.fail_below)


def _below(comparison: Sequence[OutputComparison], wanted: float) -> int:
    """Return 1 if an output is below the wanted SQNR; the model is written all the same."""
    if not comparison:
        logger.warning("--fail-below: no output could be compared with the float model")
    below = [row for row in comparison if not row.sqnr_db >= wanted]
    for row in below:
        logger.warning("output %s is at %.2f dB, below the wanted %g dB", row.name, row.sqnr_db, wanted)
    return int(bool(below) or not comparison)


def _mention_slimming(output: str | None) -> None:
    """Warn if the name of the output promises a quantised model."""
    from xslim.config.suspicions import QUANTISED_SUFFIX

    if output is not None and output.endswith(QUANTISED_SUFFIX):
        logger.warning(
            "%s will not be quantised, only simplified: --dynq quantises without data, -c with data",
            output,
        )
