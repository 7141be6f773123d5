"""Promises of the pool of cases."""

from pathlib import Path

import pytest

from medssm.core.errors import BadDataError, MachineError
from medssm.core.workers import run_cases
from tests.support.jobs import MarkJob


@pytest.mark.parametrize("workers", [1, 2])
def test_a_bad_case_is_returned_with_its_error_and_the_others_are_done(
    tmp_path: Path, workers: int
) -> None:
    fates = {"a": "good", "b": "bad", "c": "good"}
    jobs = [MarkJob(name, tmp_path, fate) for name, fate in fates.items()]
    results = {job.name: error for job, error in run_cases(jobs, workers)}
    assert results.keys() == fates.keys()
    assert isinstance(results["b"], BadDataError)
    assert "b is bad" in str(results["b"])
    assert results["a"] is None
    assert (tmp_path / "a").exists()
    assert (tmp_path / "c").exists()


def test_a_killed_worker_is_named_with_its_signal_and_costs_only_its_case(tmp_path: Path) -> None:
    fates = {"a": "good", "killer": "deadly", "b": "good", "unlucky": "deadly once", "c": "good"}
    jobs = [MarkJob(name, tmp_path, fate) for name, fate in fates.items()]
    results = {job.name: error for job, error in run_cases(jobs, 2)}
    assert {name for name, error in results.items() if error is not None} == {"killer"}
    assert isinstance(results["killer"], MachineError)
    assert "killer" in str(results["killer"])
    assert "SIGKILL" in str(results["killer"])
    assert (tmp_path / "unlucky").exists()
