"""Print the robust accuracy of one trained network under each attack, beside AutoAttack's own code.

The reference is the code of Croce and Hein (``pip install -e '.[attacks]'``), with the same steps,
restarts, targets and queries, on the same network and images. ``--without-reference`` leaves it
out.
"""

from __future__ import annotations

import argparse
import sys
import time
from functools import partial
from pathlib import Path

import torch
from tabulate import tabulate
from torch import nn

from actbench.attacks.registry import ATTACKS
from actbench.data.images import normalise, prepare, study_images
from actbench.study.study import Study
from logit_scale import L2_UNIT, scaled, trained_network

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from helpers.attacked_network import autoattack_correct

COMPARED = (
    "pgd",
    "pgd:steps=50,restarts=5",
    "apgd",
    "apgd:loss=dlr",
    "apgd:loss=dlr_targeted",
    "fab",
    "fab:targets=9",
    "square",
    "autoattack",
)


class OnUnitRange(nn.Module):
    """A network that normalises images in [0, 1] itself."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.logits = partial(scaled, network, 1.0)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        return self.logits(images)


def main() -> None:
    """Train one network and print a row for each attack, a column for each ε."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--data-dir", default="")
    parser.add_argument("--activation", default="relu")
    parser.add_argument("--train-images", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--images", type=int, default=200, help="how many test images to attack")
    parser.add_argument("--norm", choices=("linf", "l2"), default="linf")
    parser.add_argument("--levels", type=int, nargs="+", default=[4, 8, 16], help="ε in 1/255")
    parser.add_argument("--attacks", nargs="+", default=COMPARED)
    parser.add_argument("--without-reference", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    study = Study(
        dataset=options.dataset,
        data_dir=options.data_dir,
        activations=(options.activation,),
        train_images=options.train_images,
        epochs=options.epochs,
    )
    data = study_images(prepare(study.dataset, study.data_dir), study)
    network = OnUnitRange(trained_network(study, data)).eval()
    images = (normalise(data.test_images[: options.images]) + 1) / 2
    images = images.contiguous()  # the reference flattens them with `view`
    labels = data.test_labels[: options.images].clone()
    with torch.no_grad():
        clean = percent(network(images).argmax(1) == labels)
    print(f"n = {len(labels)} images, {clean} % unchanged")
    rows = []
    for text in options.attacks:
        attack = ATTACKS.resolve(f"{text}{',' if ':' in text else ':'}norm={options.norm}")
        row = [text]
        for level in options.levels:
            epsilon = level / 255 * (L2_UNIT if options.norm == "l2" else 1)
            begin = time.process_time()
            found = attack(network, images, labels, epsilon, attack.generator(epsilon))
            row.append(percent(found.correct))
            seconds = [time.process_time() - begin]
            if not options.without_reference and attack.name not in ("fgsm", "pgd"):
                import pyautoattack

                begin = time.process_time()
                theirs = autoattack_correct(pyautoattack, attack, network, images, labels, epsilon)
                seconds.append(time.process_time() - begin)
                differing = int((theirs != found.correct).sum())
                row[-1] += f", {percent(theirs)}, {differing}"
            print(
                f"{attack.spec}, ε = {255 * epsilon:g}/255: {row[-1]}; "
                f"{' and '.join(f'{s:.1f}' for s in seconds)} s of processor time; "
                f"{100 * found.black_box_gain:.2f} points by the black-box part",
                file=sys.stderr,
                flush=True,
            )
        rows.append(row)
    unit = L2_UNIT if options.norm == "l2" else 1
    headers = ["attack", *(f"ε = {unit * level}/255" for level in options.levels)]
    print("Robust accuracy here, with the reference, %, and the images on which they differ:\n")
    print(tabulate(rows, headers, tablefmt="pipe", disable_numparse=True))


def percent(correct: torch.Tensor) -> str:
    """Return a share in percent."""
    return f"{100 * float(correct.double().mean()):.2f}"


if __name__ == "__main__":
    main()
