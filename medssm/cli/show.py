"""`medssm show`: what can be chosen, and the arguments of one choice."""

import argparse
import dataclasses
import inspect
import json
import typing
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from medssm.cli.answer import Answer, table
from medssm.core.errors import UsageError, nearest
from medssm.core.resources import conf_folder, manifests_folder
from medssm.core.signature import describe, hints_of, parameters_of

# what the user calls a table -> where its names stand
TABLES = {
    "networks": "medssm.networks:NETWORKS",
    "bag_networks": "medssm.networks:BAG_NETWORKS",
    "mixers": "medssm.layers.mixers:MIXERS",
    "losses": "medssm.losses:LOSSES",
    "metrics": "medssm.metrics:METRICS",
    "readers": "medssm.data.readers:READERS",
    "slide_readers": "medssm.data.slides:READERS",
    "encoders": "medssm.fields.pathology.encoders:ENCODERS",
    "baselines": "medssm.fields.reconstruction.baselines:BASELINES",
    "fields": "medssm.fields:FIELDS",
}
# dataclasses whose keys a command line may set: the section of the configuration -> its class
STAGES = {
    "planner": "medssm.fields.segmentation.plan:PlanConfig",
    "preprocess": "medssm.fields.segmentation.preprocess:PreprocessConfig",
    "train": "medssm.fields.segmentation.train:TrainConfig",
    "predict": "medssm.fields.segmentation.predict:PredictConfig",
    "evaluate": "medssm.fields.segmentation.evaluate:EvaluateConfig",
}
GROUPS = {
    "budgets": "budget",
    "experiments": "experiment",
    "schedules": "schedule",
    "optimizers": "optimizer",
    "augmentations": "augmentation",
    "trainers": "trainer",
}


def run_show(arguments: argparse.Namespace) -> Answer:
    """List the tables, the rows of one, or the signature of one row."""
    name, row = arguments.table, arguments.name
    known = {
        **TABLES,
        **GROUPS,
        "network": "",
        "stages": "",
        "datasets": "",
        "manifests": "",
        "backends": "",
    }
    if name is None:
        rows = [[each, _meaning(each)] for each in known]
        return Answer({"tables": known}, table(rows, ("table", "what it holds")))
    if name not in known:
        raise UsageError(f"there is no table {name!r}; {nearest(name, known)}")
    if name == "network":
        if row is None:
            return _show_files(conf_folder() / "network", None, "network")
        from medssm.cli.show_network import run_show_network

        return run_show_network(arguments, _show_signature)
    if name in TABLES:
        return _show_table(TABLES[name], row)
    if name in GROUPS:
        return _show_files(conf_folder() / GROUPS[name], row, GROUPS[name])
    if name == "manifests":
        return _show_files(manifests_folder(), row, "manifest")
    if name == "stages":
        return _show_stages(row)
    return _show_backends() if name == "backends" else _show_datasets(arguments.home, row)


def _meaning(name: str) -> str:
    if name in TABLES:
        return f"names that a configuration may build ({TABLES[name].partition(':')[0]})"
    if name in GROUPS:
        return f"files of conf/{GROUPS[name]}, chosen by {GROUPS[name]}=NAME"
    return {
        "network": "named networks (files of conf/network); with a NAME its cost, sizes, source",
        "stages": "the keys of plan, preprocess, train, predict and evaluate with their defaults",
        "datasets": "data sets under the home folder",
        "manifests": "public data sets that medssm knows",
        "backends": "ways to compute each operator, and why one refuses",
    }[name]


def _load(place: str) -> Any:
    module, _, attribute = place.partition(":")
    return getattr(import_module(module), attribute)


def _show_table(place: str, row: str | None) -> Answer:
    names = _load(place)
    if row is None:
        rows = [[each, names[each]] for each in sorted(names)]
        return Answer({"names": dict(rows)}, table(rows, ("name", "where")))
    if row not in names:
        raise UsageError(f"there is no {names.kind} {row!r}; {nearest(row, names)}")
    target = names.load(row)
    return _show_signature(row, target) if callable(target) else _show_object(row, target)


def _show_object(name: str, target: Any) -> Answer:
    """A row that is data, such as a metric: its plain fields."""
    plain = {
        each.name: value
        for each in dataclasses.fields(target)
        if isinstance(value := getattr(target, each.name), (str, int, float, tuple))
    }
    lines = table([[key, value] for key, value in plain.items()], (name, ""))
    return Answer({"name": name, **plain}, lines)


