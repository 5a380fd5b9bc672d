"""Quantise a voice activity detector dynamically and compare its answers before and after.

python examples/voice-activity/run.py MODEL RECORDING.wav [RECORDING.wav ...]

MODEL is a Silero VAD as ONNX. The recordings are mono, 16 bits, 16 kHz.
"""

from __future__ import annotations

import argparse
import wave
from pathlib import Path

import numpy as np
import onnxruntime as ort

import xslim

HERE = Path(__file__).resolve().parent
RATE, WINDOW, CONTEXT = 16_000, 512, 64
STATES = {"state": "stateN", "h": "hn", "c": "cn"}
"""Each input that holds a state, with the output that holds the next state."""


def read(path: Path) -> np.ndarray:
    """Return the samples of a recording, -1 to 1."""
    with wave.open(str(path)) as file:
        if (file.getnchannels(), file.getsampwidth(), file.getframerate()) != (1, 2, RATE):
            raise SystemExit(f"{path} must be mono, 16 bits, {RATE} Hz")
        data = file.readframes(file.getnframes())
    return np.frombuffer(data, "<i2").astype(np.float32) / 32_768


def windows(samples: np.ndarray) -> np.ndarray:
    """Return windows of 32 ms, each behind the last 4 ms of the window before: (count, 576)."""
    whole = samples[: len(samples) // WINDOW * WINDOW].reshape(-1, WINDOW)
    before = np.concatenate([np.zeros((1, CONTEXT), np.float32), whole[:-1, -CONTEXT:]])
    return np.concatenate([before, whole], axis=1)


def speech(model: Path, samples: np.ndarray) -> np.ndarray:
    """Return the probability of speech in each window; the states go from one window to the next."""
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    inputs = {item.name: item for item in session.get_inputs()}
    outputs = [item.name for item in session.get_outputs()]
    fed = {
        name: np.zeros([size if isinstance(size, int) else 1 for size in inputs[name].shape], np.float32)
        for name in STATES
        if name in inputs
    }
    if "sr" in inputs:
        fed["sr"] = np.array(RATE, np.int64)
    found = []
    for window in windows(samples):
        answer = dict(zip(outputs, session.run(None, {**fed, "input": window[None]}), strict=True))
        fed |= {name: answer[STATES[name]] for name in fed if name in STATES}
        found.append(float(answer[outputs[0]].ravel()[0]))
    return np.array(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("recordings", type=Path, nargs="+")
    parser.add_argument("--output", type=Path, default=HERE / "output" / "voice.q.onnx")
    options = parser.parse_args()

    recordings = [read(path) for path in options.recordings]
    options.output.parent.mkdir(parents=True, exist_ok=True)
    xslim.quantize(options.model, output=options.output, precision_level=3)
    before, after = (
        np.concatenate([speech(model, samples) for samples in recordings])
        for model in (options.model, options.output)
    )
    print(f"{f'{len(before)} windows':<28}{'float':>10}{'int8':>10}")
    print(f"{'speech':<28}{(before > 0.5).mean():>10.2%}{(after > 0.5).mean():>10.2%}")
    print(f"{'same answer as float':<28}{'':>10}{((before > 0.5) == (after > 0.5)).mean():>10.2%}")
    print(f"{'largest difference':<28}{'':>10}{np.abs(before - after).max():>10.3f}")
    sizes = (f"{model.stat().st_size / 1e3:.0f} kB" for model in (options.model, options.output))
    print(f"{'file size':<28}" + "".join(f"{size:>10}" for size in sizes))


if __name__ == "__main__":
    main()
