"""Trained networks from a folder, and any classifier measured as those of a study are."""

from __future__ import annotations

import math
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn

import actbench
from actbench.data.images import open_images, prepare
from actbench.errors import ResultsFolderError, UsageError
from actbench.study.study import Trial, trial_id
from helpers.short_reports import short_reports

if TYPE_CHECKING:
    from actbench.data.images import ImageData

ROOT = Path(__file__).parents[2]
STUDY = actbench.Study(
    model="mlp:depth=1,width=16",
    activations=["relu", "prelu"],
    seeds=1,
    epochs=2,
    train_images=256,
    learning_rate=0.05,
    optimizer="sgd:momentum=0.9",
    schedule="constant",
    corruptions=["contrast", "gaussian_noise"],
    attacks=["fgsm", "square:queries=3"],
    attack_images=30,
    epsilons=[2 / 255, 0.1],
)
MEASURED = {
    "corruptions": ["contrast", "gaussian_noise"],
    "attacks": ["fgsm", "square:queries=3"],
    "attack_images": 30,
    "epsilons": [2 / 255, 0.1],
}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> actbench.Results:
    """Return the small study's results; read-only."""
    with short_reports():
        return actbench.run(STUDY, tmp_path_factory.mktemp("study") / "out", workers=0, quiet=True)


@pytest.fixture
def copied(results: actbench.Results, tmp_path: Path) -> actbench.Results:
    """Return the results of a copy of its folder, to write to."""
    return actbench.load(shutil.copytree(results.folder, tmp_path / "copy"))


@pytest.fixture(scope="module")
def data() -> ImageData:
    return open_images(prepare("digits"))


def weights_of(results: actbench.Results, activation: str) -> Path:
    name = trial_id(results.study, Trial(activation, 0))
    return results.folder / "weights" / f"{name}.safetensors"


# networks of a study


@pytest.mark.parametrize("activation", ["relu", "prelu"])
def test_a_stored_network_measured_again_has_the_results_of_the_study(
    activation: str, results: actbench.Results, data: ImageData
) -> None:
    network = results.network(activation, seed=0)
    assert not network.training
    found = actbench.measure(network, data.test_images, data.test_labels, **MEASURED)
    row = results.trials.set_index("activation").loc[activation]
    for mine, theirs in (
        ("accuracy", "clean_accuracy"),
        ("loss", "clean_loss"),
        ("ece", "clean_ece"),
        ("logit_margin", "logit_margin"),
        ("input_gradient_norm", "input_gradient_norm"),
    ):
        assert found.clean[mine][0] == row[theirs], mine
    for name, columns in (
        ("corruptions", ["corruption", "severity", "accuracy", "loss", "ece"]),
        ("attacks", ["attack", "epsilon", "accuracy"]),
    ):
        stored = getattr(results, name)
        stored = stored[stored["activation"] == activation]
        assert getattr(found, name)[columns].to_numpy().tolist() == (
            stored[columns].to_numpy().tolist()
        )


def test_a_trial_that_is_not_in_the_study_has_no_network(results: actbench.Results) -> None:
    for activation, seed, message in (
        ("relu", 7, "the study has no seed 7; its seeds are 0"),
        ("elu", 0, "the study has no 'elu'; did you mean 'relu'?"),
        ("rleu", 0, "unknown activation 'rleu'; did you mean 'relu'?"),
    ):
        with pytest.raises(UsageError, match=re.escape(message)):
            results.network(activation, seed=seed)


def test_weights_that_are_missing_or_damaged_are_an_error_and_stay_as_they_are(
    copied: actbench.Results,
) -> None:
    path = weights_of(copied, "relu")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ResultsFolderError, match="damaged or of another network"):
        copied.network("relu", seed=0)
    assert path.exists()
    path.unlink()
    with pytest.raises(ResultsFolderError, match=r"relu, seed 0: its weights '.*' are missing"):
        copied.network("relu", seed=0)
    next((copied.folder / "trials").glob("relu*")).unlink()
    with pytest.raises(ResultsFolderError, match="relu, seed 0 is not trained yet"):
        copied.network("relu", seed=0)


