"""Feed .wav files: the preprocessing that ``xslim init`` writes for an input that takes a raw waveform."""

from __future__ import annotations

import re
import wave
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from xslim.calibration.geometry import show_shape
from xslim.commands.starting import waves
from xslim.commands.starting.found import MOST_ARRAYS, Found, made
from xslim.commands.starting.guesses import Guess, Section
from xslim.commands.starting.unfed import RATE, USUAL_RATE, Filling
from xslim.errors import DataError, ModelError
from xslim.graph.inputs import InputSpec
from xslim.runtime import Isolated, unknown_operators

TELEPHONE_RATE = 8000
USUAL_LENGTHS = (512, 576, 1024, 1536, 4096, 400, 256)
"""Samples to try where a model leaves the length open and does not take a second."""
SHORTEST_WAVEFORM = 256
OWN_FUNCTION = "The function of preprocess_file reads the files itself."
FEATURES = '''

def features(paths: Sequence[str], parameters: dict[str, Any]) -> Waveform:
    """Return what the model takes, {shape}, for a list of paths; its first size is their number."""
    waveforms = [read(path, RATE) for path in paths]
    # CHECK: compute the features of every waveform as the training did, for example a log-mel spectrogram,
    # and return numpy.stack of them.
    raise NotImplementedError(f"write features() for {{len(waveforms)}} waveforms")
'''


def rate_of(files: Sequence[Path], fillings: Mapping[str, Filling]) -> int:
    """Return the sampling rate to use: that of the files, or a usual one if the model asks for the rate."""
    rates: Counter[int] = Counter()
    for path in files[:MOST_ARRAYS]:
        with suppress(OSError, EOFError, wave.Error), wave.open(str(path)) as file:
            rates[file.getframerate()] += 1
    own = rates.most_common(1)[0][0] if rates else USUAL_RATE
    if RATE in fillings.values() and own != TELEPHONE_RATE:
        return USUAL_RATE
    return own


def is_waveform(spec: InputSpec) -> bool:
    """Whether an input takes samples of a waveform: of its sizes, only the length is neither open nor 1."""
    shape = spec.shape
    if not shape or spec.dtype.kind != "f":
        return False
    if len(shape) == 1:
        return shape[0] is None or shape[0] >= SHORTEST_WAVEFORM
    inner = [size for size in shape[1:] if size != 1]
    return len(inner) == 1 and (inner[0] is None or inner[0] >= SHORTEST_WAVEFORM)


def listen(
    spec: InputSpec,
    model: ir.Model,
    found: Found,
    others: Mapping[str, NDArray[Any]],
    rate: int,
    folder: Path,
) -> tuple[Found, Section, str]:
    """Return the files of an input that is fed with .wav files, its entry, and the preprocessing to write.

    Parameters
    ----------
    spec, model
        The input and its model.
    found : Found
        The .wav files.
    others : dict of str to array
        Values of the model's other inputs, to try a length with.
    rate : int
        The sampling rate.
    folder : Path
        Where arrays go, if the input has no batch dimension and so takes no preprocessing function.
    """
    if not is_waveform(spec):
        text = _source(rate) + FEATURES.format(shape=show_shape(spec.shape))
        reason = f"CHECK: {spec.name} takes no waveform: write features() in this file."
        fields: Section = {
            "file_type": Guess("raw", OWN_FUNCTION),
            "preprocess_file": Guess("features", reason),
        }
        return found, fields, text
    length = _length(spec, model, others, rate)
    if len(spec.shape or ()) == 1:
        arrays = [waves.loudest(_read(path, rate), length) for path in found.files[:MOST_ARRAYS]]
        return made(arrays, folder, f"The loudest {length} samples of each file at {rate} Hz."), {}, ""
    fields = {
        "file_type": Guess("raw", OWN_FUNCTION),
        "preprocess_file": Guess(
            "run", f"CHECK: one channel from -1 to 1 at {rate} Hz, the loudest {length} samples of each file."
        ),
    }
    if None in (spec.shape or ())[1:]:
        shape = [spec.shape[0] or 1, *(size or length for size in spec.shape[1:])] if spec.shape else []
        fields["input_shape"] = Guess(shape, "CHECK: the model leaves the length open; this one runs.")
    return found, fields, _source(rate)


def _source(rate: int) -> str:
    """Return the text of the preprocessing file, with the rate filled in."""
    text = Path(waves.__file__).read_text("utf-8")
    return re.sub(r"^RATE = \d+$", f"RATE = {rate}", text, flags=re.MULTILINE)


def _read(path: Path, rate: int) -> waves.Waveform:
    try:
        return waves.read(str(path), rate)
    except (OSError, ValueError) as error:
        raise DataError(
            f"cannot read the .wav file: {error}", where=str(path), hint="save it as PCM, 8 to 32 bits"
        ) from error


def _length(spec: InputSpec, model: ir.Model, others: Mapping[str, NDArray[Any]], rate: int) -> int:
    """Return the length of the input, or the first usual one that the model runs with: a second, or less."""
    shape = spec.shape or ()
    known = shape[1:] if len(shape) > 1 else shape
    if None not in known:
        return max(size or 1 for size in known)
    if unknown_operators(model):
        return rate
    with Isolated() as isolated:
        session = isolated.session(model, threads=1)
        for length in (rate, *USUAL_LENGTHS):
            sizes = [length] if len(shape) == 1 else [shape[0] or 1, *(size or length for size in shape[1:])]
            try:
                session.run({**others, spec.name: np.zeros(sizes, spec.dtype)})
            except ModelError:
                continue
            return length
    return rate
