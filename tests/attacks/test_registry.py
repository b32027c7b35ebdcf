"""Specs of attacks."""

from __future__ import annotations

import pytest

from actbench.attacks.black_box import Square
from actbench.attacks.gradient import FGSM, PGD
from actbench.attacks.registry import ATTACKS, expand
from actbench.errors import UsageError


@pytest.mark.parametrize(
    ("text", "attack"),
    [
        ("fgsm", FGSM()),
        ("fgsm:l2", FGSM(norm="l2")),
        ("pgd:steps=10,step_size=0", PGD()),
        (
            "pgd:norm=l2, random_start=False, restarts=2, step_size=0.25, steps=20",
            PGD(steps=20, step_size=0.25, norm="l2", random_start=False, restarts=2),
        ),
        (" square:queries=500 ", Square(queries=500)),
        ("square:500", Square(queries=500)),
    ],
)
def test_a_spec_gives_its_attack_and_the_canonical_spec_gives_it_again(text, attack):
    assert ATTACKS.resolve(text) == attack
    assert ATTACKS.resolve(attack.spec) == attack


def test_canonical_specs_name_only_what_differs_from_the_defaults():
    specs = expand(["pgd:steps=10", "square", "pgd:step_size=1,steps=20", "pgd"])
    assert specs == ("pgd", "square", "pgd:steps=20,step_size=1")
    assert expand(["none"]) == ()


def test_attacks_declare_their_access_and_norm():
    assert [name for name in ATTACKS if not ATTACKS.resolve(name).white_box] == ["square"]
    for name in ATTACKS:
        assert ATTACKS.resolve(name).norm == "linf"
        assert ATTACKS.resolve(f"{name}:norm=l2").norm == "l2"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("pdg", "unknown attack 'pdg'; did you mean 'pgd'?"),
        ("", "unknown attack ''; known are apgd, autoattack, fab, fgsm, pgd, square"),
        ("none", "attacks has 'none' beside other names"),
        ("pgd:step=2", "attack 'pgd' has no parameter 'step'; did you mean 'steps'?"),
        ("pgd:steps=0", "steps is 0; it must be an integer from 1"),
        ("pgd:steps=1.5", "steps is 1.5; it must be an integer"),
        ("pgd:step_size=nan", "step_size is nan; it must be finite"),
        ("pgd:step_size=-1", "step_size is -1.0; it must be a number from 0"),
        ("pgd:random_start=maybe", "random_start is 'maybe'; it must be true or false"),
        ("fgsm:norm=l1", "norm is 'l1'; it must be one of linf, l2"),
        ("square:norm=l1", "norm is 'l1'; it must be one of linf, l2"),
        ("apgd:loss=hinge", "loss is 'hinge'; it must be one of ce, dlr, dlr_targeted"),
        ("apgd:targets=5", "targets is 5, and loss=ce has no targets"),
        ("fab:targets=-1", "targets is -1; it must be an integer from 0"),
        ("autoattack:steps=5", "attack 'autoattack' has no parameter 'steps'"),
        ("square:p=0", "p is 0.0; it must be a number above 0, up to 1"),
        ("pgd:steps=1,", "'' is not of the form key=value"),
        ("pgd:steps=1,steps=2", "sets 'steps' twice"),
        ("my_package:Attack", "unknown attack 'my_package'"),
    ],
)
def test_a_bad_spec_is_refused_in_one_line(spec, message):
    with pytest.raises(UsageError) as error:
        expand(["fgsm", spec])
    assert message in str(error.value)
    assert "\n" not in str(error.value)
