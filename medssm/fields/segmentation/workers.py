"""Cases over processes: errors come back with their case, a dead worker is named and retried."""

import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from typing import Protocol, TypeVar

from medssm.core.errors import MachineError, MedssmError
from medssm.core.log import warn

# below so many cases a process of its own costs more (it imports torch) than it saves
_FEW = 400


class Job(Protocol):
    """Work on one case; must be picklable."""

    @property
    def name(self) -> str:
        """The case."""

    def run(self) -> None:
        """Do it; writes its own results."""


AnyJob = TypeVar("AnyJob", bound=Job)


def run_cases(jobs: Sequence[AnyJob], workers: int) -> Iterator[tuple[AnyJob, Exception | None]]:
    """Do all jobs; no job takes another with it.

    Args:
        jobs: The work.
        workers: Processes; 1 works in this process; 0 chooses.

    Yields:
        Each job as it is done, with the exception that ended it, if any.
    """
    count = workers or _choose(len(jobs))
    if count <= 1 or len(jobs) <= 1:
        for job in jobs:
            yield job, _attempt(job)
        return
    broken: list[AnyJob] = []
    with ProcessPoolExecutor(min(count, len(jobs)), mp_context=get_context("spawn")) as pool:
        futures: dict[Future[Exception | None], AnyJob] = {
            pool.submit(_attempt, job): job for job in jobs
        }
        for future in as_completed(futures):
            try:
                yield futures[future], future.result()
            except BrokenProcessPool:
                broken.append(futures[future])
    for job in broken:
        # alone, so that the case that kills is told from those that were beside it
        yield job, _attempt_alone(job)


def _choose(jobs: int) -> int:
    return 1 if jobs <= _FEW else max(1, min(8, (os.cpu_count() or 1) - 1))


def _attempt(job: Job) -> Exception | None:
    try:
        job.run()
    except MedssmError as error:
        return error
    except Exception as error:
        return MedssmError(f"{type(error).__name__}: {error}")
    return None


def _attempt_alone(job: Job) -> Exception | None:
    warn("a worker process died; %s is tried again by itself.", job.name)
    process: BaseProcess = get_context("spawn").Process(target=_run_or_exit, args=(job,))
    process.start()
    process.join()
    code = process.exitcode or 0
    if code == 0:
        return None
    if code > 0:
        return MedssmError(f"{job.name} failed in its own process (exit code {code})")
    name = signal.Signals(-code).name
    hint = " The system stops processes like this when memory runs out." if code == -9 else ""
    return MachineError(f"{job.name}: its process was ended by {name}.{hint}")


def _run_or_exit(job: Job) -> None:
    error = _attempt(job)
    if error is not None:
        warn("%s: %s", job.name, error)
        raise SystemExit(1)
