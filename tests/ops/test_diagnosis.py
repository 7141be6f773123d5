"""The diagnosis says what runs where and why, and finds a backend that is wrong."""

import torch

from medssm.ops.backends import Backend, operators, prefer
from medssm.ops.diagnosis import choices, self_test
from medssm.ops.scan import SCAN, reference


def test_each_call_of_each_operator_has_a_backend_and_reasons_against_others():
    found = choices()
    assert {choice.operator for choice in found} == {each.name for each in operators()}
    for choice in found:
        assert choice.backend
        assert choice.backend not in choice.refusals
        assert all(why.endswith(".") for why in choice.refusals.values())


def test_a_wish_that_no_call_can_meet_leaves_calls_without_a_backend(monkeypatch):
    monkeypatch.setattr("medssm.ops.scan.mamba_ssm.missing", lambda: "absent.")
    with prefer("mamba_ssm"):
        assert not any(c.backend for c in choices() if c.operator == "selective_scan")


def test_every_backend_of_this_machine_agrees_with_the_equations():
    verdicts = self_test(seconds=60)
    assert len(verdicts) == len(choices())
    assert [v.problem for v in verdicts if v.problem] == []


def test_a_backend_that_is_wrong_is_found(monkeypatch):
    def run(call):
        y, last = reference.run(call)
        return y * 1.001, last

    wrong = Backend("cpu", lambda call: None, run)
    monkeypatch.setattr(SCAN, "backends", (wrong, *SCAN.backends[1:]))
    monkeypatch.setattr(SCAN, "names", ("cpu", *SCAN.names[1:]))
    (first, *_) = (v for v in self_test(60) if v.operator == SCAN.name and v.call == "float32")
    assert "off by" in first.problem


def test_a_backend_that_fails_is_found(monkeypatch):
    def run(call):
        raise RuntimeError("no such instruction")

    failing = Backend("cpu", lambda call: None, run)
    monkeypatch.setattr(SCAN, "backends", (failing, *SCAN.backends[1:]))
    assert "no such instruction" in self_test(0)[0].problem


def test_the_time_of_the_comparison_is_bounded():
    assert len(self_test(seconds=-1)) == 1


def test_the_diagnosis_leaves_gradients_and_threads_as_they_were():
    before = torch.get_num_threads(), torch.is_grad_enabled()
    self_test(seconds=0)
    assert (torch.get_num_threads(), torch.is_grad_enabled()) == before
