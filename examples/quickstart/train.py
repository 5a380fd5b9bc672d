"""Train the quick start's network and write everything that `run.py` reads.

The result is committed, so nobody needs to run this; it shows where the files come from.

    pip install -r requirements-train.txt
    python train.py

Data: the "Optical Recognition of Handwritten Digits" set of the UCI repository (E. Alpaydin and
C. Kaynak, CC BY 4.0) in the form that scikit-learn carries: 1,797 grey images of 8x8 pixels.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
import torch
from sklearn.datasets import load_digits
from torch import nn

HERE = Path(__file__).resolve().parent
SEED = 7
HELD_BACK = 360
CALIBRATION = 64
EPOCHS = 60
BATCH = 64
# Grey values 0..255 are normalised with these two figures; config.json repeats them.
MEAN, STD = 78.0, 96.0


def conv(inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Build Conv, BatchNorm, Relu."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


class InvertedResidual(nn.Module):
    """Expand 1x1, depthwise 3x3, project 1x1; with a shortcut where the shapes agree."""

    def __init__(self, inputs: int, outputs: int, *, expand: int, stride: int = 1) -> None:
        super().__init__()
        hidden = inputs * expand
        self.body = nn.Sequential(
            conv(inputs, hidden, 1),
            conv(hidden, hidden, 3, stride=stride, groups=hidden),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x) if self.shortcut else self.body(x)


class DigitsNet(nn.Module):
    """A small MobileNet-like classifier of 1x8x8 images."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            conv(1, 16, 3),
            InvertedResidual(16, 16, expand=4),
            InvertedResidual(16, 32, expand=4, stride=2),
            InvertedResidual(32, 32, expand=4),
            conv(32, 64, 3),
            nn.MaxPool2d(2),
            InvertedResidual(64, 64, expand=3),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.classifier = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(x))


def load_images() -> tuple[np.ndarray, np.ndarray]:
    """Return all images as uint8 [1797, 8, 8] in a fixed random order, and their labels [1797]."""
    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    order = np.random.default_rng(SEED).permutation(len(images))
    return images[order], digits.target[order].astype(np.uint8)


def normalise(images: np.ndarray) -> torch.Tensor:
    """Turn uint8 [n, 8, 8] into the network's input, float32 [n, 1, 8, 8]."""
    return torch.from_numpy((images[:, None].astype(np.float32) - MEAN) / STD)


def shift(batch: torch.Tensor) -> torch.Tensor:
    """Move the batch by up to one pixel each way, the augmentation that so small an image bears."""
    dy, dx = (int(d) for d in torch.randint(-1, 2, (2,)))
    padded = nn.functional.pad(batch, (1, 1, 1, 1), value=-MEAN / STD)
    return padded[:, :, 1 + dy : 9 + dy, 1 + dx : 9 + dx]


def train(inputs: torch.Tensor, labels: torch.Tensor) -> DigitsNet:
    """Train with AdamW under a cosine schedule; the same seed gives the same network."""
    torch.manual_seed(SEED)
    network = DigitsNet()
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, EPOCHS)
    for _ in range(EPOCHS):
        for picked in torch.randperm(len(inputs)).split(BATCH):
            optimiser.zero_grad()
            nn.functional.cross_entropy(network(shift(inputs[picked])), labels[picked]).backward()
            optimiser.step()
        schedule.step()
    return network.eval()


def export(network: DigitsNet, path: Path) -> None:
    """Write the network as ONNX with its BatchNorms as nodes, as a user's exporter may leave them."""
    torch.onnx.export(
        network,
        (torch.zeros(2, 1, 8, 8),),
        str(path),
        input_names=["image"],
        output_names=["logits"],
        dynamic_axes={"image": {0: "batch"}, "logits": {0: "batch"}},
        opset_version=17,
        dynamo=False,
        training=torch.onnx.TrainingMode.PRESERVE,
        do_constant_folding=False,
    )
    onnx.checker.check_model(onnx.load(path), full_check=True)


def main() -> None:
    torch.use_deterministic_algorithms(mode=True)
    images, labels = load_images()
    held_back, training = slice(0, HELD_BACK), slice(HELD_BACK, None)
    network = train(normalise(images[training]), torch.from_numpy(labels[training].astype(np.int64)))

    with torch.no_grad():
        guesses = network(normalise(images[held_back])).argmax(1).numpy()
    print(f"parameters: {sum(p.numel() for p in network.parameters()):,}")
    print(f"float accuracy on held-back images: {np.mean(guesses == labels[held_back]):.2%}")

    export(network, HERE / "digits.onnx")
    np.savez_compressed(HERE / "held_back.npz", images=images[held_back], labels=labels[held_back])
    folder = HERE / "calibration"
    folder.mkdir(exist_ok=True)
    names = [f"{i:02d}.png" for i in range(CALIBRATION)]
    for name, image in zip(names, images[training], strict=False):
        cv2.imwrite(str(folder / name), image)
    (folder / "list.txt").write_text("".join(f"{name}\n" for name in names))


if __name__ == "__main__":
    main()
