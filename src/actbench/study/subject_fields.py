"""The fields of a study that say what is trained: data, network, activations and seeds."""

from __future__ import annotations

from dataclasses import dataclass

from actbench.study.fields import (
    COMPARED,
    MAX_SEED,
    MAX_SEED_COUNT,
    TRAINED,
    Rule,
    are_different,
    checksum,
    image_size,
    integer,
    is_integer,
    setting,
    text,
    texts,
)

DEFAULT_BASELINE = "relu"
DEFAULT_ACTIVATIONS = ("relu", "leaky_relu:0.1", "leaky_relu:0.5")


@dataclass(frozen=True, kw_only=True)
class SubjectFields:
    """The images, the network, its activations and the seeds."""

    dataset: str = setting(
        "digits",
        text("a dataset's name"),
        TRAINED,
        "The data set, or package.module:function; see `actbench list datasets`.",
    )
    dataset_name: str = setting(
        "", text("a line of text", empty=True), TRAINED, "The name of the data in tables."
    )
    data_dir: str = setting(
        "",
        text("a folder or file", empty=True),
        TRAINED,
        "The folder or file of the data set, or the folder to which it is downloaded.",
        metavar="DIR",
    )
    data_checksum: str = setting(
        "", checksum(), TRAINED, "The checksum of the images and labels.", flag=None
    )
    data_notes: tuple[str, ...] = setting(
        (),
        texts("a list of sentences", empty=True),
        TRAINED,
        "What was done to the images when they were read.",
        flag=None,
    )
    image_size: int = setting(
        0,
        image_size(),
        TRAINED,
        "Height and width of the images in pixels, to which they are resized; 0 is the data's own, "
        "which must be one square size.",
        metavar="N",
    )
    train_images: int = setting(
        0,
        integer(0, " (all of them)"),
        TRAINED,
        "Train on the first N training images only; 0 is all of them.",
        metavar="N",
    )
    validation_images: int = setting(
        0,
        integer(0),
        TRAINED,
        "The number of training images, drawn at random, that are held out and replace the test "
        "images.",
        flag=None,
    )
    model: str = setting(
        "cnn",
        text("a network's name"),
        TRAINED,
        "The network; see `actbench list models`.",
        metavar="SPEC",
    )
    activations: tuple[str, ...] = setting(
        DEFAULT_ACTIVATIONS,
        texts("a list of activation specs"),
        TRAINED,
        "Activations such as relu,leaky_relu:0.1; the option can be repeated.",
        flag="--activation",
        metavar="SPEC,…",
    )
    baseline: str = setting(
        DEFAULT_BASELINE,
        text("an activation spec"),
        COMPARED,
        "The activation that all others are compared with.",
        metavar="SPEC",
    )
    seeds: tuple[int, ...] = setting(
        tuple(range(10)),
        Rule(
            are_different(is_integer(0, MAX_SEED)),
            f"a count from 1 to {MAX_SEED_COUNT}, "
            f"or a list of different integers from 0 to {MAX_SEED}",
        ),
        TRAINED,
        "The number of seeds, or a list such as 3,7,11; a list of one ends with a comma.",
    )
