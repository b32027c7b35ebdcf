"""Directions and starting points in a ball, and the gradient in the logits."""

from __future__ import annotations

import pytest
import torch

from actbench.attacks.perturbations import ascent_direction, logit_gradient, uniform_in_unit_ball
from helpers.attacked_network import seeded


def test_a_gradient_whose_square_underflows_still_gives_a_direction_of_length_one():
    gradient = torch.randn(3, 3, 4, 4, generator=seeded())
    faint = ascent_direction(gradient * 1e-30, "l2")
    torch.testing.assert_close(faint, ascent_direction(gradient, "l2"))
    torch.testing.assert_close(faint.flatten(1).norm(dim=1), torch.ones(3))


def test_l2_starts_are_uniform_in_the_ball():
    points = uniform_in_unit_ball(torch.zeros(4000, 1, 1, 3), "l2", seeded())
    radius = points.flatten(1).norm(dim=1)
    assert float(radius.max()) <= 1
    assert float((radius < 0.5 ** (1 / 3)).double().mean()) == pytest.approx(0.5, abs=0.03)
    torch.testing.assert_close(points.mean(0), torch.zeros(1, 1, 3), atol=0.03, rtol=0)


@pytest.mark.parametrize("margin", [1e-30, 1.0, 17.0, 100.0, 1e30])
def test_the_gradient_in_the_logits_is_exact_at_any_margin(margin):
    """In float64 from the definition: a softmax with the two largest logits 8 apart."""
    logits = margin * torch.tensor([[5.0, 4.0, 1.0], [0.0, 4.0, 5.0]])
    gradient = logit_gradient(logits, torch.tensor([0, 2]))
    shares = torch.tensor([[0.0, -8.0, -32.0], [-40.0, -8.0, 0.0]]).double().softmax(1)
    expected = shares - torch.eye(3)[[0, 2]]
    torch.testing.assert_close(gradient.double(), expected, rtol=1e-5, atol=0)


def test_the_gradient_in_the_logits_is_finite_if_the_largest_are_equal():
    logits = torch.tensor([[2.0, 2.0, 1.0], [3.0, 2.0, 2.0]])
    gradient = logit_gradient(logits, torch.tensor([0, 1]))
    expected = torch.tensor([[-0.5, 0.5, 0.0], [1.0, -1.0, 0.0]])
    torch.testing.assert_close(gradient, expected, atol=1e-3, rtol=0)
