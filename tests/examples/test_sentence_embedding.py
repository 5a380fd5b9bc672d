"""The retrieval example: its figures by hand, and the script on a small encoder."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests import models
from tests.examples.running import EXAMPLES, run

sys.path.insert(0, str(EXAMPLES / "sentence-embedding"))
import retrieval


def test_paragraphs_become_pairs(tmp_path: Path) -> None:
    rest = "It has [more](page.md) words than are needed for a passage that stands alone."
    code = f"```text\nA sentence that is only shown. {rest}\n```"
    text = f"# Title\n\nThe first sentence of `xslim` here. {rest}\n\nShort. {rest}\n\n{code}\n"
    (tmp_path / "a.md").write_text(text, "utf-8")
    (tmp_path / "a_zh.md").write_text(text, "utf-8")
    assert retrieval.pairs(tmp_path) == [
        ("The first sentence of xslim here.", rest.replace("[more](page.md)", "more"))
    ]


def test_the_mean_leaves_padding_out() -> None:
    states = np.array([[[3, 0], [0, 4], [9, 9]]], np.float32)
    np.testing.assert_allclose(retrieval.embedding(states, np.array([[1, 1, 0]])), [[0.6, 0.8]])


def test_ranks_count_nearer_passages() -> None:
    queries = np.array([[1, 0], [0, 1], [0.6, 0.8]])
    passages = np.array([[1, 0], [0.8, 0.6], [0, 1]])
    places = retrieval.ranks(queries, passages)
    assert places.tolist() == [0, 1, 1]
    assert retrieval.found_within(places, (1, 2)) == pytest.approx([1 / 3, 1])


def encoder(path: Path, words: int) -> Path:
    """Write word vectors and one matrix behind them."""
    weights = {"table": models.draw(0, words, 32), "w": models.draw(1, 32, 32)}
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["v"]),
        helper.make_node("MatMul", ["v", "w"], ["last_hidden_state"]),
    ]
    tokens = ["batch", "tokens"]
    made = models.model(
        nodes,
        {"input_ids": tokens},
        {"last_hidden_state": [*tokens, 32]},
        weights,
        input_type=TensorProto.INT64,
    )
    onnx.save(made, path)
    return path


def write_documents(folder: Path, count: int) -> list[str]:
    """Write paragraphs in which both sentences speak of the same things; return all texts."""
    generator = np.random.default_rng(0)
    folder.mkdir()
    rows = []
    for number in range(count):
        topic = [f"t{number}", f"u{number}", f"v{number}"]
        words = [topic * size + [f"w{word}" for word in generator.integers(0, 40, size)] for size in (1, 4)]
        rows.append(". ".join(" ".join(["The", *generator.permutation(part), "is"]) for part in words))
    (folder / "page.md").write_text("\n\n".join(rows), "utf-8")
    return rows


def test_the_script_searches_with_both_models(tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers", reason="pip install tokenizers")
    texts = write_documents(tmp_path / "pages", 62)
    words = {word: place for place, word in enumerate({word: 0 for text in texts for word in text.split()})}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[PAD]": len(words), **words}, "[PAD]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    model = encoder(tmp_path / "net.onnx", len(words) + 1)
    places = ["--documents", tmp_path / "pages", "--output", tmp_path / "int8.onnx"]
    out = run("sentence-embedding/run.py", model, tmp_path / "tokenizer.json", *places)
    rows = {line[:28].strip(): line.split()[-2:] for line in out.splitlines()}
    assert "30 queries" in rows
    assert float(rows["cosine with float"][1]) > 0.99
    before, after = (float(share.rstrip("%")) for share in rows["found among 5"])
    assert before > 80
    assert after == pytest.approx(before, abs=7)
