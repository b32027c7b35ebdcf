"""Print robust accuracy for one trained network whose logits are multiplied by a constant.

The constant changes no prediction, so it must not change robust accuracy either.
"""

from __future__ import annotations

import argparse
from functools import partial
from typing import TYPE_CHECKING

import torch
from tabulate import tabulate

from actbench.analysis.trial_results import masking_of
from actbench.attacks import perturbations
from actbench.attacks.gradient_masking import masking_checks
from actbench.attacks.registry import ATTACKS
from actbench.data.images import normalise, prepare, study_images
from actbench.models.activations import resolve_activation
from actbench.models.build import build_network
from actbench.study.study import Study
from actbench.training.measurements import result_of_attack
from actbench.training.trial import run_to_end, train

if TYPE_CHECKING:
    from torch import Tensor, nn

    from actbench.data.images import ImageData

COMPARED = ("fgsm", "pgd", "fgsm:norm=l2", "pgd:norm=l2", "square:queries=200")
SCALES = (1, 10, 20, 40)
L2_UNIT = 30  # an ε of 1/255 in L∞ is 30/255 in L2


def scaled(network: nn.Module, scale: float, batch: Tensor) -> Tensor:
    """Return ``scale`` times the logits (N, classes) for images (N, 3, 32, 32) in [0, 1]."""
    return scale * network(batch.mul(2).sub(1))  # type: ignore[no-any-return]


def trained_network(study: Study, data: ImageData) -> nn.Module:
    """Return the study's network, trained with its first activation and seed, ready to evaluate."""
    trial = study.trials()[0]
    factory = resolve_activation(trial.activation)
    network, _ = build_network(
        study.model, factory, len(data.classes), trial.seed, image_size=data.image_size
    )
    run_to_end(train(network, data, study, trial, on_event=lambda _: None))
    return network.eval()


def main() -> None:
    """Train one network and print a row for each attack and ε, a column for each scale."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--data-dir", default="")
    parser.add_argument("--train-images", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--images", type=int, default=360, help="how many test images to attack")
    parser.add_argument("--levels", type=int, nargs="+", default=[4, 16], help="ε in 1/255")
    parser.add_argument("--attacks", nargs="+", default=COMPARED)
    parser.add_argument("--gap", type=float, default=perturbations.LOGIT_GAP, help="MIFPE's T")
    options = parser.parse_args()
    perturbations.LOGIT_GAP = options.gap
    torch.set_num_threads(1)
    study = Study(
        dataset=options.dataset,
        data_dir=options.data_dir,
        train_images=options.train_images,
        epochs=options.epochs,
    )
    data = study_images(prepare(study.dataset, study.data_dir, study.image_size), study)
    network = trained_network(study, data)
    images = (normalise(data.test_images[: options.images]) + 1) / 2
    labels = data.test_labels[: options.images].clone()
    classes = len(data.classes)
    correct: dict[tuple[str, int, float], dict[int, Tensor]] = {}
    warnings = []
    for scale in SCALES:
        predict = partial(scaled, network, scale)
        attacked = []
        for attack in map(ATTACKS.resolve, options.attacks):
            for levels in options.levels:
                epsilon = levels / 255 * (L2_UNIT if attack.norm == "l2" else 1)
                result = attack(predict, images, labels, epsilon, attack.generator(epsilon))
                attacked.append(result_of_attack(attack, epsilon, result, labels, classes))
                correct.setdefault((attack.spec, levels, epsilon), {})[scale] = result.correct
        found = masking_of(masking_checks(predict, images, labels), attacked, classes).warnings
        warnings.append([f"× {scale}", "; ".join(found) or "none"])
    rows = [
        [
            spec,
            f"{255 * epsilon:g}/255",
            *(100 * float(c.double().mean()) for c in by_scale.values()),
        ]
        for (spec, _, epsilon), by_scale in correct.items()
    ]
    headers = ["attack", "ε", *(f"logits × {scale}" for scale in SCALES)]
    clean = float((predict(images).argmax(1) == labels).double().mean())
    print(f"Robust accuracy, %, n = {len(labels)} images, {100 * clean:.2f} % unchanged:\n")
    print(tabulate(rows, headers, tablefmt="pipe", floatfmt=".2f"), end="\n\n")
    print(tabulate(warnings, ["logits", "the guard's warnings"], tablefmt="pipe"))


if __name__ == "__main__":
    main()
