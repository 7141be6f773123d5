"""Micrometres a pixel: from the file or the user, plausible, never guessed."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from medssm.core.errors import BadDataError
from medssm.data.slides import resolve_mpp
from medssm.data.slides.resolution import magnification_of
from medssm.data.slides.slide import Scan

SCAN = Scan(((100, 100),), (0.25, 0.25), 40.0)


def _slide(**changes):
    return SimpleNamespace(path="x.svs", scan=replace(SCAN, **changes))


def test_the_users_word_wins_over_the_file():
    assert resolve_mpp(_slide()) == 0.25
    assert resolve_mpp(_slide(), 0.5) == 0.5
    assert resolve_mpp(_slide(mpp=None), 0.5) == 0.5
    assert resolve_mpp(_slide(mpp=(0.25, 0.26))) == pytest.approx(0.255)


def test_a_word_for_all_is_for_those_that_do_not_tell():
    assert resolve_mpp(_slide(), otherwise=0.5) == 0.25
    for mpp in (None, (352.78, 352.78), (0.25, 0.3)):
        assert resolve_mpp(_slide(mpp=mpp), otherwise=0.5) == 0.5
    with pytest.raises(BadDataError, match="-1 micrometres a pixel given by hand"):
        resolve_mpp(_slide(mpp=None), otherwise=-1.0)


@pytest.mark.parametrize(
    ("mpp", "words"),
    [
        (None, "no micrometres a pixel .mpp., only the objective's 40x.*mpp=0.25.*column mpp"),
        ((352.78, 352.78), "352.78 micrometres.*72 dpi.*0.05 to 20.*preprocess.mpp=0.25"),
        ((264.58, 264.58), "96 dpi"),
        ((0.01, 0.01), "0.01 micrometres"),
        ((0.25, 0.3), "0.25 micrometres a pixel along x and 0.3 along y.*within 5%"),
    ],
)
def test_what_cannot_be_is_refused_with_the_remedy(mpp, words):
    with pytest.raises(BadDataError, match=rf"x.svs: .*{words}"):
        resolve_mpp(_slide(mpp=mpp))


def test_a_wish_that_cannot_be_is_refused_too():
    with pytest.raises(BadDataError, match="-1 micrometres a pixel given by hand"):
        resolve_mpp(_slide(), -1.0)


def test_magnifications_are_tridents_buckets():
    found = [magnification_of(mpp, "x") for mpp in (0.12, 0.17, 0.25, 0.31, 0.55, 1.0, 2.0)]
    assert found == [80, 60, 40, 20, 20, 10, 5]
    with pytest.raises(BadDataError, match="coarser than TRIDENT's last bucket"):
        magnification_of(2.4, "x")
