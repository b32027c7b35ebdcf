"""Published claims in the package: every file against its schema and against this package."""

from __future__ import annotations

import pytest
import torch

from actbench.analysis.claims import Claim, claim_from_toml, claim_names, read_claim
from actbench.analysis.consistency import FOLLOWS, check_table
from actbench.corruptions.specs import SUITES
from actbench.errors import UsageError
from actbench.study.activations import ACTIVATIONS
from actbench.study.fields import settings_of
from actbench.study.study import Study

NAMES = claim_names()
# activations of torch.nn, which specs are named after
TORCH = {name.lower() for name in dir(torch.nn)}


def test_the_claims_are_those_of_the_package() -> None:
    assert NAMES == ["layeract-resnet32", "mish-squeezenet", "robustbench-standard", "xu-2015-nin"]


@pytest.fixture(params=NAMES)
def claim(request: pytest.FixtureRequest) -> Claim:
    return read_claim(request.param)


def test_a_claim_names_its_source_and_a_study(claim: Claim) -> None:
    assert claim.url.startswith("https://")
    assert claim.statement.endswith(".")
    assert claim.study["baseline"] in claim.study["activations"]
    assert claim.study["dataset"] == "cifar10"


def test_activations_are_specs(claim: Claim) -> None:
    rows = [row for each in claim.tables for row in each.table.rows if row.activation]
    for spec in {*claim.study["activations"], *(row.activation for row in rows)}:
        assert spec.partition(":")[0] in {*ACTIVATIONS, *TORCH}
    compared = {row.activation for row in rows}
    assert compared <= set(claim.study["activations"]) | {""}


def test_fields_that_a_study_has_are_valid_in_it(claim: Claim) -> None:
    known = {item.name for item in settings_of(Study)}
    given = {name: value for name, value in claim.study.items() if name in known}
    study = Study(**given)
    assert study.baseline == given["baseline"]


def test_corruptions_are_suites(claim: Claim) -> None:
    assert set(claim.study.get("corruptions", [])) <= set(SUITES)


def test_accuracies_are_accuracies(claim: Claim) -> None:
    for each in claim.tables:
        top = 100 if each.table.unit == "percent" else 1
        for row in each.table.rows:
            assert row.mean is not None
            assert 0.05 * top < row.mean.value <= top


def test_what_is_unverified_is_marked() -> None:
    unverified = {
        name
        for name in NAMES
        for each in read_claim(name).tables
        if any(row.unverified for row in each.table.rows)
    }
    assert unverified == {name for name in NAMES if read_claim(name).unverified}
    assert unverified == {"xu-2015-nin"}


def test_the_rows_of_a_claim() -> None:
    sizes = {name: [len(t.table.rows) for t in read_claim(name).tables] for name in NAMES}
    assert sizes == {
        "layeract-resnet32": [10, 9, 9, 9, 9, 9, 9],
        "mish-squeezenet": [34, 34],
        "robustbench-standard": [1, 75],
        "xu-2015-nin": [5],
    }


def test_the_accuracies_of_robustbench_are_ordered_by_severity() -> None:
    """They fall with severity under noise, JPEG and contrast."""
    rows = read_claim("robustbench-standard").tables[1].table.rows
    for name in ("gaussian_noise", "shot_noise", "impulse_noise", "contrast", "jpeg_compression"):
        values = [r.mean.value for r in rows if r.mean and r.name.startswith(name)]
        assert len(values) == 5
        assert values == sorted(values, reverse=True)


def test_the_second_table_of_mish_agrees_with_itself_but_for_two_rows() -> None:
    second = read_claim("mish-squeezenet").tables[1]
    wrong = [c.name for c in check_table(second.table, second.test_images) if c.result != FOLLOWS]
    assert wrong == ["GELU", "ISRU (α=1.0)"]


SMALL = """
title = "t"
statement = "s."
source = "s"
url = "https://example.org"
[study]
dataset = "cifar10"
model = "cnn"
[[tables]]
title = "t"
metric = "clean_accuracy"
unit = "percent"
baseline = "relu"
rows = [{ name = "relu", mean = "80.1", sd = "0.3", n = 5 }, { name = "elu", mean = "81" }]
"""


def test_a_small_claim_is_read() -> None:
    table = claim_from_toml(SMALL, "small").tables[0].table
    assert (table.baseline, table.reference, table.row("relu").n) == ("relu", "relu", 5)


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ('mean = "81"', 'mean = "8l"', "table 1, row 2: mean is '8l'"),
        ('mean = "81"', "mean = 81", "row 2: mean is 81, which has the wrong type"),
        ('mean = "81"', 'maen = "81"', "unknown key 'maen'; did you mean 'mean'"),
        (', mean = "81"', "", "row 2 lacks mean"),
        ('unit = "percent"', 'unit = "pct"', "unit is 'pct'; it must be one of"),
        ('baseline = "relu"', 'baseline = "gelu"', "baseline is 'gelu'"),
        ('name = "elu"', 'name = "relu"', "two rows have one name"),
        ('model = "cnn"', 'model = "cnn"\nepoch = 3', "study has an unknown key 'epoch'"),
        ('model = "cnn"', "", "study lacks model"),
        ('url = "https://example.org"', "", "claim small lacks url"),
        ("[study]", "[study", "not valid TOML"),
    ],
)
def test_a_wrong_file_is_named(old: str, new: str, named: str) -> None:
    assert old in SMALL
    with pytest.raises(UsageError, match=named):
        claim_from_toml(SMALL.replace(old, new), "small")


def test_an_unknown_claim_is_named() -> None:
    with pytest.raises(UsageError, match=r"unknown claim 'mish'; known are .*mish-squeezenet"):
        read_claim("mish")
