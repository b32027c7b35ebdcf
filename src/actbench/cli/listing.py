"""``actbench list``: the names that ``actbench run`` knows."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import click

from actbench.cli.terminal import show
from actbench.errors import UsageError
from actbench.study.levels import SEVERITIES
from actbench.study.specs import shortest_text, value_text

if TYPE_CHECKING:
    from collections.abc import Collection

    from actbench.study.registry import Entry, Registry


@click.group(name="list")
def list_() -> None:
    """Show the names that `actbench run` knows."""


_WRAPPED = frozenset({"parameters", "what it is"})


@list_.command()
def activations() -> None:
    """Activations with their parameters and formulas."""
    from actbench.study.activations import ACTIVATIONS

    others = {name: f" ({other})" for other, name in ACTIVATIONS.aliases.items()}
    _print_table(
        [[f"{n}{others.get(n, '')}", _parameters(e), e.help] for n, e in ACTIVATIONS.items()],
        ["name", "parameters", "f(x)"],
        wrapped={"parameters", "f(x)"},
    )


@list_.command()
def datasets() -> None:
    """Data sets."""
    from actbench.cli.tables import terminal
    from actbench.data.datasets import DATASETS

    _print_described([[name, entry.help] for name, entry in DATASETS.items()])
    show()
    terminal().print(
        "Your own function, package.module:function or ./file.py:function, returns x_train, "
        "y_train, x_test and y_test; docs/images.md describes it."
    )


@list_.command()
@click.argument("specs", nargs=-1, metavar="[SPEC]...")
@click.option(
    "--image-size",
    type=click.IntRange(1),
    default=32,
    metavar="N",
    help="The side of the images in pixels.  [default: 32]",
)
@click.option(
    "--classes",
    type=click.IntRange(1),
    default=10,
    metavar="N",
    help="The number of classes.  [default: 10]",
)
def models(specs: tuple[str, ...], image_size: int, classes: int) -> None:
    """Networks with their parameters and their size.

    Without SPEC all networks, else those: wrn:depth=28,width=10, torchvision:resnet18, your own.
    Weights are the trained parameters; multiply-adds are for one image.
    """
    from actbench.models.networks.libraries import LIBRARIES
    from actbench.models.networks.registry import MODELS
    from actbench.models.size import network_size

    def size(model: str) -> list[str]:
        found = network_size(model, classes, image_size)
        return [f"{found.parameters:,}", f"{found.multiply_adds / 1e6:,.1f} M"]

    headers = ["weights", "multiply-adds"]
    if specs:
        _print_table([[spec, *size(spec)] for spec in specs], ["name", *headers], right=headers)
        return
    rows = []
    for name, entry in MODELS.items():
        try:
            numbers = ["–", "–"] if name in LIBRARIES else size(name)
        except UsageError:  # its images are larger
            numbers = ["–", "–"]
        rows.append([name, _parameters(entry), *numbers, entry.help])
    columns = ["name", "parameters", *headers, "what it is"]
    _print_table(rows, columns, wrapped=_WRAPPED, right=headers)


@list_.command()
def corruptions() -> None:
    """Corruptions with their constants, and suites of them."""
    from actbench.corruptions.registry import CORRUPTIONS
    from actbench.corruptions.specs import OF_FILES, SUITES

    lines = [*_wrapped(_CORRUPTIONS, "", ""), ""]
    for name, entry in CORRUPTIONS.items():
        lines += _wrapped(f"{name}  {entry.help}", "", "    ")
        lines += [_HEADER] if _width() >= len(_HEADER) else []
        for parameter, constant in entry.parameters.items():
            lines += _published_values(parameter, constant)
        lines.append("")
    lines.append("Suites:")
    for name, members in {**SUITES, OF_FILES: ("all files in the folder of --cifar10c",)}.items():
        lines += _wrapped(", ".join(members), f"  {name:<11}", " " * 13)
    show("\n".join(lines))


_CORRUPTIONS = """\
A name without constants is measured at severities 1 to 5, with the published constants below:
those for 32 pixels if the shorter side of the images is below 48 pixels, for 64 below 128, for 224
from there. Levels of your own are name:constant=value/value, such as
gaussian_noise:sigma=0.1/0.2/0.4; a constant that is not given has its value of severity 3.
Corruptions of your own are package.module:function and ./file.py:function. With --cifar10c, every
file in the folder is a corruption too."""
_HEADER = "  severity".ljust(20) + "".join(f"{severity:>8}" for severity in SEVERITIES)


def _width() -> int:
    from actbench.cli.tables import terminal

    return min(80, terminal().width)


def _published_values(name: str, constant: Any) -> list[str]:
    """Return a constant's help and a line of values for each size; equal ones share a line."""
    sizes: dict[tuple[str, ...], list[str]] = {}
    for side, values in constant.published.items():
        texts = tuple(value_text(value) for value in values)
        sizes.setdefault(texts, []).append(str(side))
    about = _wrapped(f"{name}: {constant.help} ({constant.rule.expected})", "  ", "      ")
    if _width() < len(_HEADER):
        narrow = (f"{', '.join(s)} px: {', '.join(texts)}" for texts, s in sizes.items())
        return [*about, *(line for text in narrow for line in _wrapped(text, "    ", "      "))]
    return [
        *about,
        *(
            f"    {', '.join(sides)} px".ljust(20) + "".join(f"{text:>8}" for text in texts)
            for texts, sides in sizes.items()
        ),
    ]


