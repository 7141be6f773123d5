"""Who does the work: this process, a pool, or dask; a worker that dies costs one job."""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any, TypeVar

from medssm.core.errors import MachineError, MedssmError
from medssm.core.extras import require
from medssm.core.log import say, warn
from medssm.core.workers import DeadWorkerError, Job, run_cases
from medssm.fields.pretraining.archive_config import PrepareConfig, SlurmConfig

AnyJob = TypeVar("AnyJob", bound=Job)
# a job is tried again by us, alone, so that dask need not
_DASK = {"distributed.scheduler.allowed-failures": 0}
_CONNECT_S = 20
_EXTRA = "ct"


def run_jobs(
    jobs: Sequence[AnyJob], config: PrepareConfig
) -> Iterator[tuple[AnyJob, Exception | None]]:
    """Do all jobs by the backend that the configuration names.

    Args:
        jobs: Each writes its own results, so that only its name and error travel back.
        config: Backend, workers, scheduler, limits.

    Yields:
        Each job as it is done, with the exception that ended it, if any.

    Raises:
        MachineError: dask is missing, or the scheduler cannot be reached.
    """
    if not jobs:
        return
    workers = config.workers or max(1, (os.cpu_count() or 2) - 1)
    if config.backend == "serial":
        yield from run_cases(jobs, 1)
    elif config.backend == "process":
        yield from run_cases(jobs, workers, config.time_limit_s)
    else:
        yield from _run_on_dask(jobs, config, min(workers, len(jobs)))


def _run_on_dask(
    jobs: Sequence[AnyJob], config: PrepareConfig, workers: int
) -> Iterator[tuple[AnyJob, Exception | None]]:
    died: list[AnyJob] = []
    with ExitStack() as stack:
        client = stack.enter_context(_client(config, workers, stack))
        for job, error in _submitted(client, jobs):
            if isinstance(error, DeadWorkerError):
                warn("%s It is tried once more by itself at the end.", error)
                died.append(job)
            else:
                yield job, error
        for job in died:
            yield from _submitted(client, [job], turn=2)


def _submitted(
    client: Any, jobs: Sequence[AnyJob], turn: int = 1
) -> Iterator[tuple[AnyJob, Exception | None]]:
    """Give dask no more jobs than it has threads: what waits on a worker would die with it."""
    distributed = require("distributed", _EXTRA)
    left = deque(jobs)
    running: dict[Any, AnyJob] = {}
    done = distributed.as_completed(with_results=True, raise_errors=False)
    while left or running:
        # Slurm's workers come one by one; the first job waits for the first of them
        while left and len(running) < max(1, sum(client.nthreads().values())):
            job = left.popleft()
            # under its old key the scheduler would remember the first death
            key = f"medssm-{job.name}-{turn}"
            future = client.submit(attempt, job, key=key, pure=False)
            running[future] = job
            done.add(future)
        future, result = next(done)
        job = running.pop(future)
        error = _error_of(job, future, result)
        future.release()
        yield job, error


def attempt(job: Job) -> str | None:
    """Do a job on a dask worker; what went wrong travels back as words.

    Raises:
        MachineError: As the job does; no fault of its volume.
    """
    try:
        job.run()
    except MachineError:
        raise
    except MedssmError as error:
        return str(error)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


def _error_of(job: Job, future: Any, result: Any) -> Exception | None:
    if future.status != "error":
        return MedssmError(result) if result else None
    error = result[1] if isinstance(result, tuple) else result
    if type(error).__name__ == "KilledWorker":
        return DeadWorkerError(f"{job.name}: its dask worker died.")
    return error if isinstance(error, Exception) else MachineError(f"{job.name}: {error}")


def _client(config: PrepareConfig, workers: int, stack: ExitStack) -> Any:
    """A dask client: of a running scheduler, of Slurm jobs, or of a cluster on this machine."""
    distributed = require("distributed", _EXTRA)
    dask = require("dask", _EXTRA)
    if config.scheduler is not None:
        try:
            return distributed.Client(config.scheduler, timeout=_CONNECT_S)
        except (OSError, TimeoutError) as error:
            raise MachineError(
                f"preprocess.scheduler={config.scheduler}: no dask scheduler answers there "
                f"({error}). Start one with: dask scheduler"
            ) from error
    stack.enter_context(dask.config.set(_DASK))
    if config.backend == "slurm":
        cluster = stack.enter_context(slurm_cluster(config.slurm))
        cluster.scale(jobs=config.slurm.jobs)
        say("asked Slurm for %d jobs; they begin when it gives them.", config.slurm.jobs)
    else:
        cluster = stack.enter_context(
            distributed.LocalCluster(
                n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None
            )
        )
    return distributed.Client(cluster)


def slurm_cluster(config: SlurmConfig) -> Any:
    """A dask cluster of Slurm jobs, none of which was asked for yet.

    Raises:
        MachineError: dask-jobqueue is missing.
    """
    jobqueue = require("dask_jobqueue", _EXTRA)
    return jobqueue.SLURMCluster(
        queue=config.queue,
        account=config.account,
        cores=config.cores,
        processes=config.cores,
        memory=config.memory,
        walltime=config.walltime,
        scheduler_options={"dashboard_address": None},
    )