def test_a_trial_that_diverged_has_no_network(tmp_path: Path) -> None:
    study = replace(STUDY, model="cnn", activations=("relu",), learning_rate=1e6)
    study = replace(study, corruptions=(), attacks=())
    with pytest.raises(UsageError, match="relu, seed 0 diverged: "):
        actbench.run(study, tmp_path / "out", workers=0, quiet=True).network("relu", seed=0)


def test_networks_of_format_1_were_not_stored() -> None:
    published = actbench.load(ROOT / "results" / "published" / "cifar10-jpeg-torch-kernels")
    with pytest.raises(ResultsFolderError, match="whose networks were not stored"):
        published.network("relu", seed=0)


# any classifier


class Plain(nn.Module):
    """A classifier of seven classes that no one trained."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.layers = nn.Sequential(
                nn.Conv2d(3, 4, 5, 4), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(196, 7)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


MEAN, STD = (0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616)


def some_images(count: int = 60) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    return draw.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8), draw.integers(0, 6, count)


def plainly(network: nn.Module, images: np.ndarray) -> np.ndarray:
    """Return a network's logits for images that are normalised in NumPy."""
    normalised = ((images / 255 - np.array(MEAN)) / np.array(STD)).transpose(0, 3, 1, 2)
    with torch.no_grad():
        return network.eval()(torch.tensor(normalised, dtype=torch.float32)).numpy()


def test_any_classifier_with_its_own_normalisation_is_measured() -> None:
    images, labels = some_images()
    network = Plain().train()
    found = actbench.measure(network, images, labels, normalisation=(MEAN, STD), **MEASURED)
    assert network.training
    correct = plainly(Plain(), images).argmax(1) == labels
    assert found.clean["accuracy"][0] == correct.mean()
    clean = found.classes[found.classes["measured"] == "clean"]
    assert list(clean["images"]) == [(labels == label).sum() for label in range(7)]
    assert list(clean["correct"]) == [correct[labels == label].sum() for label in range(7)]
    assert clean["accuracy"].isna().tolist() == [False] * 6 + [True]
    by_class = found.classes.groupby(["measured", "severity"], sort=False)["correct"].sum() / 60
    assert by_class.tolist() == found.corruptions["accuracy"].tolist()
    by_class = found.classes.groupby(["measured", "epsilon"], sort=False)["correct"].sum() / 30
    assert by_class.tolist() == found.attacks["accuracy"].tolist()


def test_a_function_may_normalise_and_tensors_may_be_given() -> None:
    images, labels = some_images()

    def normalise(pixels: torch.Tensor) -> torch.Tensor:
        return (pixels - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]

    arrays = np.array(MEAN), np.array(STD)
    one = actbench.measure(Plain(), images, labels, normalisation=arrays, **MEASURED)
    two = actbench.measure(
        Plain(),
        torch.from_numpy(images),
        torch.from_numpy(labels),
        normalisation=normalise,
        class_names=list("abcdefg"),
        **MEASURED,
    )
    for name in ("clean", "corruptions", "attacks"):
        assert getattr(one, name).equals(getattr(two, name)), name
    assert list(two.classes["class"][:7]) == list("abcdefg")


class Views(nn.Module):
    """A classifier whose code takes contiguous images only."""

    def __init__(self) -> None:
        super().__init__()
        self.plain = Plain()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.plain(x.view(len(x), -1).view_as(x))


def test_networks_of_other_layouts_and_types_and_callers_without_gradients_are_measured() -> None:
    images, labels = some_images(20)
    asked = {"corruptions": ["contrast"], "attacks": ["fgsm", "apgd:steps=2"], "epsilons": [0.01]}
    one = actbench.measure(Plain(), images, labels, **asked)
    reversed_ = np.ascontiguousarray(images[::-1])[::-1]
    for network in (Views(), Plain().double(), Views().double()):
        with torch.inference_mode():
            two = actbench.measure(network, reversed_, labels.astype(">u2"), **asked)
        assert not two.warnings
        for name in ("clean", "corruptions", "attacks"):
            left, right = (getattr(found, name).select_dtypes("number") for found in (one, two))
            np.testing.assert_allclose(left, right, rtol=1e-4, err_msg=name)


