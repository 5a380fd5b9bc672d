"""Normalise a configuration: remove comments and blank fields, and replace older names of fields."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from xslim.errors import ConfigError

logger = logging.getLogger(__name__)

COMMENT_PREFIXES = ("_", "//")

OLDER_NAMES = {("model_parameters", "output_model_file_prefix"): "output_prefix"}
"""Older names of fields, as (section, name), with their present names."""


def as_documented(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration in its documented form.

    Keys that begin with ``_`` or ``//`` are comments. A field with the value ``""`` is left out, as in the
    template of XSlim 2. Older names of fields are replaced by the present ones.

    Parameters
    ----------
    raw : mapping
        The configuration as the user wrote it; it is not changed.

    Raises
    ------
    ConfigError
        A field is given under its older and its present name, with two values.
    """
    content: dict[str, Any] = _without_blanks(raw)
    for (section, old), new in OLDER_NAMES.items():
        fields = content.get(section)
        if not isinstance(fields, dict) or old not in fields:
            continue
        value = fields.pop(old)
        if fields.setdefault(new, value) != value:
            raise ConfigError(
                f"{section}.{old} is the older name of {new}, which has another value", hint=f"keep {new}"
            )
        logger.warning("%s.%s is the older name of %s.%s", section, old, section, new)
    return content


def _without_blanks(value: Any) -> Any:
    """Copy a value without comment keys and without fields and list items that are empty strings."""
    if isinstance(value, Mapping):
        return {
            key: _without_blanks(item)
            for key, item in value.items()
            if not _is_blank(item) and not (isinstance(key, str) and key.startswith(COMMENT_PREFIXES))
        }
    if isinstance(value, (list, tuple)):
        is_text = all(isinstance(item, str) for item in value)
        return [_without_blanks(item) for item in value if not (is_text and _is_blank(item))]
    return value


def _is_blank(value: object) -> bool:
    return isinstance(value, str) and not value.strip()
