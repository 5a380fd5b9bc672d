"""What the documentation promises and this version does not do yet: refused, never ignored."""

from __future__ import annotations

from collections.abc import Callable

from xslim.config.model import Config
from xslim.errors import NotAvailableError

_Test = Callable[[Config], bool]

# Path of the field, what it asks for, whether the config asks for it.
_NOT_YET: tuple[tuple[str, str, _Test], ...] = (
    (
        "quantization_parameters.truncate_var_names",
        "truncate_var_names",
        lambda config: config.is_static and bool(config.quantization_parameters.truncate_var_names),
    ),
)


def refuse_unavailable(config: Config) -> None:
    """Refuse a valid configuration that asks for something this version lacks.

    Raises
    ------
    NotAvailableError
        Names the first such field.
    """
    for where, feature, asks_for_it in _NOT_YET:
        if asks_for_it(config):
            raise NotAvailableError(f"{feature} is not available yet", where=where)
