"""The command line: flat options as in XSlim 2, and sub-commands beside them."""

from xslim.cli.main import main

__all__ = ["main"]
