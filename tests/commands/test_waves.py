"""The preprocessing that ``xslim init`` writes for .wav files gives the waveform that the file holds."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

from xslim.commands.starting import waves


def write(path: Path, samples: np.ndarray, width: int, rate: int = 16000) -> str:
    """Write samples from -1 to 1, one row for each moment and one column for each channel."""
    scaled = np.rint(np.clip(samples, -1, 1) * (2 ** (8 * width - 1) - 1)).astype("<i8")
    if width == 1:
        scaled = scaled + 128
    with wave.open(str(path), "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(scaled.reshape(-1, 1).view(np.uint8)[:, :width].tobytes())
    return str(path)


def tone(hertz: float, rate: int, seconds: float = 1.0) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate)[:, None]


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_every_width_of_integers(tmp_path: Path, width: int) -> None:
    samples = np.random.default_rng(0).uniform(-1, 1, (500, 1))
    read = waves.read(write(tmp_path / "a.wav", samples, width), 16000)
    assert read.dtype == np.float32
    np.testing.assert_allclose(read, samples[:, 0], atol=2.0 ** (2 - 8 * width) + 1e-7)


def test_channels_are_averaged(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).uniform(-1, 1, (300, 2))
    read = waves.read(write(tmp_path / "a.wav", samples, 2), 16000)
    np.testing.assert_allclose(read, samples.mean(axis=1), atol=1e-4)


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
def test_another_rate_keeps_the_pitch(tmp_path: Path, rate: int) -> None:
    read = waves.read(write(tmp_path / "a.wav", tone(440, rate), 2, rate), 16000)
    assert abs(len(read) - 16000) <= 1
    assert np.abs(np.fft.rfft(read)).argmax() == pytest.approx(440, abs=1)


def test_the_loudest_part_is_taken() -> None:
    waveform = np.zeros(1000, np.float32)
    waveform[600:700] = 1
    np.testing.assert_array_equal(waves.loudest(waveform, 100), np.ones(100))


def test_a_short_file_is_repeated() -> None:
    np.testing.assert_array_equal(waves.loudest(np.arange(3, dtype=np.float32), 7), [0, 1, 2, 0, 1, 2, 0])


@pytest.mark.parametrize("content", [b"", b"hello world, this is no sound at all"])
def test_what_is_no_sound_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(ValueError, match=r"no PCM \.wav file: .+"):
        waves.read(str(tmp_path / "a.wav"), 16000)


def test_the_shape_is_that_of_the_input(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{index}.wav", tone(100 * index, 16000), 2) for index in (1, 2)]
    assert waves.run(paths, {"input_shape": [1, 1, 400]}).shape == (2, 1, 400)
