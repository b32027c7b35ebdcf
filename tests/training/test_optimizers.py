"""The optimizers equal to those of torch.optim, without loading PyTorch's compiler."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from actbench.training.optimizers import SGD, make_optimizer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

THEIRS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": lambda p, **k: torch.optim.SGD(p, fused=True, **k),
    "sgd:momentum=0.9": lambda p, **k: torch.optim.SGD(p, momentum=0.9, fused=True, **k),
    "sgd:momentum=1": lambda p, **k: torch.optim.SGD(p, momentum=1, fused=True, **k),
    "sgd:momentum=0.8,nesterov=true": lambda p, **k: torch.optim.SGD(
        p, momentum=0.8, nesterov=True, fused=True, **k
    ),
    "adam": lambda p, **k: torch.optim.Adam(p, fused=True, **k),
    "adam:beta1=0.8,beta2=0.9,eps=1e-4": lambda p, **k: torch.optim.Adam(
        p, betas=(0.8, 0.9), eps=1e-4, fused=True, **k
    ),
    "adamw": lambda p, **k: torch.optim.AdamW(p, fused=True, **k),
    "rmsprop": lambda p, **k: torch.optim.RMSprop(p, **k),
    "rmsprop:alpha=0.9,eps=1e-4,momentum=0.5,centered=true": lambda p, **k: torch.optim.RMSprop(
        p, alpha=0.9, eps=1e-4, momentum=0.5, centered=True, **k
    ),
}


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(3, 8, 3), nn.PReLU(), nn.Flatten(), nn.Linear(8 * 36, 4))
    return layers.to(memory_format=torch.channels_last)


def train(trained: Iterable[tuple[nn.Module, Any]], rates: Iterable[float]) -> None:
    generator = torch.Generator().manual_seed(1)
    for rate in rates:
        x = torch.randn(16, 3, 8, 8, generator=generator)
        for model, optimizer in trained:
            if isinstance(optimizer, torch.optim.Optimizer):
                for group in optimizer.param_groups:
                    group["lr"] = rate
            else:
                optimizer.learning_rate = rate
            optimizer.zero_grad()
            model(x).square().mean().backward()
            optimizer.step()


@pytest.mark.parametrize("spec", THEIRS)
@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
def test_steps_are_those_of_torch_optim_to_the_last_bit(spec: str, weight_decay: float) -> None:
    """The rates change, and the activation's slope has no weight decay."""
    ours, theirs = network(), network()
    optimizer = make_optimizer(
        spec,
        ours.parameters(),
        learning_rate=0.05,
        weight_decay=weight_decay,
        undecayed=[ours[1].weight],
    )
    groups = [
        {"params": [p for p in theirs.parameters() if p is not theirs[1].weight]},
        {"params": [theirs[1].weight], "weight_decay": 0},
    ]
    reference = THEIRS[spec](groups, lr=0.05, weight_decay=weight_decay)
    train([(ours, optimizer), (theirs, reference)], [0.05, 0.05, 0.02, 0.01, 0.03])
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("spec", THEIRS)
def test_the_state_is_all_that_a_step_needs(spec: str) -> None:
    def made() -> tuple[nn.Module, Any]:
        model = network()
        recipe = {"learning_rate": 0.05, "weight_decay": 0.01}
        return model, make_optimizer(spec, model.parameters(), **recipe)

    through, stopped, resumed = made(), made(), made()
    train([through, stopped], [0.05, 0.02])
    for kept, fresh in zip(
        [*stopped[0].parameters(), *stopped[1].state],
        [*resumed[0].parameters(), *resumed[1].state],
        strict=True,
    ):
        fresh.detach().copy_(kept)
    train([through, resumed], [0.01, 0.03])
    for a, b in zip(through[0].parameters(), resumed[0].parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("spec", THEIRS)
def test_a_parameter_without_a_gradient_does_not_change(spec: str) -> None:
    used, unused, frozen = (torch.ones(2) for _ in range(3))
    used.requires_grad_()
    unused.requires_grad_()
    optimizer = make_optimizer(spec, [used, unused, frozen], learning_rate=0.1, weight_decay=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        used.sum().backward()
        optimizer.step()
    assert (used < 1).all()
    assert torch.equal(unused.detach(), torch.ones(2))
    assert torch.equal(frozen, torch.ones(2))


def test_training_does_not_load_the_compiler() -> None:
    script = (
        "import sys, torch; from actbench.training.optimizers import make_optimizer\n"
        "for spec in ('sgd', 'adam', 'rmsprop'):\n"
        "    w = torch.ones(2).requires_grad_()\n"
        "    o = make_optimizer(spec, [w], learning_rate=1, weight_decay=0)\n"
        "    w.sum().backward(); torch.nn.utils.clip_grad_norm_([w], 1.0); o.step()\n"
        "    print('torch._dynamo' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "False\n" * 3, done.stderr


def test_sgd_holds_one_momentum_buffer_for_each_trained_parameter() -> None:
    model = network()
    model[3].bias.requires_grad_(False)
    optimizer = SGD(model.parameters(), learning_rate=0.1, momentum=0.9, weight_decay=0)
    assert [tuple(buffer.shape) for buffer in optimizer.state] == [
        (8, 3, 3, 3),
        (8,),
        (1,),
        (4, 288),
    ]
