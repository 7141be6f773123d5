"""What comes from outside stays data."""

import pytest

from medssm.core.errors import BadDataError
from medssm.core.files import read_json
from medssm.core.inert import file_ending, file_name, refuse_expressions


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ({"a": {"_target_": "os.system"}}, "a._target_"),
        ({"a": [1, "$import os"]}, r"a\[1\]"),
        ({"$a": 1}, r"\$a"),
        ({"a": "x ${oc.env:HOME}"}, "a"),
        ([["${a}"]], r"\[0\]\[0\]"),
        ({"a": "%other.json::b"}, "a"),
        ("$1", "the content"),
    ],
)
def test_an_expression_is_named_with_its_place(content, place):
    with pytest.raises(BadDataError, match=rf"f\.json: {place} holds "):
        refuse_expressions(content, "f.json")


def test_plain_data_passes():
    refuse_expressions(
        {
            "$schema": "https://example.org/x.json",
            "price": "5 $",
            "share": "50 %",
            "a": [1, None, {"target": "x"}],
        },
        "f",
    )


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../a", "a\\b", "C:a", "a\0b", "a\n", 3])
def test_a_name_that_is_no_file_name_is_refused(name):
    with pytest.raises(BadDataError, match=r"f\.json: the case is "):
        file_name(name, "the case", "f.json")


@pytest.mark.parametrize("name", ["case_001", "a b (2)", "x.y", "ä", "...a"])
def test_a_file_name_passes(name):
    assert file_name(name, "the case", "f") == name


def test_an_ending_is_an_ending():
    assert file_ending(".nii.gz", "f") == ".nii.gz"
    for ending in ("", "nii", "./../x", ".a/b", ".nii'+x+'", None, "."):
        with pytest.raises(BadDataError, match="file_ending is"):
            file_ending(ending, "f")


def test_what_is_nested_beyond_looking_at_is_refused(tmp_path):
    for depth in (994, 100_000):
        file = tmp_path / "deep.json"
        file.write_text('{"a":' * depth + "1" + "}" * depth)
        with pytest.raises(BadDataError, match=r"deep\.json"):
            refuse_expressions(read_json(file), file)


def test_a_number_of_thousands_of_digits_is_refused(tmp_path):
    (tmp_path / "long.json").write_text('{"a": ' + "9" * 5000 + "}")
    with pytest.raises(BadDataError, match=r"long\.json: not valid JSON"):
        read_json(tmp_path / "long.json")
