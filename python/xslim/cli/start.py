"""What happens between reading the options and the run itself."""

from __future__ import annotations

import gc
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xslim.config import Config

STATIC, WITHOUT_DATA = "xslim.pipeline.static", "xslim.pipeline.finish"


def import_run(config: Config) -> None:
    """Import what a run needs, and keep the garbage collector from looking through it again and again.

    Modules live until the process ends. Each full collection would walk 200,000 of their objects, which on
    small models is a tenth of the time that a run takes.
    """
    needed = STATIC if config.is_static else WITHOUT_DATA
    if gc.get_freeze_count():
        import_module(needed)
        return
    gc.disable()
    import_module(needed)
    gc.freeze()
    gc.enable()
