"""A vision transformer (Dosovitskiy et al. 2021, arXiv:2010.11929) for small images."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn

from actbench.errors import UsageError
from actbench.models.networks.layers import IMAGE_SIZE

if TYPE_CHECKING:
    from actbench.models.activations import ActivationFactory

DEVIATION = 0.02  # of initial weights, as in BERT and ViT's published code


class Attention(nn.Module):
    """Self-attention of ``heads`` heads, for tokens (N, L, width)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return shape (N, L, width)."""
        query, key, value = (
            part.unflatten(2, (self.heads, -1)).transpose(1, 2)
            for part in self.qkv(x).chunk(3, dim=2)
        )
        scale = 1 / math.sqrt(query.shape[-1])
        weights = ((query * scale) @ key.transpose(2, 3)).softmax(3)
        return self.out((weights @ value).transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class EncoderBlock(nn.Module):
    """Attention, then two linear layers with the activation between, each after layer norm."""

    def __init__(self, activation: ActivationFactory, width: int, heads: int) -> None:
        super().__init__()
        self.ln1, self.attention = nn.LayerNorm(width, eps=1e-6), Attention(width, heads)
        self.ln2, self.fc1 = nn.LayerNorm(width, eps=1e-6), nn.Linear(width, 4 * width)
        self.act, self.fc2 = activation(), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return shape (N, L, width), that of x."""
        x = x + self.attention(self.ln1(x))
        return x + self.fc2(self.act(self.fc1(self.ln2(x))))  # type: ignore[no-any-return]


class ViT(nn.Module):
    """``depth`` encoder blocks over patches of ``patch`` × ``patch`` pixels and a class token.

    Positions are learned; there is no dropout. The paper's activation is GELU.
    """

    def __init__(
        self,
        activation: ActivationFactory,
        num_classes: int,
        image_size: int = IMAGE_SIZE,
        *,
        patch: int,
        width: int,
        depth: int,
        heads: int,
    ) -> None:
        super().__init__()
        if image_size % patch:
            raise UsageError(
                f"model 'vit' has patches of {patch}×{patch} pixels, which do not divide images of "
                f"{image_size}×{image_size}; patch must divide {image_size}"
            )
        self.patches = nn.Conv2d(3, width, patch, patch)
        self.token = nn.Parameter(torch.empty(1, 1, width))
        self.positions = nn.Parameter(torch.empty(1, (image_size // patch) ** 2 + 1, width))
        self.blocks = nn.Sequential(*(EncoderBlock(activation, width, heads) for _ in range(depth)))
        self.ln = nn.LayerNorm(width, eps=1e-6)
        self.fc = nn.Linear(width, num_classes)
        for drawn in (self.token, self.positions):
            nn.init.normal_(drawn, std=DEVIATION)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=DEVIATION)
                nn.init.zeros_(module.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (N, classes) for normalised images (N, 3, size, size)."""
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(x), -1, -1), tokens], 1) + self.positions
        return self.fc(self.ln(self.blocks(tokens))[:, 0])  # type: ignore[no-any-return]
