"""FAB: the shortest steps to a hyperplane, and the nearest adversarial image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from scipy import optimize

from actbench.attacks.fab import is_within, shortest_step
from actbench.attacks.registry import ATTACKS

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIZE = 3 * 2 * 2


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def reachable(normal: torch.Tensor, point: torch.Tensor, share: float) -> float:
    """Return this share of the largest rise that a step within [0, 1] can have."""
    return share * float(torch.where(normal > 0, 1 - point, -point) @ normal)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.6, 0.97, -0.5])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_shortest_step_is_that_of_a_general_solver(norm, share):
    points = torch.rand(8, 3, 2, 2, generator=seeded(1))
    points[0, 0] = 0.0  # at the ends of the range
    points[1, 1] = 1.0
    normals = torch.randn(8, 3, 2, 2, generator=seeded(2))
    normals[2, 0] = 0.0
    flat = list(zip(points.flatten(1), normals.flatten(1), strict=True))
    rises = torch.tensor(
        [reachable(n, p, share) if share >= 0 else reachable(-n, p, share) for p, n in flat]
    )
    steps = shortest_step(points, normals, rises, norm)
    assert float((points + steps).min()) >= -1e-6
    assert float((points + steps).max()) <= 1 + 1e-6
    reached = (normals * steps).flatten(1).sum(1)
    torch.testing.assert_close(reached, rises, atol=1e-5, rtol=1e-4)
    for (point, normal), rise, step in zip(flat, rises, steps.flatten(1), strict=True):
        if norm == "linf":
            shortest = least_largest_change(point.numpy(), normal.numpy(), float(rise))
        else:
            shortest = least_length(point.double().numpy(), normal.double().numpy(), float(rise))
        length = float(step.abs().max() if norm == "linf" else step.norm())
        assert length == pytest.approx(shortest, abs=1e-4)


def least_largest_change(point: NDArray[Any], normal: NDArray[Any], rise: float) -> float:
    """Return the L∞ length by linear programming; the last variable is the length."""
    ones = np.ones((SIZE, 1))
    solved = optimize.linprog(
        [0.0] * SIZE + [1.0],
        A_ub=np.vstack([np.hstack([sign * np.eye(SIZE), -ones]) for sign in (1, -1)]),
        b_ub=np.zeros(2 * SIZE),
        A_eq=[[*normal, 0.0]],
        b_eq=[rise],
        bounds=[*((-p, 1 - p) for p in point), (0, None)],
    )
    assert solved.success
    return float(solved.fun)


def least_length(point: NDArray[Any], normal: NDArray[Any], rise: float) -> float:
    """Return the L2 length from the conditions of optimality: δ is μ · normal, clipped."""

    def step(multiplier: float) -> NDArray[Any]:
        return np.clip(multiplier * normal, -point, 1 - point)

    root = optimize.brentq(lambda m: normal @ step(m) - rise, -1e4, 1e4, xtol=1e-14)
    return float(np.linalg.norm(step(root)))


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_rise_out_of_reach_gives_the_corner_and_no_normal_gives_no_step(norm):
    points = torch.rand(3, 3, 2, 2, generator=seeded())
    normals = torch.randn(3, 3, 2, 2, generator=seeded(1))
    normals[2] = 0
    steps = shortest_step(points, normals, torch.tensor([1e9, -1e30, 1.0]), norm)
    torch.testing.assert_close(points[0] + steps[0], (normals[0] > 0).float())
    torch.testing.assert_close(points[1] + steps[1], (normals[1] < 0).float())
    assert not steps[2].any()


@pytest.mark.parametrize("scale", [1e-30, 1e30])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_scale_of_the_logits_changes_no_step(norm, scale):
    points = torch.rand(5, 3, 2, 2, generator=seeded())
    normals = torch.randn(5, 3, 2, 2, generator=seeded(1))
    rises = torch.full((5,), 0.5)
    torch.testing.assert_close(
        shortest_step(points, scale * normals, scale * rises, norm),
        shortest_step(points, normals, rises, norm),
    )


@pytest.mark.parametrize("spec", ["fab:steps=15", "fab:steps=15,targets=3"])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_it_finds_the_boundary_of_a_linear_network_to_one_percent(norm, spec):
    """The distance to a boundary between two classes is the logit difference / dual norm."""
    weights = torch.randn(4, 3 * 4 * 4, generator=seeded(1))
    images = 0.4 + 0.2 * torch.rand(100, 3, 4, 4, generator=seeded(2))

    def predict(batch: torch.Tensor) -> torch.Tensor:
        return (batch - 0.5).flatten(1) @ weights.T

    logits = predict(images)
    labels = logits.argmax(1)
    differences = logits.gather(1, labels[:, None]) - logits
    normals = weights[labels][:, None] - weights
    dual = normals.abs().sum(2) if norm == "linf" else normals.norm(dim=2)
    distances = (differences / dual).scatter(1, labels[:, None], torch.inf).amin(1)
    epsilon = float(distances.median())
    attacked = ATTACKS.resolve(f"{spec},norm={norm}")(predict, images, labels, epsilon, seeded())
    decided = (distances / epsilon - 1).abs() > 0.01
    assert torch.equal(attacked.correct[decided], (distances > epsilon)[decided])
    assert decided.sum() > 90


def test_a_further_restart_begins_elsewhere_within_half_of_epsilon():
    shown = []

    def predict(batch: torch.Tensor) -> torch.Tensor:
        shown.append(batch.detach().clone())
        return torch.tensor([1.0, 0.0]).repeat(len(batch), 1)

    images = torch.full((2, 3, 4, 4), 0.5)
    labels = torch.zeros(2, dtype=torch.int64)
    ATTACKS.resolve("fab:steps=1,restarts=2")(predict, images, labels, 0.2, seeded())
    starts = shown[1], shown[3]
    assert torch.equal(starts[0], images)
    assert 0.09 < float((starts[1] - images).abs().max()) <= 0.1


def test_a_point_is_within_epsilon_to_the_last_bit():
    images = torch.full((2, 1, 1, 1), 0.3)
    points = images.clone()
    points[0] += 0.1
    points[1] = torch.nextafter(points[0], torch.tensor(1.0))
    epsilon = float(points[0].double() - images[0].double())
    assert is_within(points, images, epsilon, "linf").tolist() == [True, False]
