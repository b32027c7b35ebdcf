"""Studies as TOML: read back the same, of earlier versions too; a bad file is refused and named."""

from __future__ import annotations

from typing import Any

import pytest

from actbench.errors import UsageError
from actbench.store.format1 import names_of_format1
from actbench.store.store import Store
from actbench.study.fields import MAX_SEED, settings_of
from actbench.study.recipe import ADVERSARIES
from actbench.study.study import Study, Trial
from actbench.study.toml import read_config, study_from_toml, study_to_toml


def test_toml_gives_the_same_study() -> None:
    study = Study(
        dataset_name='naïve "数据" | x',
        activations=("relu", "my.module:Act:alpha=0.3"),
        seeds=(0, MAX_SEED),
        learning_rate=0.1 + 0.2,
        corruptions=(),
    )
    assert study_from_toml(study_to_toml(study), "here") == study


def test_a_comment_breaks_no_word() -> None:
    shown = set(study_to_toml(Study()).split())
    texts = [f"{item.help} {item.rule.expected}." for item in settings_of(Study)]
    words = {word for text in texts for word in text.split()}
    assert words - shown == set()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs = ", "not valid TOML"),
        ("epochs = 1\nepochs = 2", "not valid TOML"),
        pytest.param("a = " + "[" * 10_000, "not valid TOML", id="10,000 brackets"),
        pytest.param("epochs = " + "9" * 10_000, "not valid TOML", id="10,000 digits"),
        pytest.param("epochs = 0x" + "f" * 10_000, "epochs is", id="10,000 hexadecimal digits"),
        ("epoch = 3", "unknown key 'epoch'; did you mean 'epochs'?"),
        ("zzz = 3", "unknown key 'zzz'; known are"),
        ("format = 3", "format 3; this actbench reads 1 and 2"),
        ("format = []", "format []; this actbench reads 1 and 2"),
        ("format = true", "format True; this actbench reads 1 and 2"),
        ("epochs = 0", "epochs is 0; it must be"),
        ("model = { name = 'cnn' }", "model is"),
        ("epochs = 1979-05-27", "epochs is"),
        ("learning_rate = nan", "learning_rate is nan"),
        ("momentum = 2", "momentum is 2.0; it must be a number from 0 to 1"),
        ("momentum = 0.9\noptimizer = 'adam'", "momentum is part of optimizer now; remove it"),
        ("augmentation = 'rotate'", "unknown augmentation 'rotate'"),
    ],
)
def test_a_bad_file_is_named_with_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        study_from_toml(text, "'my.toml'")
    assert "'my.toml'" in str(error.value)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_byte_order_mark_is_ignored(tmp_path: Any) -> None:
    (tmp_path / "study.toml").write_bytes(b"\xef\xbb\xbfepochs = 3\n")
    assert read_config(tmp_path / "study.toml") == {"epochs": 3}
    assert Store(tmp_path).study().epochs == 3


def test_a_file_that_is_not_text_is_a_usage_error(tmp_path: Any) -> None:
    for content in (b"\xff\xfe\x00", b"\x00"):
        path = tmp_path / "study.toml"
        path.write_bytes(content)
        with pytest.raises(UsageError, match=r"study\.toml"):
            read_config(path)
    with pytest.raises(UsageError, match="cannot read the configuration"):
        read_config(tmp_path)
    with pytest.raises(UsageError, match="cannot read the configuration"):
        read_config(tmp_path / "absent.toml")


def test_a_configuration_of_format_1_is_read_unless_it_has_a_checksum_of_published_files(
    tmp_path: Any,
) -> None:
    path = tmp_path / "study.toml"
    path.write_text('format = 1\nepochs = 3\ncifar10c_checksum = ""\n')
    assert read_config(path) == {"epochs": 3, "schedule": "constant"}
    path.write_text(f'format = 1\ncifar10c_checksum = "sha256:{"0" * 64}"\n')
    with pytest.raises(UsageError, match="has a cifar10c_checksum, which was of all published"):
        read_config(path)
    assert Store(tmp_path).study() == Study(kernels="torch", schedule="constant")


@pytest.mark.parametrize("text", ["epochs = " + "[" * 200_000, "epochs" + ".a" * 3000 + " = 1"])
def test_a_deeply_nested_value_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(UsageError) as error:
        study_from_toml(text, "'my.toml'")
    assert "'my.toml'" in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_a_study_of_an_earlier_version_keeps_its_recipe_and_its_trials_names() -> None:
    # the names are those that the earlier version gave
    def written(fields: str) -> Study:
        text = f"format = 1\nlearning_rate = 0.01\ncorruptions = ['noise']\n{fields}"
        return study_from_toml(text, "'my.toml'")

    study = written("momentum = 0.5\naugmentation = 'none'\n")
    assert (study.optimizer, study.augment) == ("sgd:momentum=0.5", ())
    assert study.schedule == "constant"
    assert names_of_format1(study)(Trial("relu", 0)) == "relu-seed0-cca413663e1a"
    other = written("momentum = 0\naugmentation = 'flip'\n")
    assert names_of_format1(other)(Trial("relu", 0)) == "relu-seed0-d49d12c9aeda"
    first = written("momentum = 0.9\n")
    assert names_of_format1(first)(Trial("relu", 0)) == "relu-seed0-2842f584559d"


def test_pixel_statistics_and_fractions_survive_a_file() -> None:
    statistics = ((0.4914, 0.2470), (0.4822, 0.2435), (0.4465, 0.2616))
    study = Study(
        normalise="dataset", pixel_statistics=statistics, train_against="pgd:epsilon=4/255"
    )
    assert study.train_against == "pgd:epsilon=4/255"
    assert study_from_toml(study_to_toml(study), "here") == study
    assert ADVERSARIES.resolve(study.train_against).epsilon == 4 / 255
