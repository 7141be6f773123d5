"""What the bundles of whole cases share: settings, how they are written, and the verdict."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from medssm.bundle.answer_configs import AnswerRecipe, configurations
from medssm.bundle.answer_readme import Page
from medssm.bundle.embed import embed_network
from medssm.bundle.folder import Parts, check_free, fill, put_together
from medssm.core.errors import MedssmError, UsageError
from medssm.core.registry import Table
from medssm.core.signature import make
from medssm.runs.answer import Answer
from medssm.runs.compose import parse_values
from medssm.runs.field import ExportRequest


@dataclass(frozen=True)
class FoldBundleConfig:
    """What a user may say about a bundle of a model that has folds.

    Args:
        folds: The one fold that it holds; may be left out where there is only one.
        prove: Whether MONAI answers held-back cases, to be compared with `medssm predict`.
        cases: How many; 0 takes all.
        input: Folder of cases for the proof; None takes those that the fold held back.
    """

    folds: tuple[int, ...] | None = None
    prove: bool = True
    cases: int = 4
    input: str | None = None


@dataclass(frozen=True)
class CaseBundle:
    """What fills a bundle of whole cases.

    Args:
        network: With its weights.
        named: Name and arguments of it, as in model.json.
        table: Where the name stands.
        modules: More modules of ours that an embedded bundle needs.
        recipe: Of its configurations.
        content: Of metadata.json.
        page: Of its README.
    """

    network: nn.Module
    named: Mapping[str, Any]
    table: Table
    modules: Iterable[str]
    recipe: AnswerRecipe
    content: Mapping[str, Any]
    page: Page


def write_case_bundle(
    bundle: CaseBundle, output: Path, prove: Callable[[Path], dict[str, Any]] | None
) -> dict[str, Any]:
    """Write a bundle, prove it and put it in its place.

    Args:
        bundle: What fills it.
        output: Its folder or .zip; a bundle that is there makes way.
        prove: Gives the figures of the proof, or raises; None leaves the bundle unproven.

    Returns:
        The figures.

    Raises:
        MedssmError: The proof failed; nothing new is left at `output`.
    """

    def fill_in(folder: Path) -> None:
        if bundle.page.embed:
            embed_network(bundle.named, folder / "scripts", bundle.table, bundle.modules)
        licence = str(bundle.content["data_source"])
        made = configurations(bundle.recipe)
        fill(folder, Parts(bundle.network, bundle.content, made, licence))

    return put_together(output, fill_in, prove, bundle.page.text)


def refuse_several(model: Path, folds: Iterable[object]) -> None:
    """A bundle holds one network.

    Raises:
        UsageError: There are several folds.
    """
    names = [str(each) for each in folds]
    if len(names) > 1:
        raise UsageError(
            f"{model}: has the folds {', '.join(names)}; a bundle holds one network. Take one, "
            f"e.g. folds=[{names[0]}]."
        )


def largest(theirs: Sequence[float], ours: Sequence[float]) -> float:
    """The largest difference of numbers; infinite where there are more or fewer of them."""
    if len(theirs) != len(ours):
        return math.inf
    return float(np.abs(np.array(theirs) - np.array(ours)).max(initial=0.0))


def verdict(
    differences: Mapping[str, float], tolerance: float, embed: bool, cases: str, number: str
) -> dict[str, Any]:
    """The figures of a proof.

    Args:
        differences: The largest one of each case.
        tolerance: As much is accepted.
        embed: Whether medssm was hidden from MONAI.
        cases: What a case is called, such as "records".
        number: What was compared, such as "probability".

    Raises:
        MedssmError: A case is answered otherwise, or there was nothing to compare.
    """
    if not differences:
        raise MedssmError(
            f"medssm predict answered none of the {cases} of the proof, so there is nothing to "
            "compare. Give others by input=FOLDER. The bundle is not written."
        )
    # what is no number is no agreement
    worst = max(differences, key=lambda name: (math.isnan(differences[name]), differences[name]))
    if not differences[worst] <= tolerance:
        raise MedssmError(
            f"{worst}: the bundle's answer differs from medssm's by {differences[worst]:.1e} in a "
            f"{number}; expected at most {tolerance:g}. The bundle is not written."
        )
    return {
        "proven": True,
        cases: len(differences),
        f"largest_difference_of_a_{number}": float(f"{differences[worst]:.2g}"),
        "without_medssm": embed,
    }


def bundle_answer(
    request: ExportRequest, settings: type[Any], write: Callable[[Any], dict[str, Any]]
) -> Answer:
    """Export a bundle as the command line asks for it.

    Args:
        request: What was asked.
        settings: The dataclass of what a user may say.
        write: From these settings to the figures of the proof.

    Raises:
        UsageError: A setting that is none, or something lies at the output already.
    """
    config = make(settings, parse_values(request.overrides), "export")
    check_free(request.output, request.force)
    figures = write(config)
    facts = {"kind": "bundle", "file": str(request.output), **figures}
    return Answer(facts, [f"{name}: {value}" for name, value in figures.items()], [request.output])
