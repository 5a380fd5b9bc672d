"""From a PyTorch module and its DataLoader to int8, and its top-1 before and after.

pip install torch
python examples/pytorch/run.py
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import xslim

HERE = Path(__file__).resolve().parent
DIGITS = HERE.parent / "quickstart" / "held_back.npz"
TRAINED, CALIBRATION, EPOCHS = 240, 64, 60


def datasets() -> tuple[TensorDataset, TensorDataset]:
    """Return digits of 8x8 pixels to train with, and others to measure with."""
    file = np.load(DIGITS)
    images = torch.from_numpy((file["images"][:, None].astype(np.float32) - 78) / 96)
    labels = torch.from_numpy(file["labels"].astype(np.int64))
    return (
        TensorDataset(images[:TRAINED], labels[:TRAINED]),
        TensorDataset(images[TRAINED:], labels[TRAINED:]),
    )


def trained(data: TensorDataset) -> nn.Module:
    """Train a small convolutional network."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1, stride=2), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3)
    for _ in range(EPOCHS):
        for images, labels in DataLoader(data, batch_size=32, shuffle=True):
            optimiser.zero_grad()
            nn.functional.cross_entropy(network(images), labels).backward()
            optimiser.step()
    return network.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--output", type=Path, default=HERE / "output")
    output = parser.parse_args().output
    output.mkdir(parents=True, exist_ok=True)
    training, held_back = datasets()
    network, float_model = trained(training), output / "digits.onnx"
    torch.onnx.export(
        network, (torch.zeros(2, 1, 8, 8),), str(float_model), input_names=["image"], output_names=["logits"],
        dynamic_axes={"image": {0: "batch"}, "logits": {0: "batch"}}, opset_version=17, dynamo=False,
    )  # fmt: skip

    # Batches of the loader are (image, label); the model takes the image.
    loader = DataLoader(training, batch_size=16)
    result = xslim.quantize(
        float_model,
        (images for images, _ in loader),
        calibration_step=CALIBRATION,
        output=output / "digits.q.onnx",
    )
    images, labels = held_back.tensors
    found = xslim.compare(float_model, result.model, images, labels=labels.numpy())
    assert found.accuracy is not None
    print(*found.accuracy.lines(), sep="\n")


if __name__ == "__main__":
    main()
