"""How many threads to use."""

from __future__ import annotations

import os

from xslim.errors import ConfigError


def thread_count() -> int:
    """Number of threads to use: ``XSLIM_THREADS``, else what the process may use of the machine.

    Raises
    ------
    ConfigError
        ``XSLIM_THREADS`` is not a positive whole number.
    """
    given = os.environ.get("XSLIM_THREADS")
    if given is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not given.isdecimal() or int(given) < 1:
        raise ConfigError(f"{given!r} is not a positive whole number", where="XSLIM_THREADS")
    return int(given)
