"""The source of a user's code is part of a trial's identity; a change of it is noticed."""

from __future__ import annotations

import dataclasses
import shutil
from typing import TYPE_CHECKING

import pytest

from actbench.errors import SourceChangedError, UsageError
from actbench.models.study_code import import_code, study_code
from actbench.models.user_code import code_of, import_object
from actbench.store.store import Store
from actbench.study.activations import ACTIVATIONS
from actbench.study.study import Study, Trial, conflicts, trial_id
from actbench.study.toml import study_from_toml, study_to_toml
from helpers.runs import TINY_STUDY, run_here, run_process
from helpers.user_files import LEAKY, SMALL, write

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from actbench.study.specs import Spec
    from helpers.runs import Outcome, TinyRun

RELU_ID = "relu-seed0-2f6476b2a93d"  # as stored since format 2 of records
FIRST_RECIPE = {"optimizer": "sgd:momentum=0.9", "learning_rate": 0.01, "schedule": "constant"}


def spec_of(text: str) -> Spec:
    return ACTIVATIONS.parse(text)


@pytest.mark.usefixtures("short_report")
def test_an_edited_activation_is_refused_by_name_until_the_edit_is_undone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*more: str) -> Outcome:
        arguments = ("--activation", "mine:act", "--workers", "0", "--out", "out", *more)
        return run_process("run", *SMALL, *arguments, cwd=tmp_path)

    write(tmp_path, mine=LEAKY)
    assert run().code == 0
    records = {path: path.read_bytes() for path in (tmp_path / "out" / "trials").iterdir()}
    write(tmp_path, mine=LEAKY.replace("0.1", "-3.0"))
    for again in (run(), run("--seeds", "2")):
        assert again.code == 3
        assert "the source of mine:act has changed since its trials were run" in again.err
        assert "--restart" in again.err
    assert {path: path.read_bytes() for path in (tmp_path / "out" / "trials").iterdir()} == records
    write(tmp_path, mine=LEAKY)
    as_before = run()
    assert as_before.code == 0
    assert "all 2 trials are stored already" in as_before.err
    write(tmp_path, mine="raise RuntimeError('imported')")
    monkeypatch.undo()  # write the complete report
    reported = run_here("report", "out", cwd=tmp_path)
    assert (reported.code, reported.out) == (0, as_before.out)


@pytest.mark.parametrize("edited", ["act.py", "beside.py", "package/inner.py"])
@pytest.mark.parametrize("spec", ["act:act", "./act.py:act", "package.outer:act"])
def test_the_code_of_a_module_includes_the_local_modules_that_it_imports(
    spec: str, edited: str, here: Path
) -> None:
    (here / "package").mkdir()
    write(here, act="from beside import act", beside="from package.outer import act", other="")
    write(here / "package", __init__="", outer="from .inner import act", inner=LEAKY)
    import_object(spec_of(spec))
    code = code_of(spec_of(spec))
    assert code.startswith("sha256:")
    write(here, other="changed = True")
    assert code_of(spec_of(spec)) == code
    (here / edited).write_text((here / edited).read_text() + "# changed\n")
    if spec.startswith("package") and not edited.startswith("package"):
        assert code_of(spec_of(spec)) == code
        return
    with pytest.raises(UsageError, match="has changed since this process imported it"):
        code_of(spec_of(spec))


def test_an_installed_package_is_identified_by_its_version_and_torch_is_ignored() -> None:
    from importlib.metadata import version

    for text, code in [
        ("rich.text:Text", f"rich {version('rich')}"),
        ("math:tanh", ""),
        ("json.decoder:JSONDecoder", ""),
        ("torch.nn:PReLU", ""),
    ]:
        import_object(spec_of(text))
        assert code_of(spec_of(text)) == code


def test_user_code_changes_the_names_of_its_own_trials_only() -> None:
    study = Study(activations=("relu", "mine:act"), **FIRST_RECIPE)
    coded = dataclasses.replace(study, code=(("mine:act", "sha256:1"),))
    relu, own = Trial("relu", 0), Trial("mine:act", 0)
    assert trial_id(study, relu) == RELU_ID == trial_id(coded, relu)
    assert trial_id(Study(), relu) != RELU_ID
    assert trial_id(coded, own) != trial_id(study, own)
    network = dataclasses.replace(study, model="mine:Net")
    coded = dataclasses.replace(network, code=(("mine:Net", "sha256:1"),))
    assert trial_id(coded, relu) != trial_id(network, relu)
    assert study_from_toml(study_to_toml(coded), "study.toml") == coded


