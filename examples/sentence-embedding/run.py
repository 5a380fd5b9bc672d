"""Quantise a sentence encoder and search with it before and after.

pip install tokenizers
python examples/sentence-embedding/run.py MODEL TOKENIZER

MODEL is all-MiniLM-L6-v2 as ONNX, TOKENIZER its tokenizer.json. The queries are the first sentences
of the paragraphs of XSlim's documentation, the passages what follows them.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import numpy as np
import onnxruntime as ort
from retrieval import embedding, found_within, pairs, ranks
from tokenizers import Tokenizer

import xslim

HERE = Path(__file__).resolve().parent
DOCUMENTS = HERE.parents[1] / "docs"
TOKENS, CALIBRATION = 128, 32


class Texts:
    """Texts as the inputs of an encoder."""

    def __init__(self, tokenizer: Path, names: list[str]) -> None:
        self.tokenizer, self.names = Tokenizer.from_file(str(tokenizer)), names
        self.tokenizer.enable_truncation(TOKENS)
        self.tokenizer.enable_padding(length=TOKENS)

    def inputs(self, text: str) -> dict[str, np.ndarray]:
        """Return one row for each input of the encoder."""
        return {name: row for name, row in self.parts(text).items() if name in self.names}

    def parts(self, text: str) -> dict[str, np.ndarray]:
        """Return everything that the tokenizer makes of a text."""
        found = self.tokenizer.encode(text)
        rows = {
            "input_ids": found.ids,
            "attention_mask": found.attention_mask,
            "token_type_ids": found.type_ids,
        }
        return {name: np.array([row], np.int64) for name, row in rows.items()}


def embeddings(session: ort.InferenceSession, texts: Texts, rows: list[str]) -> np.ndarray:
    """Return one vector for each text."""
    found = []
    for row in rows:
        states = session.run(None, texts.inputs(row))[0]
        found.append(embedding(states, texts.parts(row)["attention_mask"]))
    return np.concatenate(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("tokenizer", type=Path)
    parser.add_argument("--documents", type=Path, default=DOCUMENTS, help="folder of Markdown pages")
    parser.add_argument("--level", type=int, default=2, help="precision_level (default 2)")
    parser.add_argument("--output", type=Path, default=HERE / "output" / "encoder.q.onnx")
    options = parser.parse_args()

    rows = pairs(options.documents)
    random.Random(0).shuffle(rows)
    calibration, measured = rows[:CALIBRATION], rows[CALIBRATION:]
    if not measured:
        raise SystemExit(
            f"{options.documents} has {len(rows)} paragraphs: more than {CALIBRATION} are needed"
        )
    session = ort.InferenceSession(options.model, providers=["CPUExecutionProvider"])
    texts = Texts(options.tokenizer, [item.name for item in session.get_inputs()])
    # Queries calibrate as well: short texts have other ranges than long ones.
    samples = [texts.inputs(text) for row in calibration for text in row]
    xslim.quantize(options.model, samples, output=options.output, precision_level=options.level)

    found = []
    for model in (options.model, options.output):
        session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
        found.append([embeddings(session, texts, list(column)) for column in zip(*measured, strict=True)])
    before, after = (ranks(*pair) for pair in found)
    print(f"{f'{len(measured)} queries':<28}{'float':>10}{'int8':>10}")
    shares = zip(
        ("found first", "found among 5"), *(found_within(row, (1, 5)) for row in (before, after)), strict=True
    )
    for name, one, other in shares:
        print(f"{name:<28}{one:>10.2%}{other:>10.2%}")
    cosine = float((found[0][1] * found[1][1]).sum(axis=1).mean())
    print(f"{'cosine with float':<28}{'':>10}{cosine:>10.4f}")
    print(
        f"{'file size':<28}"
        + "".join(f"{m.stat().st_size / 1e6:>7.1f} MB" for m in (options.model, options.output))
    )


if __name__ == "__main__":
    main()
