"""A small study whose learning rates are chosen from a grid of two."""

from __future__ import annotations

from actbench.study.study import Study

GRID = (0.001, 0.05)
TUNED = Study(
    model="mlp:depth=1,width=16",
    activations=("relu", "tanh"),
    seeds=(0,),
    train_images=200,
    epochs=2,
    batch_size=16,
    optimizer="sgd:momentum=0.9",
    schedule="constant",
    corruptions=(),
    tune_lr=GRID,
)
