"""SGD equal to torch.optim.SGD to the last bit, without loading PyTorch's compiler."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from actbench.training.optimizers import SGD


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(3, 8, 3), nn.PReLU(), nn.Flatten(), nn.Linear(8 * 36, 4))
    return layers.to(memory_format=torch.channels_last)


@pytest.mark.parametrize("momentum", [0.0, 0.9, 1.0])
@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
def test_steps_are_those_of_torch_optim_to_the_last_bit(
    momentum: float, weight_decay: float
) -> None:
    ours, theirs = network(), network()
    recipe = {"momentum": momentum, "weight_decay": weight_decay}
    sgd = SGD(ours.parameters(), learning_rate=0.05, **recipe)
    reference = torch.optim.SGD(theirs.parameters(), lr=0.05, fused=True, **recipe)
    generator = torch.Generator().manual_seed(1)
    for _ in range(5):
        x = torch.randn(16, 3, 8, 8, generator=generator)
        for model, optimizer in ((ours, sgd), (theirs, reference)):
            optimizer.zero_grad()
            model(x).square().mean().backward()
            optimizer.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_parameter_without_a_gradient_does_not_change() -> None:
    used, unused, frozen = (torch.ones(2) for _ in range(3))
    used.requires_grad_()
    unused.requires_grad_()
    optimizer = SGD([used, unused, frozen], learning_rate=0.1, momentum=0.9, weight_decay=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        used.sum().backward()
        optimizer.step()
    assert (used < 1).all()
    assert torch.equal(unused.detach(), torch.ones(2))
    assert torch.equal(frozen, torch.ones(2))


def test_training_does_not_load_the_compiler() -> None:
    script = (
        "import sys, torch; from actbench.training.optimizers import SGD;"
        "w = torch.ones(2).requires_grad_();"
        "o = SGD([w], learning_rate=1, momentum=0, weight_decay=0); w.sum().backward(); o.step();"
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], env=os.environ).returncode == 0


def test_weight_decay_skips_excluded_parameters() -> None:
    ours, theirs = network(), network()
    slope = ours[1].weight
    recipe = {"momentum": 0.9, "weight_decay": 0.1}
    sgd = SGD(ours.parameters(), learning_rate=0.05, undecayed=[slope], **recipe)
    others = [p for p in theirs.parameters() if p is not theirs[1].weight]
    reference = torch.optim.SGD(
        [{"params": others}, {"params": [theirs[1].weight], "weight_decay": 0}],
        lr=0.05,
        fused=True,
        **recipe,
    )
    x = torch.randn(16, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    for _ in range(3):
        for model, optimizer in ((ours, sgd), (theirs, reference)):
            optimizer.zero_grad()
            model(x).square().mean().backward()
            optimizer.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(a, b)
