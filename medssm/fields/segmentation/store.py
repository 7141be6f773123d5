"""A store that somebody else filled: taken as it is, once every case is seen to be there."""

from pathlib import Path

from medssm.core.errors import BadDataError
from medssm.core.files import is_temporary, read_json, write_json
from medssm.core.log import say
from medssm.data.labels import read_labels
from medssm.data.manifest import Case, Manifest
from medssm.data.splits import make_splits
from medssm.fields.segmentation.plan_file import OURS, Plan
from medssm.runs.workspace import Workspace

_PARTS = (".b2nd", "_seg.b2nd", ".pkl")


def accept_store(plan: Plan, workspace: Workspace) -> Path:
    """Check a preprocessed folder without its raw images; make its folds if it has none.

    Stock nnU-Net makes folds of whatever lies in the folder, so that a preprocessing that was
    killed goes unnoticed; here it is refused.

    Args:
        plan: The plan that the folder was made by.
        workspace: Where it lies.

    Returns:
        The store.

    Raises:
        BadDataError: Cases are missing, with their number and first names.
    """
    folder = workspace.store(plan.data_identifier)
    present = stored_cases(folder)
    expected = _expected(plan, workspace)
    missing = sorted(expected - present)
    declared = int(plan.dataset.get("numTraining", 0))
    if missing or not present or (not expected and len(present) < declared):
        total = len(expected) or declared
        named = f" ({', '.join(missing[:5])}{', …' if len(missing) > 5 else ''})" if missing else ""
        raise BadDataError(
            f"{folder}: holds {len(present)} whole cases. Expected {total}{named}; its "
            "preprocessing did not end. Run it again with the tool that began it."
        )
    splits = workspace.preprocessed / "splits_final.json"
    if not splits.is_file():
        write_json(splits, make_splits(_manifest(plan, workspace, present)))
    if OURS not in plan.plans:
        say("%s: preprocessed by stock nnU-Net, all %d cases are there.", folder, len(present))
    return folder


def stored_cases(folder: Path) -> set[str]:
    """Cases whose three files are all in a store."""
    files = {path.name for path in folder.glob("*") if not is_temporary(path)}
    names = {name.removesuffix(".pkl") for name in files if name.endswith(".pkl")}
    return {name for name in names if all(f"{name}{part}" in files for part in _PARTS)}


def _expected(plan: Plan, workspace: Workspace) -> set[str]:
    expected: set[str] = set()
    splits = workspace.preprocessed / "splits_final.json"
    if splits.is_file():
        for split in read_json(splits):
            expected.update(split["train"], split["val"])
    ending = str(plan.dataset.get("file_ending", ""))
    references = workspace.preprocessed / "gt_segmentations"
    # stock nnU-Net copies all of them after the cases, we do the same
    expected.update(path.name.removesuffix(ending) for path in references.glob(f"*{ending}"))
    listed = plan.dataset.get("dataset")
    left_out = set(plan.plans.get(OURS, {}).get("skipped", ()))
    return (expected | set(listed or ())) - left_out


def _manifest(plan: Plan, workspace: Workspace, names: set[str]) -> Manifest:
    return Manifest(
        name=workspace.dataset,
        folder=workspace.preprocessed,
        field="segmentation",
        channels=plan.dataset.get("channel_names", {}),
        labels=read_labels(plan.dataset, str(workspace.preprocessed / "dataset.json")),
        file_ending=str(plan.dataset.get("file_ending", "")),
        cases={name: Case(name, (), None, name) for name in sorted(names)},
        content=plan.dataset,
    )
