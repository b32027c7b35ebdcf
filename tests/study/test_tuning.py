"""The settings of a random search and of what it chose: what is read, refused and compared."""

from __future__ import annotations

import pytest

from actbench.errors import UsageError
from actbench.study.study import Study, Trial, conflicts, trial_id
from actbench.study.toml import study_from_toml, study_to_toml
from actbench.study.tuning import Random, tuning_of

TUNED = (("relu", 0.1, 0.0), ("relu", 0.2, 0.5), ("tanh", 0.1, 0.0), ("tanh", 0.3, 0.0))
RANGE = "the two ends of a range above 0"


def test_a_search_has_one_canonical_text() -> None:
    study = Study(tune="random:weight_decay=1e-5/0.010, lr=3e-3/0.3,trials=5,studies=2")
    assert study.tune == "random:studies=2,lr=0.003/0.3,weight_decay=1e-05/0.01"
    assert tuning_of(study) == Random(5, 2, (0.003, 0.3), (1e-5, 0.01))
    assert tuning_of(Study()) is None


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("random", "lr is missing; give its range"),
        ("random:lr=0.1", RANGE),
        ("random:lr=0.1/0.01", RANGE),
        ("random:lr=0/0.1", RANGE),
        ("random:lr=0.1/0.1", RANGE),
        ("random:lr=0.1/0.2/0.3", RANGE),
        ("random:lr=1/1e7", RANGE),
        ("random:lr=a/b", "numbers with a slash between them, for example 0.01/0.1"),
        ("random:lr=1/2,weight_decay=0/1", f"weight_decay is .*{RANGE}"),
        ("random:lr=1/2,trials=1", "trials is 1; it must be an integer from 2"),
        ("random:lr=1/2,studies=0", "studies is 0; it must be an integer from 1"),
        ("random:lr=1/2,steps=3", "no parameter 'steps'; did you mean 'studies'"),
        ("bayes:lr=1/2", "unknown tuning 'bayes'"),
    ],
)
def test_a_search_that_cannot_be_is_refused(spec: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as raised:
        Study(tune=spec)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tune_lr": (0.1, 0.2)}, "tune and tune_lr both set learning rates"),
        ({"learning_rates": (("relu", 0.1),)}, "tune and learning_rates both set learning rates"),
        ({"validation_images": 10}, "validation_images is 10"),
        ({"tuned": TUNED[:1]}, "tuned has 1 settings of relu; it must have 3"),
        ({"tune": "", "tuned": TUNED[:3]}, "tuned has 1 settings of tanh; it must have 2"),
        ({"tune": "", "tuned": (("relu", 0.0, 0.0),)}, "tuned is "),
        ({"tune": "", "tuned": (("relu", 0.1),)}, "tuned is "),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    fields: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        Study(**{"tune": "random:lr=1/2", **fields})  # type: ignore[arg-type]


def test_the_first_tuning_study_is_the_studys_and_the_others_follow() -> None:
    study = Study(tuned=TUNED, weight_decay=0.7, attacks=("fgsm",))
    assert (study.learning_rate_of("relu"), study.weight_decay_of("relu")) == (0.1, 0.0)
    assert study.weight_decay_of("elu") == 0.7
    (other,) = study.retuned
    assert other.tuned == (("relu", 0.2, 0.5), ("tanh", 0.3, 0.0))
    assert (other.retuned, other.attacks) == ([], ())
    assert study_from_toml(study_to_toml(study), "here") == study


def test_a_trials_name_depends_on_its_own_setting_however_it_was_chosen() -> None:
    study = Study(tuned=TUNED[1:2], tune="random:studies=1,lr=0.1/1,weight_decay=0.1/1")
    plain = Study(learning_rate=0.2, weight_decay=0.5)
    relu, tanh = Trial("relu", 0), Trial("tanh", 0)
    assert trial_id(study, relu) == trial_id(plain, relu)
    assert trial_id(study, tanh) == trial_id(Study(), tanh)
    assert trial_id(Study(tuned=TUNED), relu) != trial_id(study, relu)


def test_studies_of_one_folder_may_grow_but_not_change_a_setting() -> None:
    relu, both = Study(tuned=TUNED[:2]), Study(tuned=TUNED)
    assert conflicts(relu, both) == conflicts(relu, Study()) == []
    (line,) = conflicts(both, Study(tuned=(("tanh", 0.1, 0.0), ("tanh", 0.4, 0.0))))
    assert line.startswith("the tuned setting of tanh is [(0.1, 0.0), (0.3, 0.0)] there and")
