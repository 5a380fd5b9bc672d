"""The command line: options without a sub-command, as in XSlim 2, and sub-commands."""

from __future__ import annotations

# Ctrl-C is handled only after this file is imported, so the file imports nothing else.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command ``xslim``.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments; by default those of the process. In that case XSlim may end the process if an interrupt
        is not answered in time.

    Returns
    -------
    int
        0 for success, 2 for bad input, 1 for an internal failure, 130 when interrupted.
    """
    try:
        # Imported here, so that Ctrl-C during the imports is handled.
        from xslim.cli.program import run

        return run(argv)
    except KeyboardInterrupt:
        import sys

        print("xslim: interrupted", file=sys.stderr)
        return 130