def test_measuring_draws_from_no_global_generator_and_changes_no_network() -> None:
    images, labels = some_images()
    network = Plain().train()
    network.layers[1].eval()
    modes = [module.training for module in network.modules()]
    before = {name: value.clone() for name, value in network.state_dict().items()}
    states = torch.get_rng_state(), np.random.get_state(legacy=False)["state"]["pos"]  # noqa: NPY002
    actbench.measure(network, images, labels, **MEASURED)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.random.get_state(legacy=False)["state"]["pos"] == states[1]  # noqa: NPY002
    assert all(torch.equal(value, before[k]) for k, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert [module.training for module in network.modules()] == modes


def test_logits_that_are_nan_are_wrong_and_named() -> None:
    class NotANumber(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.flatten(1)[:, :10] * math.nan

    found = actbench.measure(NotANumber(), *some_images())
    assert found.clean.loc[0, "accuracy"] == 0
    assert "the loss is NaN" in found.warnings[0]


def test_a_softmax_in_a_classifier_gives_a_warning() -> None:
    images, labels = some_images()
    found = actbench.measure(nn.Sequential(Plain(), nn.Softmax(1)), images, labels)
    assert any("its outputs are probabilities" in warning for warning in found.warnings)


IMAGES, LABELS = some_images(4)
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no network": ({"network": len}, "network is builtin_function_or_method; it must be"),
    "grey images": ({"images": IMAGES[..., :1]}, "images are torch.uint8 of shape (4, 32, 32, 1)"),
    "images in [0, 1]": ({"images": IMAGES / 255}, "images are torch.float64 of shape"),
    "images that are not square": ({"images": IMAGES[:, :28]}, "of shape (4, 28, 32, 3)"),
    "one class": (
        {"network": nn.Sequential(nn.Flatten(), nn.Linear(3072, 1)), "labels": 0 * LABELS},
        "logits of two classes or more",
    ),
    "names in a text": ({"class_names": "abcdefg"}, "class_names is 'abcdefg'; it must be a list"),
    "one ε": ({"attacks": ["fgsm"], "epsilons": 0.1}, "epsilons is 0.1; it must be a list"),
    "a mean that is no number": ({"normalisation": (np.nan, 1)}, "normalisation is (nan, 1)"),
    "no images": ({"images": IMAGES[:0], "labels": LABELS[:0]}, "of shape (0, 32, 32, 3)"),
    "too few labels": ({"labels": LABELS[:3]}, "of shape (3,); they must be 4 integers"),
    "labels of text": ({"labels": np.array(["a"] * 4)}, "labels are not numbers"),
    "labels with a fraction": ({"labels": LABELS / 2}, "labels are torch.float64"),
    "negative labels": ({"labels": LABELS - 9}, "they must be 4 integers from 0"),
    "a label without a logit": (
        {"labels": LABELS + 9},
        "the network returns (2, 7) for 2 images with labels up to",
    ),
    "a network for other images": ({"network": nn.Linear(2, 2)}, "the network fails on 2 images"),
    "a standard deviation of 0": ({"normalisation": (0.5, 0.0)}, "normalisation is (0.5, 0.0)"),
    "one number": ({"normalisation": 0.5}, "normalisation is 0.5; it must be (mean, std)"),
    "two channels": ({"normalisation": ((0, 0), (1, 1))}, "normalisation is ((0, 0), (1, 1))"),
    "too few names": ({"class_names": ["a"]}, "class_names has 1 names; the network has 7"),
    "a text for a list": ({"corruptions": "fog"}, "corruptions is 'fog'; it must be a list such"),
    "an unknown corruption": ({"corruptions": ["fgo"]}, "did you mean 'fog'"),
    "an unknown attack": ({"attacks": ["pdg"]}, "did you mean 'pgd'"),
    "an ε of 0": ({"attacks": ["fgsm"], "epsilons": [0]}, "epsilons is"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_argument_is_named_in_one_line(what: str) -> None:
    given, message = WRONG[what]
    arguments = {"network": Plain(), "images": IMAGES, "labels": LABELS, **given}
    with pytest.raises(UsageError) as error:
        actbench.measure(**arguments)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_the_examples_of_the_page_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "measuring.md").read_text("utf-8")
    marked = r"<!-- runs in the tests -->\n```python\n(.*?)^```$"
    blocks: list[str] = re.findall(marked, page, re.M | re.S)
    assert len(blocks) == 2
    exec("".join(blocks), {})
    printed = capsys.readouterr().out
    assert "parameters" in printed
    assert "fgsm" in printed
