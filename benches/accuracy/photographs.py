"""Compare two image models on the photographs that calibration never saw.

usage: python -m benches.accuracy.photographs MODEL FLOAT
"""

from __future__ import annotations

import json
import sys

import numpy as np
import onnxruntime as ort

from benches.paths import SHARED

COUNT = 32


def main() -> None:
    """Print one line of JSON."""
    sys.path.insert(0, str(SHARED / "tools"))
    from evaluate import imagenet_one, session

    folder = SHARED / "assets" / "imagenet1k"
    names = (folder / "eval_list.txt").read_text("utf-8").split()[:COUNT]
    sessions: list[ort.InferenceSession] = [session(path) for path in sys.argv[1:3]]
    signal = noise = agree = 0.0
    cosines = []
    for name in names:
        x = imagenet_one(str(folder / name))
        found, expected = (
            np.asarray(s.run(None, {s.get_inputs()[0].name: x})[0], np.float64).ravel() for s in sessions
        )
        signal += float((expected**2).sum())
        noise += float(((found - expected) ** 2).sum())
        agree += float(found.argmax() == expected.argmax())
        cosines.append(float(found @ expected / (np.linalg.norm(found) * np.linalg.norm(expected))))
    ratio = 10 * float(np.log10(signal / noise))
    print(
        json.dumps(
            {"agree": agree / len(names), "sqnr_db": [round(ratio, 2)], "cosine": [float(np.mean(cosines))]}
        )
    )


if __name__ == "__main__":
    main()
