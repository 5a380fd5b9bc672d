"""How many threads to use."""

from __future__ import annotations

from xslim import kernels
from xslim.errors import ConfigError


def thread_count() -> int:
    """Return ``XSLIM_THREADS`` if it is set, else the number of processors that this process may use.

    Raises
    ------
    ConfigError
        ``XSLIM_THREADS`` is not a whole number from 1 to 1024.
    """
    try:
        return kernels.threads_wanted()
    except kernels.ArgumentError as error:
        raise ConfigError(str(error), where="XSLIM_THREADS") from None
