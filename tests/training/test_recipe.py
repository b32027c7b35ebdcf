"""Recipes: every pair of settings keeps the project's promises, and published ones a plain loop."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import combinations, islice, product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from actbench.data.images import ImageData, open_images, prepare
from actbench.errors import UsageError
from actbench.models.activations import resolve_activation
from actbench.models.build import build_network
from actbench.models.normalisation import normalise_inputs
from actbench.store.checkpoint import Checkpoint
from actbench.study.recipe import SCHEDULES
from actbench.study.study import Study, Trial, seed_for
from actbench.study.toml import read_config
from actbench.training.recipe import channel_statistics, resolve_recipe
from actbench.training.schedules import rate_factor
from actbench.training.steps import Steps
from actbench.training.trial import Training, run_to_end, train
from actbench.training.validation import split
from helpers.pairwise import pairwise

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from actbench.training.events import Progress

RECIPES = Path(__file__).parents[2] / "results" / "recipes"
SETTINGS: dict[str, list[Any]] = {
    "optimizer": ["sgd:momentum=0.9", "sgd:momentum=0.5,nesterov=true", "adam", "adamw", "rmsprop"],
    "schedule": ["constant", "step:at=0.4", "cosine:warmup=0.2", "onecycle"],
    "train_against": ["none", "pgd:steps=2", "trades:steps=2", "fgsm", "gaussian_noise"],
    "augment": [(), ("flip",), ("crop:2", "cutout:5"), ("flip", "gaussian_noise:0.1")],
    "validation": [0.0, 0.1, 0.25],
    "select": ["last", "best"],
    "steps": [0, 7],
    "normalise": ["half", "dataset"],
    "label_smoothing": [0.0, 0.1],
    "clip_gradients": [0.0, 0.1],
    "weight_decay": [0.0, 0.01],
    "decay": ["all-but-activations", "weights"],
    "precision": ["fp32", "bf16"],
}
# every third one is quick, and together they have every pair
ROWS = [
    pytest.param(row, id=str(number), marks=pytest.mark.slow if number % 3 else ())
    for number, row in enumerate(pairwise(SETTINGS))
    if row["validation"] or row["select"] == "last"
]

Trained = tuple[Training, dict[str, torch.Tensor]]


class StoppedError(Exception):
    """A trial was stopped from outside."""


def build(activation: Callable[[], nn.Module], num_classes: int) -> nn.Module:
    """Return a small network with batch norm and dropout."""
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=3),
        nn.BatchNorm2d(4),
        activation(),
        nn.Flatten(),
        nn.Dropout(0.1),
        nn.Linear(400, num_classes),
    )


@pytest.fixture(scope="module")
def data() -> ImageData:
    images = open_images(prepare("digits")).train_subset(90)
    few = {"test_images": images.test_images[:30], "test_labels": images.test_labels[:30]}
    return ImageData(**{**vars(images), **few})


@pytest.fixture
def after_every_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a checkpoint after every epoch, although epochs take only milliseconds."""
    monkeypatch.setattr("actbench.store.checkpoint.SHARE", math.inf)


def ignore(_: Progress) -> None:
    pass


def stop_after_epoch_1(progress: Progress) -> None:
    if progress.test_accuracy is not None:
        raise StoppedError


def trained(study: Study, data: ImageData, spec: str = "relu", **options: Any) -> Trained:
    network, layers = build_network(f"{__name__}:build", resolve_activation(spec), 10, 0)
    if study.normalise == "dataset":
        normalise_inputs(network, study.pixel_statistics)
    on_event = options.pop("on_event", ignore)
    undecayed = [p for layer in layers.values() for p in layer.parameters()]
    steps = train(network, data, study, Trial(spec, 0), on_event, undecayed=undecayed, **options)
    return run_to_end(steps), dict(network.state_dict())


def assert_same(
    first: tuple[Training, dict[str, torch.Tensor]],
    second: tuple[Training, dict[str, torch.Tensor]],
) -> None:
    assert first[0] == second[0]
    assert all(torch.equal(first[1][name], second[1][name]) for name in first[1])


def test_the_rows_have_every_pair_of_settings() -> None:
    rows = pairwise(SETTINGS)
    for (a, of_a), (b, of_b) in combinations(SETTINGS.items(), 2):
        found = {(str(row[a]), str(row[b])) for row in rows}
        assert found == {(str(x), str(y)) for x, y in product(of_a, of_b)}
    assert len(rows) < 40


