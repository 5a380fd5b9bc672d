"""Paragraphs of Markdown pages as queries and passages, and how often the right passage is found."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")
SENTENCE = re.compile(r"(?<=[a-z)`][.:]) (?=[A-Z`])")
FEWEST_WORDS = (5, 12)


def pairs(folder: Path) -> list[tuple[str, str]]:
    """Return the first sentence and the rest of every paragraph of the English pages of a folder."""
    found = []
    for page in sorted(folder.glob("*.md")):
        if page.stem.endswith("_zh"):
            continue
        text = LINK.sub(r"\1", FENCE.sub("", page.read_text("utf-8")))
        for paragraph in text.split("\n\n"):
            if paragraph.lstrip().startswith(("#", "|", "-", "1.")):
                continue
            first, *rest = SENTENCE.split(" ".join(paragraph.split()), maxsplit=1)
            parts = (first, *rest)
            if len(parts) == 2 and all(
                len(part.split()) >= least for part, least in zip(parts, FEWEST_WORDS, strict=True)
            ):
                found.append((parts[0].replace("`", ""), parts[1].replace("`", "")))
    return found


def embedding(states: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return the mean of the states (rows, tokens, width) over the tokens that count, with length 1."""
    weights = mask[..., None].astype(states.dtype)
    mean = (states * weights).sum(axis=1) / np.maximum(weights.sum(axis=1), 1)
    return mean / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-12)


def ranks(queries: np.ndarray, passages: np.ndarray) -> np.ndarray:
    """Return for each query how many passages are nearer than its own, which has the same place."""
    nearness = queries @ passages.T
    return (nearness > np.diagonal(nearness)[:, None]).sum(axis=1)


def found_within(places: np.ndarray, counts: Sequence[int]) -> list[float]:
    """Return the share of the queries whose passage is among the first 1, 5, ..."""
    return [float((places < count).mean()) for count in counts]
