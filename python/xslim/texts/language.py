"""The language of the reader: chosen by option or configuration, or else by the locale."""

from __future__ import annotations

import locale
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from xslim.texts.catalogue import CHINESE, ENGLISH, Catalogue, catalogue

LOCALES = ("LC_ALL", "LC_MESSAGES", "LANG")
"""Environment variables that name the locale, the strongest first."""
PREFERRED = "LANGUAGE"
"""The environment variable that lists languages; as in gettext, it wins unless the locale is C."""
NO_LOCALE = ("C", "POSIX")
NAMES = ("zh", "chinese")
"""How the name of a Chinese locale begins; Windows writes the language in full."""

_chosen: ContextVar[str | None] = ContextVar("chosen", default=None)
_spoken: ContextVar[str] = ContextVar("spoken", default=ENGLISH)


def language_of(chosen: str | None = None) -> str:
    """Return the language that is chosen, or else that of the command, of the locale, or English."""
    named = chosen or _chosen.get()
    return named if named is not None else CHINESE if _locale().lower().startswith(NAMES) else ENGLISH


def _locale() -> str:
    named = next((value for name in LOCALES if (value := os.environ.get(name))), "")
    if named.split(".")[0] in NO_LOCALE:
        return ""
    return os.environ.get(PREFERRED) or named or locale.getlocale()[0] or ""


@contextmanager
def speaking(language: str, messages: str | None = None) -> Iterator[None]:
    """Set the language of reports, and that of `spoken` if it is another one, while the context is open."""
    tokens = _chosen.set(language), _spoken.set(messages or language)
    try:
        yield
    finally:
        _chosen.reset(tokens[0])
        _spoken.reset(tokens[1])


def message_catalogue() -> Catalogue:
    """Return the catalogue of messages, for threads that do not know the context."""
    return catalogue(_spoken.get())


def spoken(text: str) -> str:
    """Return an English text in the language of messages; in English if no command is running."""
    return message_catalogue().sentence(text)
