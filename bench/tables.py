"""The tables of bench/README.md from the numbers that pytest-benchmark stored.

    python -m pytest bench --benchmark-json FILE.json
    python bench/tables.py FILE.json

The first line is the processor. Ratios have a table of their own.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tabulate import tabulate

from interleaved import Ratio

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))


def parts_table(benchmarks: Iterable[Mapping[str, Any]]) -> str:
    """Return the median and the interquartile range of each benchmark that is not a ratio."""
    rows = []
    for benchmark in benchmarks:
        if "ratio" in benchmark["extra_info"]:
            continue
        file = Path(benchmark["fullname"].partition("::")[0]).stem
        name, _, parameters = benchmark["name"].removeprefix("test_").partition("[")
        values = ", ".join(str(v) for v in (benchmark["params"] or {}).values())
        what = name.replace("_", " ") + (f": {values.replace('_', ' ')}" if parameters else "")
        stats = benchmark["stats"]
        spread = time(stats["iqr"]) if stats["rounds"] > 1 else "–"
        subject = file.removeprefix("test_").removesuffix("_time")
        rows.append((subject, what, time(stats["median"]), spread, str(stats["rounds"])))
    return _table(rows, ("file", "what", "median", "IQR", "n"), right="median IQR n")


def ratios_table(ratios: Iterable[tuple[str, Ratio]]) -> str:
    """Return each ratio's median, its 95 % interval and the number of rounds."""
    rows = [
        (question, f"{r.median:.2f}", f"{r.low:.2f} to {r.high:.2f}", str(r.rounds))
        for question, r in ratios
    ]
    return _table(rows, ("ratio of seconds", "median", "95 % interval", "n"), right="median n")


def time(seconds: float) -> str:
    """Return seconds with three digits in the largest unit in which they are at least 1."""
    size, unit = next((u for u in UNITS if seconds >= u[0]), UNITS[-1])
    value = seconds / size
    return f"{value:.{max(0, 3 - len(str(int(value))))}f} {unit}"


def _table(rows: list[tuple[str, ...]], headers: tuple[str, ...], right: str) -> str:
    if not rows:
        return ""
    aligned = ["right" if head in right.split() else "left" for head in headers]
    return tabulate(rows, headers, tablefmt="pipe", colalign=aligned, disable_numparse=True)


def main() -> None:
    """Print the tables of each file."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.json")
    for file in parser.parse_args().files:
        stored = json.loads(file.read_text(encoding="utf-8"))
        found = [b["extra_info"] for b in stored["benchmarks"] if "ratio" in b["extra_info"]]
        ratios = [(extra["question"], Ratio(**extra["ratio"])) for extra in found]
        print(stored["machine_info"]["cpu"]["brand_raw"])
        for table in (parts_table(stored["benchmarks"]), ratios_table(ratios)):
            if table:
                print(f"\n{table}")


if __name__ == "__main__":
    main()
