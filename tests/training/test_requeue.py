"""A training that Slurm warns of its time limit asks to run again, and nobody else does."""

import signal
import stat
import sys
from pathlib import Path

import pytest

from medssm.training.requeue import requeue


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A job of Slurm whose scontrol notes what it is asked."""
    notes = tmp_path / "asked"
    program = tmp_path / "scontrol"
    program.write_text(
        f"#!{sys.executable}\nimport sys\nopen({str(notes)!r}, 'w').write(' '.join(sys.argv[1:]))\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("SLURM_NTASKS", "1")
    monkeypatch.setenv("SLURM_JOB_NAME", "pretrain")
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    return notes


def test_the_warning_puts_the_job_back_into_the_queue(slurm: Path) -> None:
    assert requeue(signal.SIGUSR1)
    assert slurm.read_text() == "requeue 4711"


@pytest.mark.parametrize("received", [signal.SIGTERM, signal.SIGINT, None])
def test_another_signal_ends_the_job(slurm: Path, received: int | None) -> None:
    assert not requeue(received)
    assert not slurm.exists()


def test_outside_of_slurm_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_NTASKS", raising=False)
    assert not requeue(signal.SIGUSR1)


def test_a_refusal_is_told_and_no_error(slurm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(slurm.parent / "nowhere"))
    assert not requeue(signal.SIGUSR1)
