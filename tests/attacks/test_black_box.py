"""Square Attack: the schedule of its paper, its queries and its strength."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from helpers.attacked_network import run, seeded

if TYPE_CHECKING:
    from torch import Tensor


def test_square_breaks_more_than_noise_of_its_strength(network, images, labels):
    square = run("square:queries=60", network, images, labels, 0.15)
    signs = torch.randint(2, images.shape, generator=seeded()) * 2 - 1
    with torch.no_grad():
        noisy = network((images + 0.15 * signs).clamp(0, 1)).argmax(1) == labels
    assert square.accuracy < float(noisy.double().mean()) - 0.1


def test_square_starts_with_stripes_and_then_tries_smaller_and_smaller_squares(images):
    """The paper's schedule: of 32×32 pixels, shares 0.8 / 4 after 1 %, … and 0.8 / 512 at last."""
    images = 0.2 + 0.6 * images[:80]
    shown: list[Tensor] = []

    def predict(batch: Tensor) -> Tensor:
        shown.append(batch.clone())
        return torch.tensor([1.0, 0.0]).repeat(len(batch), 1)  # so no square is ever kept

    run("square:queries=100", predict, images, torch.zeros(80, dtype=torch.int64), 0.1)
    stripes, squares = shown[1], shown[2:]
    signs = (stripes - images).sign()
    assert torch.equal(signs, signs[:, :, :1].expand_as(signs))
    assert -0.1 < float(signs.mean()) < 0.1
    torch.testing.assert_close((stripes - images).abs(), torch.full_like(images, 0.1))
    for query, side in ((1, 14), (3, 10), (15, 5), (50, 3), (90, 1)):
        changed = (squares[query - 1] != stripes).any(1)
        assert int(changed.any(1).sum(1).max()) == side
        assert int(changed.any(2).sum(1).max()) == side


def test_square_shows_the_network_as_many_images_as_it_has_queries(images, labels):
    shown = []

    def predict(batch: Tensor) -> Tensor:
        shown.append(len(batch))
        return F.one_hot(labels[:10], 10).float()

    run("square:queries=7", predict, images[:10], labels[:10])
    assert shown == [10] * 8  # the unchanged images, then the queries
