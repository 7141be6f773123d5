"""How an answer is given: one JSON object for programs, lines for people."""

import json
import os
import shlex
import sys
from typing import Any

from medssm.runs.answer import Answer, table

__all__ = ["Answer", "give", "give_error", "paint", "table"]


def give(verb: str, answer: Answer, as_json: bool, quiet: bool) -> None:
    """Write an answer to stdout: one JSON object, or lines that end with the next command."""
    command = shlex.join(answer.next_command)
    if as_json:
        content = {
            "ok": answer.exit_code == 0,
            "verb": verb,
            "exit_code": answer.exit_code,
            **answer.facts,
            "written": [str(path) for path in answer.written],
            "next": command,
        }
        _write(json.dumps(content, default=_plain, ensure_ascii=False))
        return
    # where nothing was written, the lines are the result
    if not quiet or not answer.written:
        for line in answer.lines:
            _write(line)
    last = [f"wrote {shlex.quote(str(path))}" for path in answer.written[:1]]
    last += [f"next: {command}"] if command else []
    if last:
        _write("; ".join(last))


def give_error(verb: str | None, message: str, exit_code: int, as_json: bool) -> None:
    """Say what went wrong: on stderr for people, as one JSON object for programs."""
    if as_json:
        _write(
            json.dumps(
                {"ok": False, "verb": verb, "exit_code": exit_code, "error": message},
                ensure_ascii=False,
            )
        )
    else:
        sys.stderr.write(f"{paint('error', sys.stderr)}: {message}\n(exit code {exit_code})\n")


def paint(word: str, stream: Any) -> str:
    """A word in red where the stream is a terminal and the user did not refuse colour."""
    if os.environ.get("NO_COLOR") or not stream.isatty():
        return word
    return f"\x1b[31m{word}\x1b[0m"


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    return str(value)


def _write(line: str) -> None:
    sys.stdout.write(line + "\n")
