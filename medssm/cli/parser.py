"""Words of a command line to arguments; a wrong flag or verb is answered with the nearest."""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from medssm.cli.verbs import COMMON, OVERRIDES, VERBS, Flag, Verb, Word
from medssm.core.errors import UsageError, nearest

_OVERRIDE = re.compile(r"^(\+{0,2}[\w@./:-]+=|~\w)", re.DOTALL)
EXIT_CODES = (
    "exit codes: 0 done, 2 usage, 3 bad data, 4 disk, memory or device, "
    "5 interrupted (run again to resume), 70 our bug"
)


class _Parser(argparse.ArgumentParser):
    """An argument parser that raises instead of leaving the program."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{self.prog}: {message}. See: {self.prog} --help")


def top_help() -> str:
    """What `medssm --help` says."""
    width = max(map(len, VERBS))
    rows = "\n".join(f"  {name:<{width}}  {verb.help}" for name, verb in VERBS.items())
    return (
        "usage: medssm VERB ... [key=value ...] [--home DIR] [--json] [-q | -v]\n\n"
        "Medical imaging with state-space models: a folder of images to a trained network.\n\n"
        f"verbs:\n{rows}\n\n"
        "two commands take a folder of labelled images to predictions:\n"
        "  medssm train DATASET\n"
        "  medssm predict MODEL -i IMAGES -o PREDICTIONS\n\n"
        "medssm VERB --help explains a verb, medssm --version says the version,\n"
        "medssm --completion bash|zsh|fish writes a completion script.\n"
        f"{EXIT_CODES}\n"
    )


def verb_of(words: Sequence[str]) -> str | None:
    """The verb among the words of a command line; flags may stand before it.

    Raises:
        UsageError: The word is no verb; the message offers the nearest.
    """
    skip = False
    for word in words:
        if skip or word.startswith("-"):
            skip = word == "--home" and not skip
            continue
        if word not in VERBS:
            raise UsageError(f"there is no verb {word!r}; {nearest(word, VERBS)}")
        return word
    return None


def parse(name: str, words: Sequence[str]) -> argparse.Namespace:
    """The arguments of one verb; key=value words land in `overrides`.

    Raises:
        UsageError: An unknown flag or word, or one that is missing.
    """
    rest = list(words)
    rest.remove(name)
    verb = VERBS[name]
    arguments, leftover = parser_of(name, verb).parse_known_args(rest)
    overrides = [word for word in leftover if _OVERRIDE.match(word)]
    others = [word for word in leftover if not _OVERRIDE.match(word)]
    if verb.overrides and verb.words:
        _put_override_in_its_place(arguments, verb.words[0], overrides, others)
    # a mistyped flag explains what seems to be missing, so it comes first
    for word in sorted(others, key=lambda word: not word.startswith("-")):
        _refuse(name, verb, word)
    for flag in verb.flags:
        missing = flag.required and getattr(arguments, flag.names[-1].lstrip("-")) is None
        if missing and not set(flag.unless) & set(overrides):
            raise UsageError(
                f"medssm {name} needs {' or '.join(flag.names)} {flag.value}: {flag.help}. "
                f"Example: {verb.example}"
            )
    if overrides and not verb.overrides:
        raise UsageError(f"medssm {name} takes no {OVERRIDES} words; found {overrides[0]!r}.")
    arguments.verb, arguments.overrides = name, overrides
    return arguments


def _put_override_in_its_place(
    arguments: argparse.Namespace, first: Word, overrides: list[str], others: list[str]
) -> None:
    """`medssm train network=unet DATASET` means the same as the other order."""
    word = getattr(arguments, first.name)
    if word is None or not _OVERRIDE.match(word) or Path(word).exists():
        return
    bare = [each for each in others if not each.startswith("-")]
    if bare:
        others.remove(bare[0])
    elif not first.optional:
        raise UsageError(f"{first.name.upper()} is missing: {first.help}.")
    overrides.insert(0, word)
    setattr(arguments, first.name, bare[0] if bare else None)


def parser_of(name: str, verb: Verb) -> argparse.ArgumentParser:
    """The argument parser of one verb."""
    notes = [f"example: {verb.example}"] if verb.example else []
    if verb.overrides:
        notes.append(f"{OVERRIDES} words change the configuration; see: medssm show")
    parser = _Parser(
        prog=f"medssm {name}",
        description=f"{verb.help[0].upper()}{verb.help[1:]}.",
        epilog="\n".join([*notes, EXIT_CODES]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    for word in verb.words:
        parser.add_argument(
            word.name,
            help=word.help,
            nargs="?" if word.optional else None,
            metavar=None if word.choices else word.name.upper(),
            type=_checked(word) if word.choices else str,
        )
    for flag in (*verb.flags, *COMMON):
        _add(parser, flag)
    return parser


def _checked(word: Word) -> type[str]:
    def check(text: str) -> str:
        # an override may stand first; it is put in its place later
        if text not in word.choices and not _OVERRIDE.match(text):
            raise UsageError(f"there is no {word.name} {text!r}; {nearest(text, word.choices)}")
        return text

    return check  # type: ignore[return-value]


def _add(parser: argparse.ArgumentParser, flag: Flag) -> None:
    if flag.value is not None:
        unless = f" unless {' or '.join(flag.unless)}" if flag.unless else ""
        note = f" (required{unless})" if flag.required else ""
        parser.add_argument(*flag.names, metavar=flag.value, help=flag.help + note)
    elif flag.counted:
        parser.add_argument(*flag.names, action="count", default=0, help=flag.help)
    else:
        parser.add_argument(*flag.names, action="store_true", help=flag.help)


def _refuse(name: str, verb: Verb, word: str) -> NoReturn:
    if word.startswith("-"):
        known = [spelling for flag in (*verb.flags, *COMMON) for spelling in flag.names]
        flag = word.partition("=")[0]
        raise UsageError(f"medssm {name} has no flag {flag!r}; {nearest(flag, known)}")
    wanted = f" or {OVERRIDES}" if verb.overrides else ""
    raise UsageError(f"medssm {name}: unexpected word {word!r}; expected a flag{wanted}.")
