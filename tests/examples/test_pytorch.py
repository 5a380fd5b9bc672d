"""The PyTorch example: a module and its DataLoader to int8."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.examples.running import run


@pytest.mark.skipif(find_spec("torch") is None, reason="pip install torch")
def test_int8_is_nearly_as_good_as_float(tmp_path: Path) -> None:
    out = run("pytorch/run.py", "--output", tmp_path)
    rows = {line.split()[0]: line.split()[1] for line in out.splitlines()[-5:]}
    first, second = (float(rows[name].rstrip("%")) for name in ("first", "second"))
    assert first > 85
    assert second > first - 5
    assert (tmp_path / "digits.q.onnx").exists()
