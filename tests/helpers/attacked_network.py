"""For comparing attacks with foolbox's and AutoAttack's own: a small network, and both on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

from actbench.attacks.apgd import APGD
from actbench.attacks.black_box import Square
from actbench.attacks.fab import FAB
from actbench.attacks.perturbations import LOGIT_GAP
from actbench.attacks.registry import ATTACKS

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from torch import Tensor

    from actbench.attacks.base import Attack, Attacked


TRAINED_ON = 1500  # of the 1,797 digits
EPSILON = {"linf": 0.06, "l2": 1.5}


class SmallCNN(nn.Module):
    """Logits (N, 10) for images (N, 3, 32, 32) in [0, 1], which it normalises itself."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.MaxPool2d(2),
            nn.ReLU(),
            nn.Conv2d(8, 16, 3, padding=1),
            nn.MaxPool2d(2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(16 * 8 * 8, 10),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits."""
        return self.layers((images - 0.5) / 0.5)


class WithScaledLogits(nn.Module):
    """A network whose logits are scaled so that the two largest differ by ``LOGIT_GAP``."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits; the factor counts as a constant in their gradient."""
        logits = self.network(images)
        largest = logits.detach().topk(2, dim=1).values
        return logits * (LOGIT_GAP / (largest[:, :1] - largest[:, 1:]))


def enlarged_digits() -> tuple[Tensor, Tensor]:
    """Return all 1,797 digits of scikit-learn as float32 (N, 3, 32, 32), and their labels."""
    raw = load_digits()
    small = torch.tensor(raw.images, dtype=torch.float32)[:, None] / 16
    large = F.interpolate(small, size=32, mode="bilinear").clamp(0, 1)
    return large.repeat(1, 3, 1, 1), torch.tensor(raw.target)


def trained_network(images: Tensor, labels: Tensor) -> SmallCNN:
    """Return a network trained on the first ``TRAINED_ON`` images, in seconds."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = SmallCNN()
        optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
        for _ in range(8):
            for batch in torch.randperm(TRAINED_ON).split(50):
                optimizer.zero_grad()
                F.cross_entropy(network(images[batch]), labels[batch]).backward()
                optimizer.step()
    optimizer.zero_grad()
    return network.eval()


def foolbox_fgsm(foolbox: ModuleType, norm: str) -> Any:
    name = {"linf": "LinfFastGradientAttack", "l2": "L2FastGradientAttack"}[norm]
    return getattr(foolbox.attacks, name)()


def foolbox_pgd(foolbox: ModuleType, norm: str, start: Tensor | bool) -> Any:
    """Return foolbox's PGD with the defaults of ``PGD`` here: 10 steps of ε / 4.

    It starts at the image (False), at a point that it draws (True), or at the image plus ε times
    ``start``, float32 (N, 3, H, W).
    """
    name = {"linf": "LinfProjectedGradientDescentAttack", "l2": "L2ProjectedGradientDescentAttack"}
    attack = getattr(foolbox.attacks, name[norm])(
        steps=10, rel_stepsize=0.25, random_start=start is not False
    )
    if not isinstance(start, bool):
        attack.get_random_start = lambda x0, epsilon: type(x0)(x0.raw + epsilon * start)
    return attack


def foolbox_correct(
    foolbox: ModuleType,
    attack: Any,
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    epsilon: float,
) -> Tensor:
    """Return bool (N,): classified correctly, both unchanged and under foolbox's attack.

    foolbox's loss is the plain cross-entropy, so its network's logits are scaled as ours are.
    """
    model = foolbox.PyTorchModel(WithScaledLogits(network), bounds=(0, 1), device="cpu")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)  # another seed than ours, so that the starting points differ
        _, _, broken = attack(model, images, labels, epsilons=epsilon)
    with torch.no_grad():
        return (network(images).argmax(1) == labels) & ~broken


def autoattack_correct(
    pyautoattack: ModuleType,
    attack: Attack,
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    epsilon: float,
) -> Tensor:
    """Return bool (N,): classified correctly, both unchanged and under the reference's attack.

    The reference is the code of Croce and Hein, in the package pyautoattack, with the steps,
    restarts, targets and queries of ``attack``. Its Square Attack gets the paper's schedule for the
    number of queries, which it has as an option and AutoAttack does not use.
    """
    standard = attack.name == "autoattack"
    names = {"ce": "apgd-ce", "dlr": "apgd-dlr", "dlr_targeted": "apgd-t"}
    name = attack.name
    if isinstance(attack, APGD):
        name = names[attack.loss]
    elif isinstance(attack, FAB) and attack.targets:
        name = "fab-t"
    with torch.random.fork_rng(devices=[]):
        reference = pyautoattack.AutoAttack(
            network,
            norm={"linf": "Linf", "l2": "L2"}[attack.norm],
            eps=epsilon,
            seed=1,
            version="standard" if standard else "custom",
            attacks=None if standard else [name],
        )
        if isinstance(attack, APGD):
            for theirs in (reference.apgd, reference.apgd_targeted):
                assert theirs.n_iter == attack.steps
                theirs.n_restarts = attack.restarts
            reference.apgd_targeted.n_target_classes = attack.targets
        elif isinstance(attack, FAB):
            reference.fab.n_iter, reference.fab.n_restarts = attack.steps, attack.restarts
            reference.fab.n_target_classes = attack.targets
        elif isinstance(attack, Square):
            reference.square.n_queries, reference.square.p_init = attack.queries, attack.p
            reference.square.rescale_schedule = True
        adversarial, _ = reference.run_standard_evaluation(images, labels)
    with torch.no_grad():
        return (network(images).argmax(1) == labels) & (network(adversarial).argmax(1) == labels)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def run(
    spec: str,
    predict: Callable[[Tensor], Tensor],
    images: Tensor,
    labels: Tensor,
    epsilon: float | None = None,
    batch_size: int = 100,
) -> Attacked:
    """Return the outcome of an attack with the draws of seed 0, at ``EPSILON`` unless given."""
    attack = ATTACKS.resolve(spec)
    epsilon = EPSILON[attack.norm] if epsilon is None else epsilon
    return attack(predict, images, labels, epsilon, seeded(), batch_size)


def same(first: Attacked, second: Attacked) -> bool:
    return torch.equal(first.images, second.images) and torch.equal(first.correct, second.correct)


def four_means(images: Tensor) -> Tensor:
    """Return the mean of each channel as logits, the last twice."""
    return images.mean((2, 3))[:, [0, 1, 2, 2]]


def infinite_gradient(images: Tensor) -> Tensor:
    """The gradient of the root is infinite at 0, and 0 · ∞ is NaN."""
    return four_means(images) + four_means((images - images.detach()).abs().sqrt())
