"""A worker that dies costs one volume; a run that is killed ten times loses nothing."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from medssm.core.errors import MachineError
from medssm.core.files import TEMPORARY_MARK, read_json
from medssm.core.workers import DeadWorkerError, TimeLimitError
from medssm.fields.pretraining import backends
from medssm.fields.pretraining.archive_config import PrepareConfig, SlurmConfig
from medssm.fields.pretraining.backends import run_jobs, slurm_cluster
from medssm.fields.pretraining.ledger import Ledger, LedgerRow, read_lines
from tests.support.ct_archive import make_archive, nifti, phantom

KILLS = 10
NATIVE = ("preprocess.spacing_mm=null", "preprocess.crop_body=false")


@dataclass(frozen=True)
class FatedJob:
    """A job that marks its end, sleeps too long, or kills its process, each time or once."""

    name: str
    folder: Path
    fate: str = "good"

    def run(self):
        mark = self.folder / f"{self.name}-tried"
        first = not mark.exists()
        mark.touch()
        if self.fate == "deadly" or (self.fate == "deadly once" and first):
            os.kill(os.getpid(), signal.SIGKILL)
        if self.fate == "slow":
            time.sleep(60)
        if self.fate == "disk full":
            raise MachineError("no space")
        (self.folder / self.name).touch()


@pytest.mark.parametrize("backend", ["process", "dask"])
def test_a_killed_worker_costs_one_job(tmp_path, backend):
    if backend == "dask":
        pytest.importorskip("distributed")
    fates = {"a": "good", "killer": "deadly", "b": "good", "unlucky": "deadly once", "c": "good"}
    jobs = [FatedJob(name, tmp_path, fate) for name, fate in fates.items()]
    config = PrepareConfig(backend=backend, workers=2)
    found = {job.name: error for job, error in run_jobs(jobs, config)}
    assert {name for name, error in found.items() if error is not None} == {"killer"}
    assert isinstance(found["killer"], DeadWorkerError)
    assert {path.name for path in tmp_path.iterdir()} >= {"a", "b", "c", "unlucky"}


def test_a_job_that_takes_too_long_is_ended_and_the_others_go_on(tmp_path):
    jobs = [FatedJob("slow", tmp_path, "slow"), *(FatedJob(name, tmp_path) for name in "abc")]
    config = PrepareConfig(backend="process", workers=1, time_limit_s=3.0)
    found = {job.name: error for job, error in run_jobs(jobs, config)}
    assert isinstance(found["slow"], TimeLimitError)
    assert [found[name] for name in "abc"] == [None] * 3


def test_a_full_disk_is_no_fault_of_a_volume(tmp_path):
    pytest.importorskip("distributed")
    jobs = [FatedJob("x", tmp_path, "disk full"), FatedJob("y", tmp_path)]
    config = PrepareConfig(backend="dask", workers=1)
    found = {job.name: error for job, error in run_jobs(jobs, config)}
    assert type(found["x"]) is MachineError
    assert found["y"] is None


def test_a_scheduler_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr(backends, "_CONNECT_S", 1)
    pytest.importorskip("distributed")
    config = PrepareConfig(backend="dask", scheduler="tcp://127.0.0.1:9")
    with pytest.raises(MachineError, match="no dask scheduler answers"):
        list(run_jobs([FatedJob("x", Path())], config))


def test_a_scheduler_that_runs_already_is_used(tmp_path):
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
    ) as cluster:
        config = PrepareConfig(backend="dask", scheduler=cluster.scheduler_address)
        found = [error for _, error in run_jobs([FatedJob("x", tmp_path)], config)]
    assert found == [None]
    assert (tmp_path / "x").exists()


def test_slurm_jobs_ask_for_what_the_configuration_says():
    pytest.importorskip("dask_jobqueue")
    config = SlurmConfig(cores=2, memory="6GB", walltime="01:30:00", queue="cpu", account="lab")
    with slurm_cluster(config) as cluster:
        script = cluster.job_script()
    for line in ("-p cpu", "-A lab", "--cpus-per-task=2", "-t 01:30:00"):
        assert f"#SBATCH {line}" in script


def test_a_row_cut_in_half_counts_as_never_written(tmp_path):
    ledger = Ledger(tmp_path)
    rows = [LedgerRow(str(each), "prepare", "r", "stored") for each in range(3)]
    ledger.append(rows)
    part = next(tmp_path.glob("part-*.jsonl"))
    part.write_bytes(part.read_bytes()[:-20])
    assert [row.item for row in Ledger(tmp_path).latest().values()] == ["0", "1"]


def test_the_last_word_on_an_item_holds(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.append([LedgerRow("x", "prepare", "r", "quarantined", "worker-died")])
    ledger.append([LedgerRow("x", "prepare", "r", "stored")], attempt=2)
    ledger.append([LedgerRow("x", "prepare", "other recipe", "rejected", "not-hu")])
    assert ledger.latest("r")["x", "prepare"].status == "stored"
    assert len(list(read_lines(tmp_path.glob("*.jsonl")))) == 3


def _command(home, *words):
    return [sys.executable, "-m", "medssm.cli", *map(str, words), "--home", str(home), "-q"]


def _run(home, *words, codes=(0,)):
    done = subprocess.run(_command(home, *words), capture_output=True, text=True, check=False)
    assert done.returncode in codes, done.stderr[-3000:]
    return done.stdout


def _tables(folder):
    names = ("volumes.csv", "splits.json", "ledger.csv", "report.json", "private/files.csv")
    found = {name: (folder / name).read_bytes() for name in names}
    for path in sorted((folder / "store").rglob("*")):
        if path.is_file():
            found[path.relative_to(folder).as_posix()] = path.read_bytes()
    return found


def _wait_for(process, folder, count):
    """Until so many volumes have their record, or the process is done."""
    until = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < until:
        names = [path.name for path in (folder / "store").rglob("*.json")]
        if sum(not name.startswith(TEMPORARY_MARK) for name in names) >= count:
            return
        time.sleep(0.002)


@pytest.mark.slow
@pytest.mark.e2e
@pytest.mark.timeout(600)
def test_a_run_killed_ten_times_at_random_moments_loses_nothing_and_ends_equal(tmp_path):
    make_archive(tmp_path / "scans", tmp_path / "downstream")
    words = [*NATIVE, f"archive.block=[{tmp_path / 'downstream'}]"]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for home in (whole, cut):
        _run(home, "import", "archive", tmp_path / "scans", "--name", "Dataset001_Scans")
    _run(whole, "preprocess", "1", *words, codes=(3,))
    (cut / "archive_secret.key").write_bytes((whole / "archive_secret.key").read_bytes())
    expected = _tables(whole / "preprocessed/Dataset001_Scans")
    rng, folder = random.Random(5), cut / "preprocessed/Dataset001_Scans"
    stored: set[str] = set()
    killed = 0
    for kill in range(KILLS):
        process = subprocess.Popen(
            _command(cut, "preprocess", "1", *words, "preprocess.backend=process",
                     "preprocess.workers=2"),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        if kill < 3:
            # somewhere in start, scan and plan; the whole takes longer on any machine
            time.sleep(rng.uniform(0.3, 3))
        else:
            # a few volumes later, at any point of the next one
            _wait_for(process, folder, len(stored) + rng.randint(1, 2))
            time.sleep(rng.uniform(0, 0.05))
        killed += process.poll() is None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        now = set()
        for path in (folder / "store").rglob("*.json"):
            if not path.name.startswith(TEMPORARY_MARK):
                # whatever has its record is whole, and what was whole stays
                assert path.read_bytes() == expected[path.relative_to(folder).as_posix()]
                assert path.with_suffix(".b2nd").stat().st_size == read_json(path)["bytes"]
                now.add(path.name)
        assert stored <= now
        stored = now
    assert killed == KILLS
    assert 0 < len(stored) < len(list((whole / "preprocessed").rglob("*.b2nd")))
    _run(cut, "preprocess", "1", *words, codes=(3,))
    assert _tables(folder) == expected
    assert list(cut.rglob(f"{TEMPORARY_MARK}*")) == []


@pytest.mark.e2e
def test_the_commands_take_an_archive_to_a_store_and_say_what_comes_next(tmp_path):
    for seed in range(3):
        nifti(tmp_path / f"scans/{seed}.nii.gz", phantom(seed), np.diag([4.0, 4.0, 4.0, 1.0]))
    home = tmp_path / "home"
    told = json.loads(_run(home, "plan", tmp_path / "scans", "--json"))
    assert told["volumes"] == 3
    told = json.loads(
        _run(home, "preprocess", told["dataset"], "preprocess.spacing_mm=3", "--shard", "0/2",
             "--backend", "process", "--json")
    )  # fmt: skip
    assert "preprocess.shard=1/2" in told["next"]
    told = json.loads(_run(home, "preprocess", told["dataset"], "--shard", "1/2", "--json"))
    assert told["next"].startswith("medssm train")
    assert "shard" not in told["next"]
    assert (told["used"], told["pending"]) == (3, 0)
