"""The random changes of Square Attack; their schedule is tested in test_black_box.py."""

from __future__ import annotations

import pytest
import torch

from actbench.attacks.squares import L2Squares, LinfSquares, opposite_hills, placed_hills, windows

EPSILON = 1.5


def draws(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("side", [3, 5, 7, 8, 12])
def test_the_hills_are_the_papers(side):
    """Its formula, summed term by term: Σ 1 / (n + 1 − k)² from k = 0 to n − distance."""

    def hill(height: int, width: int) -> torch.Tensor:
        n = max(height, width) // 2
        values = torch.zeros(height, width)
        for row in range(height):
            for column in range(width):
                distance = max(abs(row - height // 2), abs(column - width // 2))
                for k in range(n - distance + 1):
                    values[row, column] += 1 / (n + 1 - k) ** 2
        return values

    upper = side // 2
    expected = torch.cat([hill(upper, side), -hill(side - upper, side)])
    hills = opposite_hills(side)
    torch.testing.assert_close(hills, expected / expected.norm())
    assert float(hills.norm()) == pytest.approx(1)


def test_placed_hills_lie_in_the_window_in_either_direction():
    images, side = torch.zeros(6, 3, 9, 11), 5
    positions = draws(6, 2)
    flips = torch.tensor([0.1, 0.9] * 3)
    inside = windows(images, positions, side)[:, 0]
    placed = placed_hills(images, positions, flips, side)[:, 0]
    hills = opposite_hills(side)
    for number in range(6):
        expected = hills if number % 2 else hills.T
        assert torch.equal(placed[number][inside[number]].view(side, side), expected)
        assert not placed[number][~inside[number]].any()


def test_all_places_of_a_window_are_drawn():
    inside = windows(torch.zeros(2000, 1, 6, 6), draws(2000, 2), 4)
    corners = {tuple(window[0].nonzero()[0].tolist()) for window in inside}
    assert corners == {(row, column) for row in range(3) for column in range(3)}


def test_the_first_points_are_tiles_of_hills_at_the_full_distance():
    images = torch.full((4, 3, 32, 32), 0.5)
    squares = L2Squares(images, EPSILON)
    some = torch.arange(4)
    offset = squares.first(some, draws(4, *squares.first_draws)) - images
    torch.testing.assert_close(offset.flatten(1).norm(dim=1), torch.full((4,), EPSILON))
    assert not offset[:, :, 0].any()  # five tiles of six pixels leave one on each side
    tiles = offset[:, :, 1:31, 1:31].unfold(2, 6, 6).unfold(3, 6, 6)
    unit = tiles / torch.linalg.vector_norm(tiles, dim=(4, 5), keepdim=True)
    hills = opposite_hills(6)
    similarity = (unit * hills).sum((4, 5)), (unit * hills.T).sum((4, 5))
    upright = (similarity[0].abs() - 1).abs() < 1e-4
    lying = (similarity[1].abs() - 1).abs() < 1e-4
    assert (upright ^ lying).all()
    assert 0 < upright.double().mean() < 1
    assert upright.all(1).any()  # the direction is the same in all channels


def test_a_change_moves_length_between_two_squares_and_keeps_the_distance():
    images = torch.full((20, 3, 32, 32), 0.5)
    squares, some = L2Squares(images, EPSILON), torch.arange(20)
    points = squares.first(some, draws(20, *squares.first_draws))
    drawn = draws(20, *squares.draws, seed=1)
    changed = points.clone()
    undo = squares.change(changed, some, drawn, area=0.05)
    side = 7  # the square root of 0.05 · 32², to the next odd number
    gains, loses = (windows(images, drawn[:, at : at + 2], side) for at in (0, 2))
    offset = changed - images
    torch.testing.assert_close(offset.flatten(1).norm(dim=1), torch.full((20,), EPSILON))
    outside = (~(gains | loses)).expand_as(offset)
    torch.testing.assert_close(changed[outside], points[outside])
    assert not offset[(loses & ~gains).expand_as(offset)].any()
    moved = ((changed - points) * gains).flatten(1).norm(dim=1)
    assert (moved > 0.01).all()
    undo(some % 2 == 0)
    assert torch.equal(changed[::2], points[::2])
    assert (changed[1::2] != points[1::2]).flatten(1).any(1).all()


def test_what_clipping_leaves_of_the_distance_is_used_by_the_next_change():
    """At white, half of the values cannot rise, so the first points are nearer than ε."""
    images = torch.ones(5, 3, 32, 32)
    squares, some = L2Squares(images, EPSILON), torch.arange(5)
    points = squares.first(some, draws(5, *squares.first_draws))
    before = (points - images).flatten(1).norm(dim=1)
    assert (before < 0.9 * EPSILON).all()
    for seed in range(6):
        squares.change(points, some, draws(5, *squares.draws, seed=seed), area=0.2)
    assert ((points - images).flatten(1).norm(dim=1) > before).all()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_change_in_linf_sets_a_square_to_the_bounds_and_can_be_undone(layout):
    images = draws(20, 3, 32, 30).to(memory_format=layout)
    squares, some = LinfSquares(images, 0.1), torch.arange(20).flip(0)[:12]
    before = squares.first(some, draws(12, *squares.first_draws)).to(memory_format=layout)
    drawn, points = draws(12, *squares.draws, seed=1), before.clone()
    undo = squares.change(points, some, drawn, area=0.05)
    inside = windows(points, drawn[:, :2], 7)
    expected = torch.where(inside, squares.first(some, drawn[:, 2:, None, None]), before)
    assert torch.equal(points, expected)
    odd = some % 2 == 1
    undo(odd)
    assert torch.equal(points[odd], before[odd])
    assert torch.equal(points[~odd], expected[~odd])
    assert (before != expected).flatten(1).any(1).all()