def _wrapped(text: str, first: str, later: str) -> list[str]:
    return textwrap.wrap(
        text, _width(), initial_indent=first, subsequent_indent=later, break_on_hyphens=False
    )


@list_.command()
def attacks() -> None:
    """Attacks with their parameters, and the passes through a network of ten classes per image."""
    from actbench.attacks.registry import ATTACKS

    rows = []
    for name, entry in ATTACKS.items():
        cost = ATTACKS.resolve(name).cost(classes=10)
        rows.append([name, _parameters(entry), f"{cost.forward} + {cost.backward}", entry.help])
    _print_table(
        rows, ["name", "parameters", "forward + backward passes", "what it is"], wrapped=_WRAPPED
    )


@list_.command()
def optimizers() -> None:
    """Optimizers with their parameters."""
    from actbench.study.recipe import OPTIMIZERS

    _print_with_parameters(OPTIMIZERS)


@list_.command()
def schedules() -> None:
    """Schedules of the learning rate with their parameters."""
    from actbench.study.recipe import SCHEDULES

    _print_with_parameters(SCHEDULES)


@list_.command()
def augmentations() -> None:
    """Random changes of training images with their parameters."""
    from actbench.study.recipe import AUGMENTATIONS

    _print_with_parameters(AUGMENTATIONS)


@list_.command()
def adversaries() -> None:
    """Kinds of adversarial training with their parameters."""
    from actbench.study.recipe import ADVERSARIES

    _print_with_parameters(ADVERSARIES)


@list_.command()
def claims() -> None:
    """Published tables, which `audit --claim NAME` recomputes and `run --claim NAME` repeats."""
    from actbench.analysis.claims import claim_names, read_claim

    rows = []
    for name in claim_names():
        claim = read_claim(name)
        of_rows = ", ".join(str(len(table.table.rows)) for table in claim.tables)
        verified = "no" if claim.unverified else "yes"
        rows.append([name, claim.title, of_rows, verified])
    _print_table(rows, ["name", "what it is", "rows of its tables", "verified"], wrapped=_WRAPPED)


def _print_table(rows: list[list[str]], headers: list[str], **layout: Collection[str]) -> None:
    from actbench.cli.tables import print_table  # loads rich, which `actbench --help` needs not

    print_table(rows, headers, **layout)


def _parameters(entry: Entry[Any]) -> str:
    return ", ".join(
        f"{name}={min(f'{value:.4g}', text, key=len) if isinstance(value, float) else text}"
        for name, value in entry.defaults.items()
        for text in [shortest_text(value)]
    )


def _print_with_parameters(registry: Registry[Any]) -> None:
    rows = [[name, _parameters(entry), entry.help] for name, entry in registry.items()]
    _print_table(rows, ["name", "parameters", "what it is"], wrapped=_WRAPPED)


def _print_described(rows: list[list[str]]) -> None:
    _print_table(rows, ["name", "what it is"], wrapped={"what it is"})
