"""Backends are an ordered table: the first that does not refuse runs; a wish is kept or fails."""

import pytest

from medssm.ops.backends import (
    OPERATORS,
    Backend,
    BackendRefusedError,
    Operator,
    explain,
    operators,
    prefer,
    wished,
)


@pytest.fixture
def operator(monkeypatch):
    """An operator on numbers, out of the table afterwards."""
    operators()  # enters the real ones
    monkeypatch.setattr("medssm.ops.backends.OPERATORS", dict(OPERATORS))
    return Operator(
        "halve",
        (
            Backend("absent", lambda _: None, lambda x: ("absent", x), lambda: "not installed."),
            Backend("even", lambda x: "it is odd." if x % 2 else None, lambda x: ("even", x // 2)),
            Backend("any", lambda _: None, lambda x: ("any", x / 2)),
            Backend("slow", lambda _: None, lambda x: ("slow", x / 2), on_wish=True),
        ),
    )


def test_the_first_that_is_there_and_does_not_refuse_runs(operator):
    assert operator(4) == ("even", 2)
    assert operator(3) == ("any", 1.5)


def test_a_wish_is_kept(operator):
    with prefer("slow"):
        assert operator(4) == ("slow", 2)
    assert operator(4) == ("even", 2)


def test_several_wishes_are_asked_in_their_order(operator):
    with prefer("slow", "even"):
        assert operator(4) == ("slow", 2)
    with prefer("even", "any"):
        assert operator(3) == ("any", 1.5)


def test_the_environment_wishes_and_prefer_overrides(operator, monkeypatch):
    monkeypatch.setenv("MEDSSM_BACKEND", "slow, any")
    assert wished() == ("slow", "any")
    assert operator(4) == ("slow", 2)
    with prefer("auto"):
        assert operator(4) == ("even", 2)


def test_a_wish_of_another_operator_needs_company(operator):
    with prefer("chunked"), pytest.raises(BackendRefusedError, match="one for each operator"):
        operator(4)
    with prefer("chunked", "any"):
        assert operator(4) == ("any", 2)


@pytest.mark.parametrize(
    ("wish", "said"),
    [("even", "it is odd"), ("absent", "not installed"), ("evn", "no backend 'evn'")],
)
def test_a_wish_that_cannot_be_met_is_an_error_with_the_reason(operator, wish, said):
    with prefer(wish), pytest.raises(BackendRefusedError, match=said):
        operator(3)


def test_the_error_names_the_reasons_of_the_wished_alone(operator):
    with prefer("absent", "even"), pytest.raises(BackendRefusedError) as error:
        operator(3)
    assert "absent: not installed. even: it is odd." in str(error.value)
    assert "slow" not in str(error.value)


def test_answers_are_a_sentence_or_none(operator):
    answers = {"absent": "not installed.", "even": "it is odd.", "any": None, "slow": None}
    assert operator.answers(3) == answers


def test_rows_say_what_this_machine_has(operator):
    rows = {row.backend: (row.available, row.reason) for row in operator.rows()}
    assert rows["absent"] == (False, "not installed.")
    assert rows["any"] == (True, "ready")
    assert "when asked for" in rows["slow"][1]


def test_the_table_holds_every_operator():
    assert {row.operator for row in explain()} >= {"selective_scan", "causal_conv1d"}
