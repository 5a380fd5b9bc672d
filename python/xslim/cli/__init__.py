"""The command line: flat options as in XSlim 2, and sub-commands beside them."""

from __future__ import annotations

# Ctrl-C is understood once this file is read, so it imports nothing.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command ``xslim``.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments; by default those of the process, which then belongs to XSlim: an interrupt that nothing
        answers ends it.

    Returns
    -------
    int
        0 for success, 2 for bad input, 1 for an internal failure, 130 when interrupted.
    """
    try:
        # Imported here, so that Ctrl-C is understood from the first import on.
        from xslim.cli.program import run

        return run(argv)
    except KeyboardInterrupt:
        import sys

        print("xslim: interrupted", file=sys.stderr)
        return 130