def _show_signature(name: str, target: Callable[..., Any]) -> Answer:
    hints = hints_of(target)
    said = inspect.getdoc(target) or ""
    meanings = _argument_docs(said)
    rows = [
        [
            each,
            describe(hints[each]) if each in hints else "",
            "(required)"
            if parameter.default is inspect.Parameter.empty
            else _default(parameter.default),
            meanings.get(each, ""),
        ]
        for each, parameter in parameters_of(target).items()
    ]
    facts = {
        "name": name,
        "doc": said.partition("\n")[0],
        "arguments": [
            dict(zip(("name", "type", "default", "doc"), row, strict=True)) for row in rows
        ],
    }
    lines = [f"{name}: {facts['doc']}", *table(rows, ("argument", "type", "default", ""))]
    return Answer(facts, lines)


def _default(value: Any) -> str:
    if isinstance(value, Mapping):
        return repr(dict(value))
    # a dataclass field with a factory shows as a marker object
    return "(built)" if type(value).__name__ == "_HAS_DEFAULT_FACTORY_CLASS" else repr(value)


def _argument_docs(text: str) -> Mapping[str, str]:
    """The Args section of a Google docstring: first line of each argument."""
    meanings: dict[str, str] = {}
    lines = text.partition("Args:\n")[2].splitlines()
    for line in lines:
        if not line.startswith("    "):
            break
        name, colon, meaning = line.strip().partition(": ")
        if colon and name.isidentifier() and not line.startswith("        "):
            meanings[name] = meaning
    return meanings


def _show_files(folder: Path, row: str | None, kind: str) -> Answer:
    files = {path.stem: path for path in sorted(folder.glob("*.yaml"))}
    if row is None:
        rows = [[name, _first_comment(path)] for name, path in files.items()]
        return Answer({"names": dict(rows)}, table(rows, ("name", "")))
    if row not in files:
        raise UsageError(f"there is no {kind} {row!r}; {nearest(row, files)}")
    text = files[row].read_text(encoding="utf-8")
    return Answer({"name": row, "content": text}, text.splitlines())


def _first_comment(path: Path) -> str:
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("# ") and not line.startswith("# @package"):
            return line.removeprefix("# ")
    return ""


def _show_stages(row: str | None) -> Answer:
    if row is None:
        rows = [[name, place] for name, place in STAGES.items()]
        return Answer({"names": dict(rows)}, table(rows, ("stage", "where")))
    if row not in STAGES:
        raise UsageError(f"there is no stage {row!r}; {nearest(row, STAGES)}")
    target = _load(STAGES[row])
    answer = _show_signature(row, target)
    lines, facts = list(answer.lines), dict(answer.facts)
    for name, hint in typing.get_type_hints(target).items():
        if hasattr(hint, "__dataclass_fields__"):
            nested = _show_signature(name, hint)
            lines += ["", *nested.lines]
            facts[name] = nested.facts
    return Answer(facts, lines)


def _show_backends() -> Answer:
    from medssm.ops.backends import explain

    rows = [list(map(str, row)) for row in map(_cells, explain())]
    header = ("operator", "backend", "available", "reason")
    return Answer(
        {"backends": [dict(zip(header, row, strict=True)) for row in rows]}, table(rows, header)
    )


def _cells(row: Any) -> tuple[Any, ...]:
    if isinstance(row, Mapping):
        return tuple(row.values())
    return tuple(vars(row).values()) if hasattr(row, "__dict__") else tuple(row)


def _show_datasets(home: Path, row: str | None) -> Answer:
    from medssm.runs.workspace import datasets_under, open_workspace

    if row is not None:
        folder = open_workspace(row, home).raw_folder
        content = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
        content.pop("dataset", None)
        text = json.dumps(content, indent=2, ensure_ascii=False)
        return Answer(
            {"folder": str(folder), "content": content}, [str(folder), *text.splitlines()]
        )
    rows = [[name, str(folder)] for name, folder in datasets_under(home).items()]
    lines = table(rows, ("name", "folder")) if rows else [f"no data set under {home} yet"]
    hint = () if rows else ("medssm", "import", "folder", "SRC")
    return Answer({"home": str(home), "datasets": dict(rows)}, lines, next_command=hint)
