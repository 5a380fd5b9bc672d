"""A metric of the user: a function that runs a model and returns a number, bigger is better."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xslim.calibration.arrays import as_array
from xslim.calibration.preprocess import load_user_function
from xslim.errors import ConfigError, CrashError, DataError, ModelError, XSlimError
from xslim.runtime import Runs

Run = Callable[[Mapping[str, NDArray[np.generic]]], dict[str, NDArray[np.generic]]]
"""Runs a model: arrays by input name in, arrays by output name out."""

Metric = Callable[[Run], float]
"""Rates a model that it can run as often as it likes."""


def load_metric(reference: str) -> Metric:
    """Load ``"path/to/file.py:function"``.

    Raises
    ------
    ConfigError
        The reference has another form.
    DataError
        The file is missing, importing it fails, or it does not define the function.
    """
    file, separator, name = reference.rpartition(":")
    if not (separator and file.endswith(".py") and name.isidentifier()):
        raise ConfigError(
            f'must be "path/to/file.py:function", got {reference!r}',
            where="--metric",
            hint="the function gets run(feeds), and returns a number; bigger is better",
        )
    metric: Metric = load_user_function(Path(file), name, f"--metric {file}")
    return metric


def measured(metric: Metric, session: Runs) -> float:
    """Return what a metric says about the model of a session.

    Raises
    ------
    DataError
        The metric raised an exception, or did not return a finite number. Errors of the model itself pass.
    """

    def run(feeds: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
        arrays = {name: as_array(value) for name, value in feeds.items()}
        return dict(zip(session.outputs, session.run(arrays), strict=True))

    where = f"metric {getattr(metric, '__qualname__', type(metric).__name__)}"
    try:
        value = float(metric(run))
    except CrashError:
        raise
    except ModelError as error:
        raise DataError(
            f"the metric cannot run the model: {error.what}",
            where=where,
            hint="feed the inputs by name, in their types and shapes; xslim info shows them",
        ) from error
    except XSlimError:
        raise
    except (Exception, SystemExit) as error:
        raise DataError(
            f"the metric raised {type(error).__name__}: {error}",
            where=where,
            hint="a metric is called with a function run(feeds) and returns a number",
        ) from error
    if not math.isfinite(value):
        raise DataError(f"the metric returned {value}", where=where, hint="return a finite number")
    return value
