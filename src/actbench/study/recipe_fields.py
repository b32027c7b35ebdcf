"""The fields of a study that say how its networks are trained."""

from __future__ import annotations

from dataclasses import dataclass

from actbench.study.fields import (
    MAX_RATE,
    RUN,
    TRAINED,
    Rule,
    are_different,
    are_rates,
    integer,
    is_number,
    number,
    one_of,
    setting,
)

AUGMENTATIONS = ("auto", "flip", "none")
DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("auto", "fp32", "tf32", "bf16")
KERNELS = ("auto", "native", "torch")
INITS = ("default", "slope_aware")
_is_rate = is_number(0, MAX_RATE, above=True)


@dataclass(frozen=True, kw_only=True)
class RecipeFields:
    """How a network is trained, and on what device."""

    epochs: int = setting(10, integer(1), TRAINED, "Passes over the training images.", metavar="N")
    batch_size: int = setting(64, integer(1), TRAINED, "Images per step.", metavar="N")
    learning_rate: float = setting(
        0.01,
        number(0, MAX_RATE, above=True),
        TRAINED,
        "Learning rate of SGD.",
        flag="--lr",
        metavar="RATE",
    )
    tune_lr: tuple[float, ...] = setting(
        (),
        Rule(
            lambda v: v == () or are_different(_is_rate, at_least=2)(v),
            f"a list of two or more different numbers above 0, up to {MAX_RATE}",
        ),
        TRAINED,
        "Choose each activation's learning rate from this grid, such as 0.003,0.01,0.03, on a "
        "tenth of the training images.",
        metavar="RATE,…",
    )
    learning_rates: tuple[tuple[str, float], ...] = setting(
        (),
        Rule(are_rates, 'a list of pairs such as ["relu", 0.01], each activation once'),
        TRAINED,
        "The learning rates of single activations, chosen by tune_lr or given; learning_rate is "
        "for all others.",
        flag=None,
    )
    momentum: float = setting(0.9, number(0, 1), TRAINED, "Momentum of SGD.", metavar="SHARE")
    weight_decay: float = setting(
        0.0,
        number(0, MAX_RATE),
        TRAINED,
        "Weight decay of SGD, on all parameters but those of activations.",
        metavar="RATE",
    )
    init: str = setting(
        "default",
        one_of(*INITS),
        TRAINED,
        "Initial weights: the network's own, or Kaiming's with each activation's gain.",
    )
    augmentation: str = setting(
        "auto",
        one_of(*AUGMENTATIONS),
        TRAINED,
        "Flip training images left-right at random: if labels allow it, always, or never.",
    )
    device: str = setting(
        "cpu",
        one_of(*DEVICES),
        RUN,
        "The device: cuda is this machine's GPUs; auto is cuda if there is a GPU, else cpu.",
    )
    precision: str = setting(
        "fp32",
        one_of(*PRECISIONS),
        TRAINED,
        "bf16 multiplies in bfloat16 and sums in float32 (torch.autocast); tf32, on GPUs only, "
        "rounds factors to 10 bits; auto is bf16 where the device has bfloat16 arithmetic.",
    )
    kernels: str = setting(
        "auto",
        one_of(*KERNELS),
        TRAINED,
        "native computes convolution and max-pool as one operation, in half the time; it needs a "
        "C++ compiler.",
    )
