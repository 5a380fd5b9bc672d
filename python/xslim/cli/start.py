"""What happens between reading the options and the run itself."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xslim.config import Config


def import_run(config: Config) -> None:
    """Import what a run needs, and keep the garbage collector from looking through it again and again.

    Modules live until the process ends. Each full collection would walk 200,000 of their objects, which on
    small models is a tenth of the time that a run takes.
    """
    if gc.get_freeze_count():
        _import_level(config)
        return
    gc.disable()
    _import_level(config)
    gc.freeze()
    gc.enable()


def _import_level(config: Config) -> None:
    from xslim.pipeline.run import load_level

    load_level(config.quantization_parameters.precision_level)
