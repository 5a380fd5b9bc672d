"""``python -m xslim``: the same as the command ``xslim``."""

from xslim.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
