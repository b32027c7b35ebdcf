"""Every document of a study that repeats a claim says what became of each published row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actbench.cli.summary import print_summary
from actbench.report import write
from actbench.report.summary import read_summary
from helpers.made_studies import made_folder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest
    from matplotlib.figure import Figure

    from actbench.analysis.frames import Frames
    from actbench.store.store import Store
    from helpers.runs import Outcome

ACCURACIES = {
    "relu": (0.860, 0.864, 0.868, 0.871),
    "mish": (0.869, 0.872, 0.877, 0.879),
    "tanh": (0.861, 0.864, 0.869, 0.871),
}
TALLY = "33 published rows, 1 reproduced, 1 contradicted, 31 not measured"


def replication_alone(store: Store, frames: Frames) -> dict[str, Figure | str]:
    """Return the figure of the claim in place of all figures, if the study has one."""
    figure = write.figure_of(store, frames, "replication")
    return {} if figure is None else {"replication": figure}


def test_report_rebuilds_the_claim_from_the_folder_alone(
    tmp_path: Path,
    actbench_here: Callable[..., Outcome],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(write, "all_figures", replication_alone)
    changes = {"claim": "mish-squeezenet", "scale": 0.1, "dataset_name": "CIFAR-10 (JPEG)"}
    folder = made_folder(tmp_path / "study", ACCURACIES, **changes)
    done = actbench_here("report", str(folder))
    assert done.code == 0
    text = " ".join(done.out.split())
    assert f"claim mish-squeezenet: of {TALLY} (a reduced run)" in text
    warning = (
        "This is a reduced run of the claim mish-squeezenet at scale 0.1: 1 of 50 epochs and 4"
    )
    assert text.startswith(f"⚠ {warning} of 23 seeds.")
    markdown = (folder / "summary.md").read_text(encoding="utf-8")
    page = (folder / "report.html").read_text(encoding="utf-8")
    for document in (markdown, page):
        assert warning in document
        assert TALLY in document
        assert "actbench does not have it" in document
        assert "contradicted" in document
        assert "Welch's, for independent runs" in document.replace("&#39;", "'")
    assert "| data " in markdown
    assert "CIFAR-10 (JPEG)" in markdown
    assert page.count('id="figure-replication"') == 1
    assert page.index('id="figure-replication"') < page.index('<h2 id="figures"')
    assert (folder / "replication.csv").read_text().count("\n") == 34
    assert (folder / "figures" / "replication.png").exists()
    print_summary(read_summary(folder), folder, as_json=False)
    assert TALLY in " ".join(capsys.readouterr().out.split())
    study = (folder / "study.toml").read_text(encoding="utf-8")
    (folder / "study.toml").write_text(
        study.replace('claim = "mish-squeezenet"', 'claim = ""').replace("scale = 0.1", "scale = 1")
    )
    assert actbench_here("report", str(folder)).code == 0
    for name in ("replication.csv", "figures/replication.png"):
        assert not (folder / name).exists()
    assert "reduced run" not in (folder / "summary.md").read_text(encoding="utf-8")
