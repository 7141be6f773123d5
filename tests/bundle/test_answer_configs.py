"""Configurations of bundles of whole cases hold words of the data as they stand, or not at all."""

import pytest
from monai.bundle import ConfigParser

from medssm.bundle.answer_configs import verbatim
from medssm.core.errors import BadDataError


def _as_monai_reads(words):
    parser = ConfigParser({"made": {"_target_": "builtins.dict", "words": words}, "other": 5})
    return parser.get_parsed_content("made")["words"]


def test_words_that_are_taken_are_those_that_monai_gives_back():
    words = ["stage 2", "a@other", "50 % or more", "a::b", "5 $", "n/a", ""]
    assert _as_monai_reads(verbatim(words, "classes")) == words


@pytest.mark.parametrize("word", ["stage#2", "@other", "%other", "$1 + 1"])
def test_words_that_monai_would_change_are_refused(word):
    assert _as_monai_reads([word]) != [word]
    with pytest.raises(BadDataError, match=r"classes: .*--to pt2"):
        verbatim(["fine", word], "classes")
