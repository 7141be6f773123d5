"""Completion scripts for bash, zsh and fish, made from the table of verbs."""

from medssm.cli.verbs import COMMON, SHELLS, VERBS, Verb
from medssm.core.errors import UsageError, nearest


def script(shell: str) -> str:
    """The completion script of a shell, to be sourced.

    Raises:
        UsageError: No such shell.
    """
    if shell not in SHELLS:
        raise UsageError(f"no completion for the shell {shell!r}; {nearest(shell, SHELLS)}")
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell]()


def _flags(verb: Verb) -> str:
    return " ".join(name for flag in (*verb.flags, *COMMON) for name in flag.names)


def _choices(verb: Verb) -> str:
    return " ".join(choice for word in verb.words for choice in word.choices)


def _bash() -> str:
    cases = "\n".join(
        f'    {name}) words="{_flags(verb)} {_choices(verb)}" ;;' for name, verb in VERBS.items()
    )
    return f"""# bash: eval "$(medssm --completion bash)"
_medssm() {{
  local current=${{COMP_WORDS[COMP_CWORD]}} words
  case ${{COMP_WORDS[1]}} in
{cases}
    *) words="{" ".join(VERBS)} --help --version" ;;
  esac
  [ "$COMP_CWORD" -eq 1 ] && words="{" ".join(VERBS)} --help --version"
  COMPREPLY=($(compgen -W "$words" -- "$current") $(compgen -f -- "$current"))
}}
complete -o filenames -F _medssm medssm
"""


def _zsh() -> str:
    verbs = "\n".join(f"    '{name}:{_quoted(verb.help)}'" for name, verb in VERBS.items())
    cases = "\n".join(
        f"    {name}) compadd -- {_flags(verb)} {_choices(verb)} ;;" for name, verb in VERBS.items()
    )
    return f"""#compdef medssm
# zsh: eval "$(medssm --completion zsh)"
_medssm() {{
  local -a verbs=(
{verbs}
  )
  if (( CURRENT == 2 )); then
    _describe verb verbs
    return
  fi
  case ${{words[2]}} in
{cases}
  esac
  _files
}}
compdef _medssm medssm
"""


def _fish() -> str:
    lines = ["# fish: medssm --completion fish | source"]
    for name, verb in VERBS.items():
        lines.append(
            f"complete -c medssm -n __fish_use_subcommand -a {name} -d '{_quoted(verb.help)}'"
        )
        seen = f"-n '__fish_seen_subcommand_from {name}'"
        for flag in (*verb.flags, *COMMON):
            long = flag.names[-1].lstrip("-")
            short = f" -s {flag.names[0].lstrip('-')}" if len(flag.names) > 1 else ""
            value = " -r" if flag.value else ""
            lines.append(
                f"complete -c medssm {seen} -l {long}{short}{value} -d '{_quoted(flag.help)}'"
            )
        if _choices(verb):
            lines.append(f"complete -c medssm {seen} -a '{_choices(verb)}'")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return text.replace("'", "")
