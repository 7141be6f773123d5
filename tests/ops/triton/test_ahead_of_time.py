"""The Triton kernels compile for sm_80 and sm_90 without a GPU, and no thread spills."""

import importlib.util
import json
import os
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None or os.environ.get("TRITON_INTERPRET", "0") != "0",
    reason="triton is not installed, or interprets",
)
MAIN = ("one route", "a route and its opposite", "4 taps", "")


def _forms():
    if importlib.util.find_spec("triton") is None:
        return []
    from benchmarks.aot import forms

    return [form for form in forms((64,)) if form.note in MAIN]


@pytest.mark.slow
@pytest.mark.parametrize("architecture", [80, 90])
@pytest.mark.parametrize("form", _forms(), ids=lambda form: f"{form.name}-{form.note}")
def test_no_thread_spills(form, architecture):
    from benchmarks.aot import measure

    row = measure(form, architecture, "bf16")
    assert row["stack"] == 0
    assert row["atomics"] == 0
    assert row["shared"] <= 48 * 1024


def test_forward_scans_need_no_shuffle():
    from benchmarks.aot import forms, measure

    form = next(f for f in forms((64,)) if f.name == "chunk_states")
    row = measure(form, 90, "bf16")
    assert row["shuffles"] == 0
    assert row["registers"] <= 128


def test_the_committed_figures_show_no_spill():
    file = Path(__file__).parents[3] / "benchmarks" / "results" / "aot_sm80_sm90.json"
    rows = json.loads(file.read_text(encoding="utf-8"))["kernels"]
    assert {row["sm"] for row in rows} == {80, 90}
    assert {row["type"] for row in rows} == {"bf16", "fp16", "fp32"}
    assert [row for row in rows if row["stack"] or row["atomics"]] == []
