"""The verdict of a proof: what differs, what is no number and what was never compared."""

import math

import pytest

from medssm.bundle.case_bundle import largest, refuse_several, verdict
from medssm.core.errors import MedssmError, UsageError


def test_agreement_gives_the_largest_difference():
    found = verdict({"a": 1e-7, "b": 3e-6}, 1e-5, True, "records", "probability")
    assert found == {
        "proven": True,
        "records": 2,
        "largest_difference_of_a_probability": 3e-6,
        "without_medssm": True,
    }


@pytest.mark.parametrize("worst", [1e-3, math.inf, math.nan])
def test_one_case_that_differs_refuses_all(worst):
    for differences in ({"a": worst, "b": 0.0}, {"b": 0.0, "a": worst}):
        with pytest.raises(MedssmError, match=r"^a: .*not written"):
            verdict(differences, 1e-5, False, "bags", "number")


def test_nothing_compared_is_no_proof():
    with pytest.raises(MedssmError, match="none of the bags"):
        verdict({}, 1e-5, False, "bags", "number")


def test_numbers_that_are_missing_or_none_at_all_do_not_agree():
    assert largest([0.5, 0.25], [0.5, 0.5]) == 0.25
    assert largest([0.5], [0.5, 0.5]) == math.inf
    assert math.isnan(largest([0.5, math.nan], [0.5, 0.5]))


def test_a_bundle_holds_one_fold(tmp_path):
    refuse_several(tmp_path, [3])
    with pytest.raises(UsageError, match=r"folds=\[1\]"):
        refuse_several(tmp_path, [1, 2])
