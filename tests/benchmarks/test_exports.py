"""The figures of exported programs: every published network, within the bound that we state."""

import json

import pytest

from benchmarks.exports import FILE, SIZES, STARTS


@pytest.fixture(scope="module")
def rows():
    return {(r["network"], r["weights"]): r for r in json.loads(FILE.read_text("utf-8"))["rows"]}


def test_every_network_is_measured_at_its_start_and_with_larger_logits(rows):
    assert rows.keys() == {(name, start) for name in SIZES for start in STARTS}


@pytest.mark.parametrize("kind", ["pt2", "onnx"])
def test_programs_of_any_size_are_within_a_thousandth(rows, kind):
    assert all(row["any_size"] and len(set(row["sizes"])) == 2 for row in rows.values())
    assert max(row[f"{kind}_to_ours"] for row in rows.values()) <= 1e-3
