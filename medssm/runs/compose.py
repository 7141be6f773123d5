"""A configuration from `conf/` and overrides: the only place in the package that knows Hydra."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from medssm.core.errors import UsageError, nearest
from medssm.core.inert import refuse_expressions
from medssm.core.resources import conf_folder

# Hydra keeps one global state; notebooks and libraries may compose from several threads
_LOCK = threading.Lock()


def compose(
    config_name: str, overrides: Sequence[str], facts: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Compose `conf/<config_name>.yaml` with overrides into plain data.

    A key that no YAML lists is added, since the typed configurations know every key and refuse
    the others with the nearest match.

    Args:
        config_name: A file of `conf/` without its ending.
        overrides: Words such as ``network=unet`` (a file of a group) or ``trainer.max_epochs=5``.
        facts: What the plan says; files refer to it as ``${plan.num_channels}``.

    Raises:
        UsageError: An override that cannot be read, or names no group or file.
        BadDataError: A fact that is an expression.
    """
    folder = conf_folder()
    if not (folder / f"{config_name}.yaml").is_file():
        names = [path.stem for path in folder.glob("*.yaml")]
        raise UsageError(
            f"there is no configuration {config_name!r}; {nearest(config_name, names)}"
        )
    with _composed(config_name, overrides) as config:
        OmegaConf.set_struct(config, False)
        if facts is not None:
            # what a plan says is data, and here ${...} would be looked up
            refuse_expressions(facts, "the plan")
            config["plan"] = OmegaConf.create(dict(facts))
        plain = OmegaConf.to_container(config, resolve=True)
    if not isinstance(plain, dict):
        raise UsageError(f"conf/{config_name}.yaml: expected keys with values.")
    return {str(key): value for key, value in plain.items()}


def chosen_file(config_name: str, overrides: Sequence[str], group: str) -> str | None:
    """Which file of a group a composition takes, by name; None for none.

    The user's own word decides, else what a budget or an experiment overrides, else the default.

    Raises:
        UsageError: An override that cannot be read, or names no group or file.
    """
    with _composed(config_name, overrides, return_hydra_config=True) as config:
        choice = config.hydra.runtime.choices.get(group)
    return None if choice in (None, "null") else str(choice)


@contextmanager
def _composed(
    config_name: str, overrides: Sequence[str], return_hydra_config: bool = False
) -> Iterator[DictConfig]:
    """What Hydra makes of a configuration; its complaints become ours."""
    words = [hydra_word(word, conf_folder()) for word in overrides]
    with _LOCK:
        GlobalHydra.instance().clear()
        try:
            with initialize_config_dir(str(conf_folder()), version_base="1.3"):
                yield hydra_compose(config_name, words, return_hydra_config=return_hydra_config)
        except (HydraException, OmegaConfBaseException) as error:
            raise UsageError(f"{_first_line(error)} (overrides: {' '.join(overrides)})") from None
        finally:
            GlobalHydra.instance().clear()


def groups() -> dict[str, list[str]]:
    """The groups of `conf/` and the files that each offers."""
    return {
        folder.name: sorted(path.stem for path in folder.glob("*.yaml"))
        for folder in sorted(conf_folder().iterdir())
        if folder.is_dir() and any(folder.glob("*.yaml"))
    }


def group_override(word: str) -> str | None:
    """The group that an override chooses a file of, or None where it sets a value."""
    key = word.partition("=")[0].lstrip("+~").partition("@")[0]
    return key if (conf_folder() / key).is_dir() and key else None


def hydra_word(word: str, folder: Path | None = None) -> str:
    """An override as Hydra wants it: a file of a group as it is, a value with ``++``.

    Args:
        word: As the user types it; a comma separates the values of a sweep.
        folder: The configuration folder; `conf/` by default.

    Raises:
        UsageError: It is no key=value word, or names a file that is not there.
    """
    folder = folder or conf_folder()
    key, equals, value = word.partition("=")
    if word.startswith("~"):
        return word
    if not equals or not key.strip("+"):
        raise UsageError(f"{word!r} is no override; expected key=value, e.g. trainer.max_epochs=50")
    group = group_override(word)
    if group is None:
        return f"++{word.lstrip('+')}"
    options = [path.stem for path in (folder / group).glob("*.yaml")]
    for choice in value.split(","):
        if choice not in options and choice != "null":
            raise UsageError(f"there is no {group} {choice!r} in conf/; {nearest(choice, options)}")
    # Hydra takes no null for a group, it wants the group taken away
    return f"~{key.lstrip('+')}" if value == "null" else word


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), repr(error))


def parse_values(words: Sequence[str]) -> dict[str, Any]:
    """Read key=value words without a configuration file, values as Hydra reads them.

    Args:
        words: Such as ``folds=[0,1]`` or ``mirroring=false``.

    Returns:
        Nested plain data.

    Raises:
        UsageError: A word that cannot be read.
    """
    values: dict[str, Any] = {}
    for word in words:
        try:
            override = OverridesParser.create().parse_override(word)
        except HydraException as error:
            raise UsageError(f"{word!r}: {_first_line(error)}") from None
        place = values
        *outer, last = override.key_or_group.split(".")
        for name in outer:
            place = place.setdefault(name, {})
        plain: Any = OmegaConf.to_container(OmegaConf.create({"value": override.value()}))
        place[last] = plain["value"]
    return values
