"""Texts for a trial run: those that the model knows, or digits, which become numbers as well."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

DIGITS = ("0", "1")
MOST_WORDS = 256


def known_texts(model: ir.Model) -> Sequence[str]:
    """The words in the attributes of a model's operators, such as the keys of a LabelEncoder."""
    words = [
        word
        for node in model.graph
        for attribute in node.attributes.values()
        if attribute.type == ir.AttributeType.STRINGS
        for word in attribute.as_strings()[:MOST_WORDS]
    ]
    return list(dict.fromkeys(words))[:MOST_WORDS] or DIGITS


def draw_texts(
    words: Sequence[str], shape: Sequence[int], random: np.random.Generator
) -> NDArray[np.object_]:
    """An array of texts, each one of the words."""
    return np.array(words, object)[random.integers(0, len(words), shape)]
