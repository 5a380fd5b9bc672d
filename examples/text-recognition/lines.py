"""Lines of text as pictures, as the input of PP-OCR, and read back from its output."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import onnx

HEIGHT, WIDTH = 48, 320
FONTS = (
    cv2.FONT_HERSHEY_SIMPLEX,
    cv2.FONT_HERSHEY_DUPLEX,
    cv2.FONT_HERSHEY_COMPLEX,
    cv2.FONT_HERSHEY_TRIPLEX,
)
TEXT = (
    "board camera invoice total paid ship order number street river north quantum signal window driver paper "
    "garden kernel market engine station update version credit account metal orange winter battery harbour"
)
WORDS = TEXT.split()
BLANK = 0


def texts(count: int, seed: int) -> list[str]:
    """Return lines of one to three words and numbers."""
    generator = np.random.default_rng(seed)

    def word() -> str:
        if generator.random() < 0.25:
            return f"{generator.integers(0, 10**5)}"
        found = str(generator.choice(WORDS))
        return (found, found.title(), found.upper())[int(generator.integers(0, 3))]

    return [" ".join(word() for _ in range(generator.integers(1, 4))) for _ in range(count)]


def drawn(rows: Sequence[str], seed: int) -> Iterator[np.ndarray]:
    """Draw each line in one of four fonts, with its own contrast, blur and noise, as a BGR picture."""
    generator = np.random.default_rng(seed)
    for text in rows:
        font, scale = FONTS[int(generator.integers(0, len(FONTS)))], float(generator.uniform(0.7, 1.4))
        (width, height), below = cv2.getTextSize(text, font, scale, 2)
        paper, ink = int(generator.integers(150, 256)), int(generator.integers(0, 90))
        picture = np.full((height + below + 12, width + 20, 3), paper, np.uint8)
        cv2.putText(picture, text, (10, height + 6), font, scale, (ink,) * 3, int(generator.integers(1, 3)))
        picture = cv2.GaussianBlur(picture, (0, 0), float(generator.uniform(0.3, 1.2)))
        noise = generator.normal(0, generator.uniform(2, 14), picture.shape)
        yield np.clip(picture + noise, 0, 255).astype(np.uint8)


def model_input(picture: np.ndarray) -> np.ndarray:
    """Return a picture as the model wants it: 48 high, values from -1 to 1, zeros to the right."""
    width = min(WIDTH, max(1, round(HEIGHT * picture.shape[1] / picture.shape[0])))
    resized = cv2.resize(picture, (width, HEIGHT)).astype(np.float32)
    found = np.zeros((3, HEIGHT, WIDTH), np.float32)
    found[:, :, :width] = (resized.transpose(2, 0, 1) / 255 - 0.5) / 0.5
    return found


def characters(model: Path) -> list[str]:
    """Return the characters of the model's classes, which PP-OCR models carry; class 0 is the blank."""
    stored = {item.key: item.value for item in onnx.load(model, load_external_data=False).metadata_props}
    if "character" not in stored:
        raise SystemExit(f"{model} does not carry its characters: take a recogniser of PP-OCR from rapidocr")
    return ["", *stored["character"].splitlines(), " "]


def read(scores: np.ndarray, known: Sequence[str]) -> str:
    """Return the text of scores (steps, classes): the best class of each step without repeats and blanks."""
    best = scores.argmax(axis=1)
    kept = [
        kind for place, kind in enumerate(best) if kind != BLANK and (not place or kind != best[place - 1])
    ]
    return "".join(known[kind] for kind in kept).strip()


def edits(first: str, second: str) -> int:
    """Return the fewest insertions, deletions and replacements that turn one text into the other."""
    row = list(range(len(second) + 1))
    for i, one in enumerate(first, start=1):
        previous, row[0] = row[0], i
        for j, other in enumerate(second, start=1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (one != other))
    return row[-1]
