"""A mapping is held against a signature, and a slip is answered with the nearest name."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from medssm.core.errors import UsageError
from medssm.core.signature import check_arguments, fits, make


@dataclass(frozen=True)
class Inner:
    rate: float = 0.1


@dataclass(frozen=True)
class Config:
    epochs: int
    kind: Literal["poly", "cosine"] = "poly"
    sizes: tuple[int, ...] = (1, 2)
    inner: Inner = field(default_factory=Inner)
    name: str | None = None


def test_a_mapping_becomes_a_nested_frozen_config():
    config = make(Config, {"epochs": 3, "sizes": [4, 5], "inner": {"rate": 1}}, "run")
    assert config == Config(epochs=3, sizes=(4, 5), inner=Inner(rate=1))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epoch": 3}, "did you mean 'epochs'"),
        ({}, "needs epochs"),
        ({"epochs": 2.5}, "epochs=2.5 does not fit; expected int"),
        ({"epochs": True}, "epochs=True does not fit"),
        ({"epochs": 1, "kind": "linear"}, "one of 'poly', 'cosine'"),
        ({"epochs": 1, "sizes": "12"}, r"sizes='12' does not fit; expected a list \[...\] of int"),
        ({"epochs": 1, "inner": {"rat": 2}}, r"run\.inner has no argument 'rat'"),
        ({"epochs": 1, "name": 4}, "expected str or null"),
    ],
)
def test_a_slip_is_named_with_its_remedy(arguments, message):
    with pytest.raises(UsageError, match=message):
        make(Config, arguments, "run")


def test_a_fixed_length_tuple_is_counted():
    assert fits((1, 2), tuple[int, int])
    assert not fits((1, 2, 3), tuple[int, int])


def test_plain_functions_are_schemas_too():
    def scale(*, factor: float = 1.0) -> float:
        return factor

    check_arguments(scale, {"factor": 2}, "scale")
    with pytest.raises(UsageError, match="factor='2'"):
        check_arguments(scale, {"factor": "2"}, "scale")


@dataclass(frozen=True)
class Places:
    folder: Path | None = None
    either: Path | str = ""


def test_a_text_becomes_a_path_where_only_a_path_fits():
    made = make(Places, {"folder": "a/b", "either": "a/b"}, "places")
    assert made == Places(Path("a/b"), "a/b")
    assert isinstance(made.either, str)