@pytest.mark.usefixtures("after_every_epoch")
@pytest.mark.parametrize("row", ROWS)
def test_every_pair_of_settings_repeats_resumes_and_is_paired(
    row: dict[str, Any], data: ImageData, tmp_path: Path
) -> None:
    length = {} if row["steps"] else {"epochs": 2}
    study = resolve_recipe(Study(batch_size=24, **length, **row), data)
    usual = trained(study, data)
    assert usual[0].diverged == ""
    assert len(usual[0].history) == study.epochs
    torch.rand(3)
    assert_same(trained(study, data, deferred=True), usual)
    # from the same weights on the same batches, a leaky slope of 0 is ReLU
    assert_same(trained(study, data, "leaky_relu:0"), usual)
    checkpoint = Checkpoint(tmp_path, "trial")
    with pytest.raises(StoppedError):
        trained(study, data, checkpoint=checkpoint, on_event=stop_after_epoch_1)
    assert checkpoint.path.exists()
    assert_same(trained(study, data, checkpoint=checkpoint), usual)


@pytest.mark.parametrize("setting", [name for name in SETTINGS if name != "select"])
def test_no_setting_is_ignored(setting: str, data: ImageData) -> None:
    """Each value of a setting gives other weights, all others being the same."""
    base = {"epochs": 2, "batch_size": 24, "learning_rate": 0.03, "weight_decay": 0.01}
    found = {}
    for value in SETTINGS[setting]:
        given = {**base, setting: value}
        if given.get("steps"):
            del given["epochs"]
        study = resolve_recipe(Study(**given), data)
        weights = trained(study, data)[1]
        found[str(value)] = tuple(weights["5.weight"].flatten().tolist())
    assert len(set(found.values())) == len(SETTINGS[setting])


# steps and epochs


def test_a_study_by_steps_ends_within_an_epoch(data: ImageData) -> None:
    recipe: dict[str, Any] = {"batch_size": 24, "schedule": "constant"}  # 4 steps are an epoch
    study = resolve_recipe(Study(steps=10, **recipe), data)
    reports: list[Progress] = []
    training, _ = trained(study, data, on_event=reports.append)
    assert study.epochs == 3
    assert [(r.epoch, r.epochs, r.step, r.steps) for r in reports] == [
        (1, 3, 4, 4),
        (2, 3, 4, 4),
        (3, 3, 2, 2),
    ]
    by_epochs, _ = trained(Study(epochs=3, **recipe), data)
    assert training.history[:2] == by_epochs.history[:2]
    assert training.history[2] != by_epochs.history[2]


def test_epochs_that_are_not_those_of_the_steps_are_refused(data: ImageData) -> None:
    with pytest.raises(UsageError, match="epochs is 5 and steps is 10, which are 3 epochs of 90"):
        resolve_recipe(Study(steps=10, epochs=5, batch_size=24), data)
    study = resolve_recipe(Study(steps=10, batch_size=24), data)
    assert resolve_recipe(study, data) == study


# normalisation


def test_statistics_are_those_of_numpy(data: ImageData) -> None:
    images = data.train_images.clone()
    images[..., 1] = 255 - images[..., 1] // 2
    images[..., 2] = 7
    pixels = images.numpy().astype("float64") / 255
    found = channel_statistics(images)
    assert [mean for mean, _ in found] == pytest.approx(pixels.mean((0, 1, 2)).tolist())
    deviations = pixels.std((0, 1, 2)).tolist()
    assert [d for _, d in found] == pytest.approx([*deviations[:2], 1.0])


def test_a_network_normalises_by_the_statistics(data: ImageData) -> None:
    statistics = ((0.4, 0.2), (0.5, 0.25), (0.6, 0.1))
    network = nn.Sequential(nn.Identity())
    normalise_inputs(network, statistics)
    pixels = torch.rand(4, 3, 5, 5)
    mean, deviation = torch.tensor(statistics).T[..., None, None]
    torch.testing.assert_close(network(2 * pixels - 1), (pixels - mean) / deviation)
    assert network.state_dict() == {}


# published recipes


