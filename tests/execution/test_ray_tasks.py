"""Trials as tasks of a real Ray cluster of several nodes: the same bytes if nodes die."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

from actbench.errors import UsageError
from actbench.execution.events import Finished
from actbench.execution.plan import prepare_study
from actbench.execution.ray_tasks import RayTasks
from actbench.execution.trials import PendingTrials, run_trials
from actbench.store.store import Store
from actbench.study.run_options import RunOptions
from actbench.study.study import Study

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from actbench.execution.events import Event
    from helpers.runs import TinyRun

ray: Any = pytest.importorskip("ray")
cluster_utils: Any = pytest.importorskip("ray.cluster_utils")

# warnings of Ray itself
pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Return a cluster of a head node without cores and a node of one core."""
    made = cluster_utils.Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
    )
    made.add_node(num_cpus=1)
    ray.init(address=made.address, log_to_driver=False, logging_level=logging.ERROR)
    yield made
    ray.shutdown()
    made.shutdown()


def run_on(
    executor: RayTasks, study: Study, folder: Path, on_event: Callable[[Event], None]
) -> dict[str, bytes]:
    """Run the missing trials of the folder; return the records' bytes by file name."""
    plan, store = prepare_study(study), Store(folder)
    with store.locked():
        stored = store.open(plan.study)
        stored.begin()
        run_trials(PendingTrials(plan, stored, stored.pending()), executor, on_event)
    return {path.name: path.read_bytes() for path in (folder / "trials").iterdir()}


def test_an_unreachable_cluster_is_a_usage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(UsageError, match="cannot use Ray at 'auto': Could not find"):
        RayTasks(RunOptions(executor="ray", ray_address="auto"))


def test_records_are_those_of_local_workers_when_nodes_join_and_die(
    cluster: Any, tiny_run: TinyRun, tmp_path: Path
) -> None:
    added: list[Any] = []

    def disturb(event: Event) -> None:
        if isinstance(event, Finished) and not added:
            added.append(cluster.add_node(num_cpus=1))
            cluster.wait_for_nodes()
            for node in [n for n in cluster.worker_nodes if n is not added[0]]:
                cluster.remove_node(node, allow_graceful=False)

    records = run_on(RayTasks(RunOptions()), tiny_run.study, tmp_path / "results", disturb)
    undisturbed = (tiny_run.folder / "trials").iterdir()
    assert records == {path.name: path.read_bytes() for path in undisturbed}
    assert added


MISCHIEF = """
import os, time

# 40: the last batch of all test images, which no check before training meets

def raises(x):
    if len(x) == 40:
        raise ValueError("no training")
    return x

def dies(x):
    if len(x) == 40:
        os._exit(9)
    return x

def hangs(x):
    while len(x) == 40:
        time.sleep(3600)
    return x
"""


@pytest.mark.usefixtures("all_digits")
def test_whatever_an_activation_does_only_its_own_trial_fails(
    cluster: Any, user_module: Callable[[str], str], tmp_path: Path
) -> None:
    module = user_module(MISCHIEF)
    names = [f"{module}:{name}" for name in ("raises", "dies", "hangs")]
    study = Study(activations=("relu", *names), seeds=1, train_images=64, epochs=1, corruptions=())
    outcomes: dict[str, tuple[str, str]] = {}

    def note(event: Event) -> None:
        if isinstance(event, Finished):
            outcomes[event.record.activation] = (event.record.status, event.record.reason)

    run_on(RayTasks(RunOptions(trial_timeout=5.0)), study, tmp_path / "results", note)
    assert outcomes["relu"] == ("ok", "")
    assert outcomes[names[0]] == ("crashed", "ValueError: no training")
    assert outcomes[names[1]][0] == "crashed"
    assert "its Ray worker was lost, 3 times in a row" in outcomes[names[1]][1]
    assert outcomes[names[2]] == ("crashed", "it took longer than the limit of 5 s")
