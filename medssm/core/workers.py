"""Cases over processes: errors come back with their case, a dead worker is named and retried."""

import signal
import time
from collections import deque
from collections.abc import Iterator, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import Generic, Protocol, TypeVar

from medssm.core.errors import MachineError, MedssmError
from medssm.core.log import warn


class Job(Protocol):
    """Work on one case; must be picklable."""

    @property
    def name(self) -> str:
        """The case."""

    def run(self) -> None:
        """Do it; writes its own results."""


# how often the clock is looked at where jobs have a time limit
_LOOK_S = 0.5
# a worker says when it has a job in hand: starting Python and importing is not the job's time
_BEGUN = "begun"
AnyJob = TypeVar("AnyJob", bound=Job)


class TimeLimitError(MachineError):
    """A job took longer than it may; its process was ended."""


class DeadWorkerError(MachineError):
    """The process of a job ended without an answer, twice."""


def run_cases(
    jobs: Sequence[AnyJob], workers: int, limit_s: float | None = None
) -> Iterator[tuple[AnyJob, Exception | None]]:
    """Do all jobs; no job takes another with it.

    Args:
        jobs: The work.
        workers: Processes; 1 works in this process, unless there is a time limit to hold.
        limit_s: A job that takes longer, counted from when its process has it in hand, is ended
            with its process and not tried again.

    Yields:
        Each job as it is done, with the exception that ended it, if any. A job whose process died
        is tried once more, alone.
    """
    if limit_s is None and (workers <= 1 or len(jobs) <= 1):
        for job in jobs:
            yield job, _attempt(job)
        return
    died: list[AnyJob] = []
    for job, error in _side_by_side(jobs, max(1, min(workers, len(jobs))), limit_s):
        if isinstance(error, _DeadWorkerError):
            warn("%s It is tried once more by itself at the end.", error)
            died.append(job)
        else:
            yield job, error
    for job in died:
        for again, error in _side_by_side([job], 1, limit_s):
            dead = isinstance(error, _DeadWorkerError)
            yield again, DeadWorkerError(str(error)) if dead else error


class _DeadWorkerError(MedssmError):
    """A process ended without an answer."""


class _Worker(Generic[AnyJob]):
    """A process that takes one job after the other from a pipe."""

    def __init__(self) -> None:
        context = get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self.process.start()
        theirs.close()
        self.job: AnyJob | None = None
        self.began: float | None = None
        self.error: Exception | None = None

    def give(self, job: AnyJob) -> None:
        """Begin a job; a process that is gone already is noticed when its answer is asked for."""
        self.job, self.began = job, None
        try:
            self.pipe.send(job)
        except (BrokenPipeError, ConnectionResetError):
            return

    def done(self) -> bool:
        """Read what it says, when the pipe is ready; whether that ended its job."""
        assert self.job is not None
        try:
            said: Exception | str | None = self.pipe.recv()
        except (EOFError, ConnectionResetError):
            self.process.join()
            said = _DeadWorkerError(_death(self.job.name, self.process.exitcode or 0))
        if isinstance(said, str):
            self.began = time.monotonic()
            return False
        self.error = said
        return True

    def late(self, limit_s: float | None) -> bool:
        """Whether its job takes longer than it may."""
        if limit_s is None or self.began is None:
            return False
        return time.monotonic() - self.began > limit_s

    def stop(self) -> None:
        """Let go of the process."""
        self.pipe.close()
        if self.process.is_alive():
            self.process.terminate()
        self.process.join()


def _side_by_side(
    jobs: Sequence[AnyJob], count: int, limit_s: float | None
) -> Iterator[tuple[AnyJob, Exception | None]]:
    waiting = deque(jobs)
    workers: dict[Connection, _Worker[AnyJob]] = {}
    try:
        while waiting or workers:
            while waiting and len(workers) < count:
                fresh: _Worker[AnyJob] = _Worker()
                fresh.give(waiting.popleft())
                workers[fresh.pipe] = fresh
            for ready in wait(list(workers), None if limit_s is None else _LOOK_S):
                worker = workers[ready]  # type: ignore[index]
                if not worker.done():
                    continue
                job, error = worker.job, worker.error
                assert job is not None
                if isinstance(error, _DeadWorkerError) or not waiting:
                    del workers[worker.pipe]
                    worker.stop()
                else:
                    worker.give(waiting.popleft())
                yield job, error
            yield from _end_late(workers, limit_s)
    finally:
        for worker in workers.values():
            worker.stop()


def _end_late(
    workers: dict[Connection, _Worker[AnyJob]], limit_s: float | None
) -> Iterator[tuple[AnyJob, Exception | None]]:
    for worker in [each for each in workers.values() if each.late(limit_s)]:
        job = worker.job
        assert job is not None
        del workers[worker.pipe]
        worker.stop()
        yield job, TimeLimitError(f"{job.name}: took longer than {limit_s:g} s and was ended.")


def _serve(pipe: Connection) -> None:
    # ctrl-c goes to the whole group; the parent decides what becomes of us
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        try:
            job = pipe.recv()
        except EOFError:
            return
        pipe.send(_BEGUN)
        pipe.send(_attempt(job))


def _attempt(job: Job) -> Exception | None:
    try:
        job.run()
    except MedssmError as error:
        return error
    except Exception as error:
        return MedssmError(f"{type(error).__name__}: {error}")
    return None


def _death(name: str, code: int) -> str:
    if code >= 0:
        return f"{name}: its process ended by itself with exit code {code}."
    hint = " The system stops processes like this when memory runs out." if code == -9 else ""
    return f"{name}: its process was ended by {signal.Signals(-code).name}.{hint}"
