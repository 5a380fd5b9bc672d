"""The texts of the report in the language of its reader; English is the key, and the fallback."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ENGLISH, CHINESE = "en", "zh"
LANGUAGES = (ENGLISH, CHINESE)
LOCALES = ("LC_ALL", "LC_MESSAGES", "LANG")
"""Environment variables that name the language, the strongest first."""


@dataclass(frozen=True)
class Message:
    """A sentence with values, which a catalogue says in its language.

    Attributes
    ----------
    key : str
        The English sentence, with ``{name}`` for every value.
    values : mapping of str to object
        The values; messages among them are translated as well.
    """

    key: str
    values: Mapping[str, object] = field(default_factory=dict)

    def __str__(self) -> str:
        """Return the sentence in English."""
        return self.key.format(**self.values)


@dataclass(frozen=True)
class Catalogue:
    """Texts of one language by their English ones."""

    language: str
    texts: Mapping[str, str]

    def __call__(self, key: str | Message, **values: object) -> str:
        """Return a text with its values; one that the catalogue does not have stays English."""
        if isinstance(key, Message):
            return self(key.key, **key.values)
        text = self.texts.get(key, key)
        if not values:
            return text
        return text.format(**{name: self._value(value) for name, value in values.items()})

    def _value(self, value: object) -> object:
        return self(value) if isinstance(value, Message) else value


def catalogue(language: str) -> Catalogue:
    """Return the texts of a language, ``en`` or ``zh``."""
    return Catalogue(language, _texts(language))


@cache
def _texts(language: str) -> Mapping[str, str]:
    if language == ENGLISH:
        return {}
    file = resources.files(__package__ or "xslim.analysis").joinpath("templates").joinpath(f"{language}.toml")
    texts: dict[str, str] = tomllib.loads(file.read_text("utf-8"))
    return texts


def language_of(chosen: str | None) -> str:
    """Return the language that is chosen, or else that of the locale, or else English."""
    if chosen is not None:
        return chosen
    locale = next((value for name in LOCALES if (value := os.environ.get(name))), "")
    return CHINESE if locale.lower().startswith(CHINESE) else ENGLISH