def test_studies_share_a_folder_only_if_their_common_code_is_the_same() -> None:
    def study(*activations: str, **code: str) -> Study:
        pairs = tuple((f"mine:{name}", checksum) for name, checksum in code.items())
        return Study(activations=activations, code=pairs)

    there = study("relu", "mine:a", a="sha256:1")
    assert conflicts(there, study("relu", "mine:a", "mine:b", a="sha256:1", b="sha256:2")) == []
    assert conflicts(there, study("relu")) == []
    (changed,) = conflicts(there, study("mine:a", a="sha256:2"))
    assert changed == "the source of mine:a has changed since its trials were run"
    (unknown,) = conflicts(study("mine:a"), there)
    assert unknown == "its trials of mine:a are stored without a checksum of the source"


def test_a_worker_that_finds_other_code_than_was_checked_stores_nothing(here: Path) -> None:
    write(here, mine_in_a_worker=LEAKY)
    study = Study(activations=("mine_in_a_worker:act",))
    import_code(dataclasses.replace(study, code=study_code("cnn", study.activations)))
    changed = dataclasses.replace(study, code=(("mine_in_a_worker:act", "sha256:1"),))
    with pytest.raises(SourceChangedError, match="mine_in_a_worker:act"):
        import_code(changed)


# a module that changes its own source while it runs, as a user's editor would, if told to
CHANGES = """
from pathlib import Path

def act(x):
    order = Path(__file__).with_name("change")
    if order.exists():
        order.unlink()
        with open(__file__, "a") as file:
            file.write("# changed\\n")
    return x.clamp(min=0) + 0.1 * x.clamp(max=0)
"""


@pytest.mark.usefixtures("short_report")
def test_a_source_that_changes_during_a_run_is_adopted_unless_its_trials_are_stored(
    tmp_path: Path,
) -> None:
    def run(*more: str) -> Outcome:
        arguments = ("--activation", "mine:act", "--workers", "1", "--out", "out", *more)
        return run_process("run", *SMALL, *arguments, cwd=tmp_path)

    order, start_over = tmp_path / "change", "choose another folder with --out, or start over"
    write(tmp_path, mine=CHANGES)
    order.touch()
    changed = run()
    assert changed.code == 3
    assert changed.err.splitlines()[-1].endswith(
        "the source of mine:act has changed since the run began; run the command again"
    )
    code = Store(tmp_path / "out").study().code
    again = run()
    assert again.code == 0, again.err
    assert Store(tmp_path / "out").study().code != code

    order.touch()
    for refused in (run("--seeds", "2"), run("--seeds", "2")):
        assert refused.code == 3
        assert "the source of mine:act has changed since" in refused.err
        assert start_over in refused.err


def test_a_configuration_with_the_checksum_of_other_code_is_refused(
    here: Path, actbench_here: Callable[..., Outcome]
) -> None:
    write(here, mine_as_configured=LEAKY)
    study = Study(
        activations=("mine_as_configured:act",), code=(("mine_as_configured:act", "sha256:1"),)
    )
    (here / "study.toml").write_text(study_to_toml(study))
    done = actbench_here("run", "--config", "study.toml", "--workers", "0")
    assert done.code == 2
    assert "the source of mine_as_configured:act has changed since the study was made" in done.err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda r: {"activation_check": {**r.activation_check, "at_minus_one": -16.0}},
            "holds trials of another prelu: at_minus_one was -16.0 and is -0.25",
        ),
        (
            lambda r: {
                "history": tuple(
                    dataclasses.replace(epoch, grad_norms={"features.0": 1.0})
                    for epoch in r.history
                )
            },
            "holds trials of another network than cnn: its layers were features.0 and are conv1",
        ),
    ],
    ids=["self-check", "layers"],
)
def test_stored_trials_that_the_present_code_would_not_give_are_refused(
    change: Callable[..., dict[str, object]],
    message: str,
    tiny_run: TinyRun,
    tmp_path: Path,
    actbench_here: Callable[..., Outcome],
) -> None:
    folder = shutil.copytree(tiny_run.folder, tmp_path / "copy")
    record = next(r for r in tiny_run.records if r.activation == "prelu")
    Store(folder).open(tiny_run.study).write(dataclasses.replace(record, **change(record)))
    more = ("--seeds", "3", "--workers", "0", "--out", str(folder))
    done = actbench_here("run", *TINY_STUDY, *more)
    assert done.code == 3
    assert message in done.err
