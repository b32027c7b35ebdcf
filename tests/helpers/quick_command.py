"""``python -m helpers.quick_command`` is ``python -m actbench`` with few digits and no figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from actbench.cli import main as cli
from actbench.data.datasets import DATASETS
from actbench.report import write
from helpers.few_digits import FEW_DIGITS

if TYPE_CHECKING:
    from typing import Any


def small_picture(*_: Any) -> dict[str, Figure]:
    """Return one small picture in place of a report's figures, which take most of its time."""
    picture = Figure(figsize=(0.1, 0.1))
    picture.set_label("training")
    return {"training": picture}


def main(arguments: list[str] | None = None) -> None:
    """Run the command line with these arguments or those of the process."""
    write.all_figures = small_picture
    DATASETS["digits"] = FEW_DIGITS
    cli.main(arguments)


if __name__ == "__main__":
    main()
