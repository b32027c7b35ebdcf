"""A plain hand-written training loop: the reference for the speed of `actbench run`.

The same network and recipe with torchvision's transforms and a DataLoader, one trial after the
other; each noise is a transform of the test set. It imports nothing from actbench, so its
accuracies also check those of actbench.

    python bench/plain_loop.py --data-dir FOLDER --negative-slope 0 0.01 --seeds 0 1 2 > plain.csv

FOLDER holds train/<class>/ and test/<class>/; without it the images are synthetic.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.datasets import ImageFolder

from cifar_shaped import TEST_IMAGES, TRAIN_IMAGES, synthetic_images

BATCH_SIZE = 64
NOISES = {
    "gaussian_noise": (0.04, 0.06, 0.08, 0.09, 0.10),
    "shot_noise": (500, 250, 100, 75, 50),
    "impulse_noise": (0.01, 0.02, 0.03, 0.05, 0.07),
    "speckle_noise": (0.06, 0.1, 0.12, 0.16, 0.2),
}

MakeDataset = Callable[[str, Callable[[Any], torch.Tensor]], Dataset[Any]]


class Noise:
    """A transform that adds one of CIFAR-10-C's noises to an image in [0, 1]."""

    def __init__(self, name: str, severity: int) -> None:
        self.name = name
        self.strength = NOISES[name][severity - 1]

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        """Return the noisy image, cut to [0, 1]."""
        if self.name == "gaussian_noise":
            image = image + torch.randn_like(image) * self.strength
        elif self.name == "shot_noise":
            image = torch.poisson(image * self.strength) / self.strength
        elif self.name == "impulse_noise":
            draw = torch.rand_like(image)
            image = image.masked_fill(draw < self.strength / 2, 1)
            image = image.masked_fill(draw > 1 - self.strength / 2, 0)
        else:
            image = image + image * torch.randn_like(image) * self.strength
        return image.clamp(0, 1)


NORMALISE = transforms.Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
TRAIN_TRANSFORM = transforms.Compose(
    [transforms.RandomHorizontalFlip(), transforms.ToTensor(), NORMALISE]
)
TEST_TRANSFORM = transforms.Compose([transforms.ToTensor(), NORMALISE])


class ImagesInMemory(Dataset[Any]):
    """Images held as one uint8 array, as torchvision holds CIFAR-10."""

    def __init__(self, images: Any, labels: Any, transform: Callable[[Any], torch.Tensor]) -> None:
        self.images, self.labels, self.transform = images, labels, transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), int(self.labels[index])


def make_cnn(negative_slope: float) -> nn.Sequential:
    """Return the network for ten classes; a slope of 0 is ReLU."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.LeakyReLU(negative_slope),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.LeakyReLU(negative_slope),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 8 * 8, 128),
        nn.LeakyReLU(negative_slope),
        nn.Linear(128, 10),
    )


def make_optimizer(model: nn.Module) -> torch.optim.Optimizer:
    """Return the recipe's optimiser."""
    return torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)


def make_loader(dataset: Dataset[Any], *, shuffle: bool) -> DataLoader[Any]:
    """Return a loader with two worker processes."""
    return DataLoader(dataset, batch_size=BATCH_SIZE, shuffle=shuffle, num_workers=2)


def train_epoch(
    model: nn.Module, loader: DataLoader[Any], optimizer: torch.optim.Optimizer
) -> None:
    """Train one epoch, with the loss on stderr every 100 batches."""
    criterion = nn.CrossEntropyLoss()
    model.train()
    running_loss = 0.0
    for step, (images, labels) in enumerate(loader, start=1):
        optimizer.zero_grad()
        loss = criterion(model(images), labels)
        loss.backward()
        optimizer.step()
        running_loss += loss.item()
        if step % 100 == 0:
            print(f"step {step}, loss {running_loss / 100:.3f}", file=sys.stderr)
            running_loss = 0.0


def evaluate(model: nn.Module, loader: DataLoader[Any]) -> tuple[float, float]:
    """Return accuracy, as a fraction, and mean loss."""
    criterion = nn.CrossEntropyLoss(reduction="sum")
    model.eval()
    correct, loss, count = 0, 0.0, 0
    with torch.no_grad():
        for images, labels in loader:
            outputs = model(images)
            loss += criterion(outputs, labels).item()
            correct += (outputs.argmax(1) == labels).sum().item()
            count += len(labels)
    return correct / count, loss / count


def corrupted_accuracy(model: nn.Module, make_dataset: MakeDataset) -> float:
    """Return the mean accuracy over four noises at five severities."""
    accuracies = []
    for name in NOISES:
        for severity in range(1, 6):
            noisy = transforms.Compose([transforms.ToTensor(), Noise(name, severity), NORMALISE])
            loader = make_loader(make_dataset("test", noisy), shuffle=False)
            accuracies.append(evaluate(model, loader)[0])
    return sum(accuracies) / len(accuracies)


def image_folders(data_dir: Path) -> MakeDataset:
    """Return a function that opens the ``train`` or ``test`` folder in ``data_dir``."""
    return lambda part, transform: ImageFolder(data_dir / part, transform)


def synthetic_data(train_images: int, test_images: int) -> MakeDataset:
    """Return a function that gives the synthetic training or test set."""
    parts = {"train": synthetic_images(train_images, 0), "test": synthetic_images(test_images, 1)}
    return lambda part, transform: ImagesInMemory(*parts[part], transform)


def main(arguments: list[str] | None = None) -> None:
    """Train every slope with every seed and print a CSV row per epoch."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data-dir", type=Path, help="default: synthetic images")
    parser.add_argument("--negative-slope", type=float, nargs="+", default=[0.0, 0.01])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=10)
    options = parser.parse_args(arguments)
    if options.data_dir:
        make_dataset = image_folders(options.data_dir)
    else:
        make_dataset = synthetic_data(TRAIN_IMAGES, TEST_IMAGES)

    rows = csv.writer(sys.stdout)
    rows.writerow(
        ["negative_slope", "seed", "epoch", "test_accuracy", "test_loss", "corrupted_accuracy"]
    )
    train_loader = make_loader(make_dataset("train", TRAIN_TRANSFORM), shuffle=True)
    test_loader = make_loader(make_dataset("test", TEST_TRANSFORM), shuffle=False)
    for seed in options.seeds:
        for negative_slope in options.negative_slope:
            torch.manual_seed(seed)
            model = make_cnn(negative_slope)
            optimizer = make_optimizer(model)
            for epoch in range(1, options.epochs + 1):
                train_epoch(model, train_loader, optimizer)
                accuracy, loss = evaluate(model, test_loader)
                corrupted = ""
                if epoch == options.epochs:
                    corrupted = f"{corrupted_accuracy(model, make_dataset):.4f}"
                rows.writerow(
                    [negative_slope, seed, epoch, f"{accuracy:.4f}", f"{loss:.4f}", corrupted]
                )
                sys.stdout.flush()


if __name__ == "__main__":
    main()