class PlainNet(nn.Module):
    """A small network with batch norm that ends as a ResNet does; it computes in float64.

    In float32, rounding alone parts two loops by 1e-4 within 50 steps.
    """

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 16, 3, stride=2, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(16, 10),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x.double())  # type: ignore[no-any-return]


def plain_batches(
    data: ImageData, study: Study, part: list[int], seed: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield batches image by image, pixels in [0, 1], by the draws of named generators."""

    def drawing(what: str, epoch: int) -> torch.Generator:
        return torch.Generator().manual_seed(seed_for(what, seed, epoch))

    for epoch in range(1, 100):
        order = torch.randperm(len(part), generator=drawing("batch order", epoch)).tolist()
        flips = (torch.rand(len(part), generator=drawing("flip", epoch)) < 0.5).tolist()
        corners = torch.randint(9, (len(part), 2), generator=drawing("crop", epoch)).tolist()
        images = []
        for position, flip, (top, left) in zip(order, flips, corners, strict=True):
            image = data.train_images[part[position]].permute(2, 0, 1) / 255
            if "flip" in study.augment:
                image = image.flip(2) if flip else image
                image = F.pad(image, (4, 4, 4, 4))[:, top : top + 32, left : left + 32]
            images.append(image)
        for start in range(0, len(part), study.batch_size):
            here = slice(start, start + study.batch_size)
            labels = [int(data.train_labels[part[position]]) for position in order[here]]
            yield torch.stack(images[here]), torch.tensor(labels)


@pytest.mark.parametrize("name", ["layeract", "mish"])
def test_a_published_recipe_has_the_losses_of_a_plain_loop(name: str) -> None:
    """The first 50 steps, loss by loss, with a small network on digits."""
    data = open_images(prepare("digits")).train_subset(700)
    values = read_config(RECIPES / f"{name}.toml")
    values |= {"dataset": "digits", "seeds": [1], "activations": ["relu"]}
    if "steps" in values:
        values["steps"] = 60
    study = resolve_recipe(Study(**values), data)
    part = list(range(700))
    if study.validation:
        part = split(data.train_labels, study.validation, 1)[0].tolist()
    torch.manual_seed(3)
    ours, plain = PlainNet().double(), PlainNet().double()
    plain.load_state_dict(ours.state_dict())
    if study.normalise == "dataset":
        normalise_inputs(ours, study.pixel_statistics)
    ours.to(memory_format=torch.channels_last)
    steps = Steps(ours, data, study, Trial("relu", 1), part=torch.tensor(part))
    every_loss = (loss for epoch in range(1, 12) for loss in steps.begin(epoch))
    losses = list(islice(every_loss, 50))

    pixels = data.train_images.double() / 255
    mean, deviation = torch.full((3,), 0.5), torch.full((3,), 0.5)
    if study.normalise == "dataset":
        mean, deviation = pixels.mean((0, 1, 2)).float(), pixels.std((0, 1, 2), False).float()
    optimizer: torch.optim.Optimizer
    if name == "layeract":
        optimizer = torch.optim.SGD(plain.parameters(), 0.1, momentum=0.9, weight_decay=1e-4)
        scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [30, 45], gamma=0.1)
    else:
        optimizer = torch.optim.Adam(plain.parameters(), 0.001)
        scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [])
    expected = []
    for images, labels in plain_batches(data, study, part, 1):
        normalised = (images - mean[:, None, None]) / deviation[:, None, None]
        loss = F.cross_entropy(plain(normalised), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        expected.append(loss.item())
        if len(expected) == 50:
            break
    assert len(losses) == 50
    assert losses == pytest.approx(expected, abs=1e-5)
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_every_recipe_is_a_study(path: Path) -> None:
    study = Study(**read_config(path))
    assert study.dataset == "cifar10"


def test_pangs_recipe_divides_the_rate_at_its_epochs() -> None:
    study = Study(**read_config(RECIPES / "pgd.toml"))
    schedule, count = SCHEDULES.resolve(study.schedule), 391
    total = 110 * count
    factors = [
        rate_factor(schedule, epoch * count + step, total)
        for epoch, step in ((100, -1), (100, 0), (105, -1), (105, 0))
    ]
    assert factors == pytest.approx([1, 0.1, 0.1, 0.01])
    assert replace(study, epochs=1).train_against == "pgd"
