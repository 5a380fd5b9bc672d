"""Texts in the language of their reader: English in the code, other languages in catalogues of TOML.

Code writes English sentences. Where a sentence reaches a reader (in the report, on a terminal, in the log or
the help), the catalogue of the reader's language says it. A text that the catalogue lacks stays English.
"""

from xslim.texts.catalogue import ENGLISH, LANGUAGES, Catalogue, Message, catalogue
from xslim.texts.language import language_of, message_catalogue, speaking, spoken

__all__ = [
    "ENGLISH",
    "LANGUAGES",
    "Catalogue",
    "Message",
    "catalogue",
    "language_of",
    "message_catalogue",
    "speaking",
    "spoken",
]
