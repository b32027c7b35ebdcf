"""``actbench list``: the names that ``actbench run`` knows."""

from __future__ import annotations

import dataclasses

import click

from actbench.cli.terminal import show


@click.group(name="list")
def list_() -> None:
    """Show the names that `actbench run` knows."""


@list_.command()
def activations() -> None:
    """Activations with their parameters and what they compute."""
    from actbench.models.activations import ACTIVATIONS, check_activation, resolve_activation

    rows = []
    for name, definition in ACTIVATIONS.items():
        check = check_activation(resolve_activation(name))
        parameters = ", ".join(
            f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}"
            for k, v in definition.parameters.items()
        )
        values = (check.at_minus_one, check.at_zero, check.at_one)
        rows.append(
            [
                name,
                parameters,
                *(f"{value:.4g}" for value in values),
                "yes" if check.monotone else "no",
                str(check.trainable_parameters),
            ]
        )
    headers = ["name", "parameters", "f(−1)", "f(0)", "f(1)", "monotone", "trainable"]
    _print_table(rows, headers)


@list_.command()
def datasets() -> None:
    """Data sets."""
    from actbench.data.datasets import DATASETS

    _print_table([[name, about] for name, (_, about) in DATASETS.items()], ["name", ""])


@list_.command()
def models() -> None:
    """Networks."""
    from actbench.models.networks import MODELS

    _print_table([[name, about] for name, (_, _, about) in MODELS.items()], ["name", ""])


@list_.command()
def corruptions() -> None:
    """Corruptions and suites of them."""
    from actbench.corruptions.registry import CORRUPTIONS, SUITES

    rows = [
        [name, (function.__doc__ or "").partition("\n")[0]]
        for name, function in CORRUPTIONS.items()
    ]
    _print_table(
        rows + [[name, ", ".join(members)] for name, members in SUITES.items()], ["name", ""]
    )


@list_.command()
def attacks() -> None:
    """Attacks with their parameters."""
    from actbench.attacks.registry import ATTACKS

    rows = [
        [
            name,
            ", ".join(f"{item.name}={str(item.default).lower()}" for item in dataclasses.fields(a)),
            (a.__doc__ or "").partition("\n")[0],
        ]
        for name, a in ATTACKS.items()
    ]
    _print_table(rows, ["name", "parameters", ""])


def _print_table(rows: list[list[str]], headers: list[str]) -> None:
    from tabulate import tabulate

    show(tabulate(rows, headers=headers, disable_numparse=True))
