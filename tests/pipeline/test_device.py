"""Without a CUDA provider, a run that wants CUDA says so once, and is as fast as one on the CPU."""

from __future__ import annotations

import logging
import threading

import onnxruntime
import pytest

import xslim
from tests import models
from tests.library.test_data import images

pytestmark = pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="there is a CUDA provider"
)


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_the_notice_appears_once(device: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "xslim"):
        xslim.quantize(models.conv_net("n"), images(24), calibration_device=device)
    assert sum("using the CPU" in record.message for record in caplog.records) == 1


def test_several_samples_run_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XSLIM_THREADS", "2")
    seen: set[str] = set()
    run = onnxruntime.InferenceSession.run

    def noted(*given: object) -> object:
        seen.add(threading.current_thread().name)
        return run(*given)

    monkeypatch.setattr(onnxruntime.InferenceSession, "run", noted)
    results = {}
    for device in ("cuda", "cpu"):
        seen.clear()
        made = xslim.quantize(
            models.conv_net("n"), images(64), calibration_device=device, finetune_level=0
        ).model
        results[device] = made.SerializeToString()
        assert sum(name.startswith("xslim-calibration") for name in seen) == 2
    assert results["cuda"] == results["cpu"]
