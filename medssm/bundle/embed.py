"""The code of a network, copied so that it runs where nothing of ours is installed."""

import ast
import re
from collections.abc import Iterable, Mapping
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from medssm import __version__
from medssm.core.files import write_text
from medssm.core.registry import Table
from medssm.layers.mixers import MIXERS
from medssm.networks import NETWORKS

PACKAGE = "medssm"
TARGET = "scripts.medssm_embedded"
# operators are registered by name: two copies in one process must not meet
_NAMESPACE = re.compile(r"(?<=[\"'])medssm(?=::)|(?<=torch\.ops\.)medssm\b|(?<=[\"'])medssm(?=\")")
_SOURCES = (".cpp", ".h", ".json")
# folders whose __init__.py is a table of all parts
_MENUS = ("mixers", "networks", "fields", "losses", "metrics")
# what installs an optional package where medssm's extras are not at hand
_EXTRA = ("pip install 'medssm[{extra}]'", "pip install {module}")


def embed_network(
    network: Mapping[str, Any],
    scripts: Path,
    table: Table = NETWORKS,
    modules: Iterable[str] = (),
) -> str:
    """Copy the code of a network, and what it imports of ours, into a bundle.

    Args:
        network: Name and arguments, as in model.json.
        scripts: The folder scripts/ of the bundle.
        table: Where the name stands.
        modules: More modules of ours that the bundle needs, such as its transforms.

    Returns:
        The class as the bundle's configurations name it.
    """
    module, _, name = table[str(network["name"])].partition(":")
    used = [module, *_parts(network), *modules]
    files = _closure(used)
    folder = scripts / TARGET.partition(".")[2]
    for each, file in sorted(files.items()):
        place = folder.joinpath(*each.split(".")[1:])
        target = place / "__init__.py" if file.name == "__init__.py" else place.with_suffix(".py")
        write_text(target, _renamed(file.read_text(encoding="utf-8"), each))
        for source in sorted(file.parent.iterdir()):
            if source.suffix in _SOURCES:
                write_text(target.parent / source.name, source.read_text(encoding="utf-8"))
    write_text(scripts / "__init__.py", '"""The code of this bundle."""\n')
    return embedded(f"{module}.{name}")


def embedded(name: str) -> str:
    """How the configurations of a bundle call the copy of something of ours."""
    return f"{TARGET}.{name.removeprefix(PACKAGE + '.')}"


def called(name: str, embed: bool) -> str:
    """How the configurations of a bundle call something of ours, copied or not."""
    return embedded(name) if embed else name


def _parts(value: Any) -> Iterable[str]:
    """Modules of the parts that arguments name, such as ``mixer: {name: vim}``."""
    tables: tuple[Table, ...] = (MIXERS,)
    if isinstance(value, Mapping):
        for table in tables:
            if value.get("name") in table:
                yield table[value["name"]].partition(":")[0]
        for each in value.values():
            yield from _parts(each)
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _parts(each)


def _closure(modules: Iterable[str]) -> dict[str, Path]:
    """Every module of ours that some modules import, their packages included, and its file."""
    found: dict[str, Path] = {}
    waiting = [PACKAGE, *modules]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        spec = _spec(name)
        if spec is None or spec.origin is None:
            # the last word was no module but something in one
            continue
        found[name] = Path(spec.origin)
        waiting.append(name.rpartition(".")[0] or PACKAGE)
        waiting += _imports(found[name])
    return found


def _spec(name: str) -> ModuleSpec | None:
    try:
        return find_spec(name)
    except ModuleNotFoundError:
        return None


def _imports(file: Path) -> list[str]:
    names: list[str] = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.append(node.module)
            names += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names += _named(node.value, file)
    return [name for name in names if name == PACKAGE or name.startswith(f"{PACKAGE}.")]


def _named(text: str, file: Path) -> list[str]:
    """The module that a string names: a row of a table that must travel, or a part by its name."""
    if file.parent.name in _MENUS and file.name == "__init__.py":
        # a menu names every part there is; of those only the used ones travel
        return []
    if re.fullmatch(rf"{PACKAGE}(\.\w+)+:\w+", text):
        return [text.partition(":")[0]]
    # such as the mixer that a network takes where none is asked for
    return [MIXERS[text].partition(":")[0]] if text in MIXERS else []


def _renamed(text: str, module: str) -> str:
    if module == PACKAGE:
        # the package's own face offers training and prediction, which stay at home
        return (
            f'"""Networks of medssm, copied into this bundle."""\n\n__version__ = "{__version__}"\n'
        )
    text = _NAMESPACE.sub("medssm_embedded", text).replace(*_EXTRA)
    text = re.sub(rf"\b(from|import) {PACKAGE}\b", rf"\1 {TARGET}", text)
    return re.sub(rf"([\"']){PACKAGE}\.(?=[\w.]+[:\"'])", rf"\1{TARGET}.", text)
