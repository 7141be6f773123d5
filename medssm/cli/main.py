"""The command `medssm`: finds the verb, runs it, turns every end into an exit code."""

import errno
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path
from types import FrameType

from medssm import __version__
from medssm.cli.answer import give, give_error
from medssm.cli.parser import parse, top_help, verb_of
from medssm.cli.verbs import VERBS
from medssm.core.errors import InterruptedRunError, MachineError, MedssmError, UsageError

BUG = 70
_MACHINE_ERRNOS = {"ENOSPC", "EROFS", "EDQUOT", "EACCES", "EPERM", "ENOMEM", "EMFILE"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line.

    Args:
        argv: The words after `medssm`; those of the process by default.

    Returns:
        The exit code: 0 done, 2 usage, 3 bad data, 4 machine, 5 interrupted, 70 our bug.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    as_json, verbose = "--json" in words, bool({"-v", "-vv", "--verbose"} & set(words))
    verb = None
    try:
        if _answered_without_verb(words):
            return 0
        verb = verb_of(words)
        if verb is None:
            raise UsageError(f"which verb? One of: {', '.join(VERBS)}. See: medssm --help")
        return _run(verb, words)
    except SystemExit as left:
        # argparse leaves by itself after --help
        return int(left.code or 0)
    except BrokenPipeError:
        # the reader of our output went away, e.g. `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except BaseException as error:
        code, message = _explain(error, verb, verbose)
        # stdout holds one JSON object, the first process's
        give_error(verb, message, code, as_json and not _rank())
        return code


def home_folder(flag: str | None) -> Path:
    """The home folder: the flag, else $MEDSSM_HOME, else ~/medssm."""
    return Path(flag or os.environ.get("MEDSSM_HOME") or "~/medssm").expanduser().absolute()


def _answered_without_verb(words: list[str]) -> bool:
    first = words[0] if words else "--help"
    if first in ("-h", "--help", "help"):
        sys.stdout.write(top_help())
    elif first == "--version":
        sys.stdout.write(f"medssm {__version__}\n")
    elif first.partition("=")[0] == "--completion":
        from medssm.cli.completion import script

        shell = first.partition("=")[2] or "".join(words[1:2])
        sys.stdout.write(script(shell))
    else:
        return False
    return True


def _run(verb: str, words: list[str]) -> int:
    arguments = parse(verb, words)
    arguments.home = home_folder(arguments.home)
    from medssm.core.log import configure

    # of several processes of one training only the first speaks
    quiet = -2 if _rank() else -1
    configure(quiet if arguments.quiet or _rank() else arguments.verbose)
    # OpenMP's threads wait by spinning; beside other processes that makes a step ten times slower.
    # Read when torch is loaded, so it is set before.
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    module, _, function = VERBS[verb].runner.partition(":")
    with _sigterm_interrupts():
        answer = getattr(import_module(module), function)(arguments)
    give(verb, answer, arguments.json, arguments.quiet)
    return int(answer.exit_code)


def _rank() -> int:
    """Which process of a training on several devices this is, as its launcher says it."""
    found = [os.environ.get(name, "") for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID")]
    return max((int(value) for value in found if value.isdecimal()), default=0)


@contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    """Treat a polite kill as Ctrl-C while a verb runs; forked workers simply end."""
    # in another thread than the main one Python allows no handler
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _end_forked_workers_by_sigterm()
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@cache
def _end_forked_workers_by_sigterm() -> None:
    """Give forked workers the default back.

    A handler in Python is only run between two instructions: a worker that waits for a lock would
    never end, nor would `multiprocessing.Pool`, which waits for it. The signal is held during the
    fork, since one that comes before the default is back would be lost.
    """
    if not hasattr(os, "register_at_fork"):
        return

    def hold() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])

    def release() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])

    def let_go() -> None:
        if signal.getsignal(signal.SIGTERM) is _interrupt:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        release()

    os.register_at_fork(before=hold, after_in_parent=release, after_in_child=let_go)


def _explain(error: BaseException, verb: str | None, verbose: bool) -> tuple[int, str]:
    """The exit code and the message of what ended a verb."""
    if isinstance(error, MedssmError) and type(error) is not MedssmError:
        return error.exit_code, str(error)
    if isinstance(error, KeyboardInterrupt):
        again = "What is finished is kept; run the same command again to go on."
        return InterruptedRunError.exit_code, f"interrupted. {again}"
    if machine := _machine_message(error):
        return MachineError.exit_code, machine
    text = "".join(traceback.format_exception(error))
    if verbose:
        sys.stderr.write(text)
        place = "the traceback is above"
    else:
        place = f"the traceback is in {_write_traceback(text)}"
    return BUG, (
        f"medssm {verb or ''} met a bug of ours: {type(error).__name__}: "
        f"{str(error).splitlines()[0] if str(error) else '(no message)'}; {place}. "
        "Please report it together with `medssm doctor --json`."
    )


def _machine_message(error: BaseException) -> str | None:
    """A sentence for a full disk, missing rights or memory; None for anything else."""
    if isinstance(error, OSError) and errno.errorcode.get(error.errno or 0) in _MACHINE_ERRNOS:
        return (
            f"{error.filename or 'a file'}: {error.strerror}. Make room or choose another place "
            "with --home or -o, then run the same command again."
        )
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        first = str(error).splitlines()[0] if str(error) else "no more could be had"
        return (
            f"memory is used up ({first}). Take a smaller budget (budget=cpu or budget=gpu_8gb), "
            "a smaller batch (batch_size=1), or fewer workers."
        )
    return None


def _write_traceback(text: str) -> Path:
    file = Path(tempfile.gettempdir()) / f"medssm-traceback-{time.strftime('%Y%m%d-%H%M%S')}.txt"
    file.write_text(text, encoding="utf-8")
    return file


if __name__ == "__main__":
    sys.exit(main())
