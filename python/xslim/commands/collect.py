"""``xslim collect``: calibrate on a part of the samples and store the sketches.

The stored sketches of all parts together equal those of an undivided run.
"""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from pathlib import Path

from xslim.calibration.observe import observe
from xslim.config import ConfigSource, load_config
from xslim.errors import ConfigError
from xslim.pipeline.calibrate import calibration_settings, further_masks, start_static
from xslim.pipeline.cut import FirstPart
from xslim.pipeline.paths import model_source
from xslim.pipeline.prepare import prepare_model
from xslim.pipeline.protect import load_protected
from xslim.pipeline.run import require_static
from xslim.runtime import Isolated

logger = logging.getLogger(__name__)

SHARD = re.compile(r"([1-9]\d*)/([1-9]\d*)")


def run(config: str, shard: str, output: str) -> int:
    """Collect one shard."""
    collect_shard(config, parse_shard(shard), output)
    return 0


def collect_shard(config_or_path: ConfigSource, shard: tuple[int, int], output: str | Path) -> Path:
    """Observe one shard of the calibration samples and write its sketches.

    Parameters
    ----------
    config_or_path : dict, str, Path or Config
        The configuration of the whole run.
    shard : pair of int
        ``(index, count)`` with the index from 0; every `count`-th sample is observed.
    output : str or Path
        The sketch file. An interrupted run leaves a checkpoint in it, from which the next run continues.

    Returns
    -------
    Path
        The file that was written.

    Raises
    ------
    XSlimError
        Bad input, or a file that cannot be written.
    """
    config, path = load_config(config_or_path), Path(output)
    require_static(config)
    with Isolated() as isolated:
        loaded = load_protected(config, model_source(config, None), [path])
        model = FirstPart.of(prepare_model(loaded, config), config).model
        masks: frozenset[str] = frozenset()
        further = True
        while further:
            start = start_static(model, config, masks, isolated)
            settings = replace(calibration_settings(config), store=path, shard=shard, masks=masks)
            stored = observe(
                start.candidate.model,
                start.candidate.plan.observed,
                start.data,
                settings,
                exposed=start.exposed,
            )
            found = further_masks(stored.sketches)
            further, masks = bool(found - masks), masks | found
    logger.info("wrote %s", path)
    return path


def parse_shard(text: str) -> tuple[int, int]:
    """Parse ``I/N``, counted from 1, into ``(index, count)``, counted from 0.

    Raises
    ------
    ConfigError
        The text has another form, or I exceeds N.
    """
    match = SHARD.fullmatch(text)
    if match is None or int(match[1]) > int(match[2]):
        raise ConfigError(f"{text!r} is not I/N with I from 1 to N", where="--shard", hint="such as 2/4")
    return int(match[1]) - 1, int(match[2])
