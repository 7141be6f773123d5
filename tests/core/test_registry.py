"""A table of names is an allow-list that explains itself."""

import pytest

from medssm.core.errors import UsageError
from medssm.core.registry import Table

TABLE = Table("progress bar", {"plain": "medssm.core.log:Progress"})


def test_a_name_builds_its_object():
    assert TABLE.build("plain", total=3, label="work").total == 3
    assert list(TABLE) == ["plain"]


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(UsageError, match="no progress bar 'plane'; did you mean 'plain'"):
        TABLE.load("plane")


def test_an_unknown_argument_gets_the_nearest():
    with pytest.raises(UsageError, match="no argument 'totl'; did you mean 'total'"):
        TABLE.build("plain", totl=3, label="work")


def test_a_name_that_is_a_path_to_a_callable_is_not_a_name():
    with pytest.raises(UsageError):
        TABLE.build("os:system")
