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
    are_settings,
    integer,
    is_number,
    number,
    one_of,
    setting,
    text,
    texts,
)

DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("auto", "fp32", "tf32", "bf16")
KERNELS = ("auto", "native", "torch")
INITS = ("default", "slope_aware")
NORMALISATIONS = ("half", "dataset")
SELECTIONS = ("last", "best")
DECAYS = ("all-but-activations", "weights")
_is_rate = is_number(0, MAX_RATE, above=True)
_is_share = is_number(0, 1)


def _are_statistics(value: object) -> bool:
    return value == () or (
        isinstance(value, tuple)
        and len(value) == 3
        and all(
            isinstance(pair, tuple) and len(pair) == 2 and all(map(_is_share, pair)) and pair[1] > 0
            for pair in value
        )
    )


@dataclass(frozen=True, kw_only=True)
class RecipeFields:
    """How a network is trained, and on what device."""

    epochs: int = setting(10, integer(1), TRAINED, "Passes over the training images.", metavar="N")
    steps: int = setting(
        0,
        integer(0, " (train for epochs)"),
        TRAINED,
        "The total number of training steps, instead of epochs; the last pass may be partial.",
        metavar="N",
    )
    batch_size: int = setting(64, integer(1), TRAINED, "Images per step.", metavar="N")
    optimizer: str = setting(
        "adam",
        text("an optimizer such as sgd:momentum=0.9 or adamw"),
        TRAINED,
        "The optimizer; see `actbench list optimizers`.",
        metavar="SPEC",
    )
    learning_rate: float = setting(
        0.002,
        number(0, MAX_RATE, above=True),
        TRAINED,
        "The learning rate; with a schedule, the largest one.",
        flag="--lr",
        metavar="RATE",
    )
    schedule: str = setting(
        "cosine:warmup=0.1",
        text("a schedule such as step:at=0.5/0.75,factor=0.1 or cosine:warmup=0.05"),
        TRAINED,
        "The learning rate at each step; see `actbench list schedules`.",
        metavar="SPEC",
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
    tune: str = setting(
        "",
        text("a search such as random:lr=0.001/0.1,weight_decay=1e-5/1e-2", empty=True),
        TRAINED,
        "Choose each activation's learning rate, and weight decay if a range is given, on a tenth "
        "of the training images in independent tuning studies, such as "
        "random:trials=5,studies=3,lr=LOW/HIGH; the report shows how far the verdicts depend on "
        "the choice.",
        metavar="SPEC",
    )
    tuned: tuple[tuple[str, float, float], ...] = setting(
        (),
        Rule(
            are_settings,
            'a list of entries such as ["relu", 0.01, 0.0001] (activation, learning rate, weight '
            "decay), the same number for each activation",
        ),
        TRAINED,
        "The learning rate and the weight decay of single activations, chosen by tune or given; an "
        "activation's first entry is for the study, the others are for the further tuning studies.",
        flag=None,
    )
    weight_decay: float = setting(
        0.0,
        number(0, MAX_RATE),
        TRAINED,
        "Weight decay of the optimizer; the setting decay selects the parameters.",
        metavar="RATE",
    )
    decay: str = setting(
        "all-but-activations",
        one_of(*DECAYS),
        TRAINED,
        "The parameters with weight decay: all but those of activations, or only the weights of "
        "layers, which leaves out biases and the parameters of normalisation too.",
    )
    clip_gradients: float = setting(
        0.0,
        number(0, MAX_RATE),
        TRAINED,
        "Scale gradients down to this L2 norm over all parameters; 0 turns this off.",
        metavar="NORM",
    )
    label_smoothing: float = setting(
        0.0,
        Rule(lambda v: is_number(0, 1)(v) and v < 1, "a share from 0 to below 1"),
        TRAINED,
        "The share of each training label that is spread evenly over all classes.",
        metavar="SHARE",
    )
    train_against: str = setting(
        "none",
        text("adversarial training such as pgd:epsilon=8/255 or none"),
        TRAINED,
        "Train on attacked or noisy images; see `actbench list adversaries`.",
        metavar="SPEC",
    )
    init: str = setting(
        "default",
        one_of(*INITS),
        TRAINED,
        "Initial weights: the network's own, or Kaiming's with each activation's gain.",
    )
    augment: tuple[str, ...] = setting(
        ("auto",),
        texts("a list of augmentations such as flip and crop:4", empty=True),
        TRAINED,
        "Random changes of training images such as flip,crop:4, or none; auto is flip if labels "
        "allow it; see `actbench list augmentations`.",
    )
    normalise: str = setting(
        "half",
        one_of(*NORMALISATIONS),
        TRAINED,
        "Subtract and divide by 0.5, or by the mean and the standard deviation of each channel of "
        "the training images.",
    )
    pixel_statistics: tuple[tuple[float, float], ...] = setting(
        (),
        Rule(_are_statistics, "a mean and a standard deviation above 0 for each of 3 channels"),
        TRAINED,
        "The mean and the standard deviation of each channel, for pixels in [0, 1], used if "
        "normalise is dataset; found before training.",
        flag=None,
    )
    validation: float = setting(
        0.0,
        number(0, 0.5),
        TRAINED,
        "The share of the training images of each class that is held out, drawn anew for each "
        "seed, and scored after each epoch in place of the test images.",
        metavar="SHARE",
    )
    select: str = setting(
        "last",
        one_of(*SELECTIONS),
        TRAINED,
        "The weights to measure: those after the last epoch, or after the one with the best "
        "accuracy on the held-out images.",
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

    def learning_rate_of(self, activation: str) -> float:
        """Return the learning rate that an activation is trained with."""
        for rate, _ in self.tuned_settings(activation):
            return rate
        return dict(self.learning_rates).get(activation, self.learning_rate)

    def weight_decay_of(self, activation: str) -> float:
        """Return the weight decay that an activation is trained with."""
        return next((decay for _, decay in self.tuned_settings(activation)), self.weight_decay)

    def tuned_settings(self, activation: str) -> list[tuple[float, float]]:
        """Return an activation's learning rate and weight decay of each tuning study, if any."""
        return [(rate, decay) for name, rate, decay in self.tuned if name == activation]
