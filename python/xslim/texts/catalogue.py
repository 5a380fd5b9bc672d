"""The catalogue of a language: English texts and what they are in that language."""

from __future__ import annotations

import re
import string
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property

from xslim.errors import ConfigError

FEWEST_LETTERS = 4
"""A text with values is recognised by its own letters only if there are as many."""
ENGLISH, CHINESE = "en", "zh"
LANGUAGES = (ENGLISH, CHINESE)


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

    def sentence(self, text: str) -> str:
        """Return an English sentence, its values filled in already, in the language.

        A value is translated too if it is a sentence of several words; single words may be names of files or
        tensors. A sentence that the catalogue does not have stays English.
        """
        whole = self.texts.get(text)
        if whole is not None and "{" not in whole:
            return whole
        for pattern in self._patterns:
            values = pattern.values(text)
            if values is not None:
                said = {name: self.sentence(v) if " " in v.strip() else v for name, v in values.items()}
                return self.texts[pattern.key].format(**said)
        return text

    @cached_property
    def _patterns(self) -> tuple[_Pattern, ...]:
        """The texts with values, the most specific first."""
        patterns = (_Pattern(key) for key, text in self.texts.items() if "{" in text or "{" in key)
        told = (pattern for pattern in patterns if pattern.letters >= FEWEST_LETTERS)
        return tuple(sorted(told, key=lambda pattern: -pattern.letters))


@dataclass(frozen=True)
class _Pattern:
    """A text of the catalogue that recognises the sentences made from it."""

    key: str

    @cached_property
    def _parts(self) -> tuple[tuple[str, str | None], ...]:
        return tuple((literal, name) for literal, name, _, _ in string.Formatter().parse(self.key))

    @cached_property
    def letters(self) -> int:
        """Number of letters that are the same in all sentences."""
        return sum(map(str.isalpha, "".join(literal for literal, _ in self._parts)))

    @cached_property
    def _expression(self) -> re.Pattern[str]:
        return re.compile("".join(self._pieces()), re.DOTALL)

    def _pieces(self) -> Iterator[str]:
        for literal, name in self._parts:
            yield re.escape(literal)
            if name is not None:
                yield f"(?P<{name}>.*?)"

    def values(self, text: str) -> dict[str, str] | None:
        """Return the values of a sentence that is made from the text; None if it is another sentence."""
        # The comparison of substrings spares compiling and running nearly all expressions.
        if not all(literal in text for literal, _ in self._parts):
            return None
        found = self._expression.fullmatch(text)
        return None if found is None else found.groupdict()


@cache
def catalogue(language: str) -> Catalogue:
    """Return the texts of a language, ``en`` or ``zh``.

    Raises
    ------
    ConfigError
        There is no such language.
    """
    if language not in LANGUAGES:
        raise ConfigError(f"unknown language {language!r}", hint=f"known are {' and '.join(LANGUAGES)}")
    return Catalogue(language, _texts(language))


def _texts(language: str) -> Mapping[str, str]:
    if language == ENGLISH:
        return {}
    # English needs none of these modules, which take a tenth of the start.
    from importlib import resources

    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    texts: dict[str, str] = {}
    folder = resources.files("xslim.texts").joinpath(language)
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        texts |= tomllib.loads(file.read_text("utf-8"))
    return texts
