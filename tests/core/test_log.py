"""What a run says, and how long it says it will take."""

import io

import pytest

from medssm.core import log
from medssm.core.errors import MachineError
from medssm.core.extras import require
from medssm.core.resources import conf_folder, manifests_folder, resource_folder


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "0s"), (42, "42s"), (185, "3m05s"), (7620, "2h07m"), (-3, "0s")],
)
def test_durations_read_as_words(seconds, words):
    assert log.seconds_in_words(seconds) == words


@pytest.mark.parametrize(("verbosity", "lines"), [(-1, 1), (0, 2), (1, 3)])
def test_quiet_and_verbose_choose_what_is_said(verbosity, lines):
    stream = io.StringIO()
    log.configure(verbosity, stream)
    log.detail("shape")
    log.say("done")
    log.warn("look")
    assert len(stream.getvalue().splitlines()) == lines


def test_progress_ends_with_the_last_item():
    stream = io.StringIO()
    log.configure(0, stream)
    assert list(log.progress(iter("abc"), 3, "walk")) == ["a", "b", "c"]
    assert "walk 3/3" in stream.getvalue()


def test_a_missing_package_is_answered_with_its_extra():
    with pytest.raises(MachineError, match=r"pip install 'medssm\[ecg\]'"):
        require("no_such_package_of_ours", "ecg")


def test_shipped_folders_are_found_and_a_missing_one_is_named():
    assert conf_folder().is_dir()
    assert manifests_folder().is_dir()
    with pytest.raises(MachineError, match="nothing_of_this_name/ is missing"):
        resource_folder("nothing_of_this_name")
