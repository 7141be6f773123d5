"""A planned and preprocessed synthetic data set, made once."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from medssm.data.manifest import Manifest, read_manifest
from medssm.fields.segmentation.plan import PlanConfig, plan
from medssm.fields.segmentation.plan_file import Plan, read_plan
from medssm.fields.segmentation.preprocess import PreprocessConfig, preprocess
from medssm.runs.workspace import Workspace, open_workspace
from tests.support.raw_dataset import make_raw_dataset
from tests.support.tiny import TINY_NETWORKS

NETWORK = {"name": "lightm_unet", **TINY_NETWORKS["lightm_unet"]}


@dataclass(frozen=True)
class Planned:
    """A data set after plan and preprocess."""

    manifest: Manifest
    workspace: Workspace
    plan: Plan
    store: Path


def prepare(root: Path, regions: bool = False, cases: int = 4) -> Planned:
    """Make a raw data set, plan and preprocess it."""
    workspace = open_workspace(str(make_raw_dataset(root, cases, regions=regions)), root)
    manifest = read_manifest(workspace.raw_folder)
    made = plan(PlanConfig(workers=2), NETWORK, manifest, workspace)
    store = preprocess(PreprocessConfig(), made, manifest, workspace)
    return Planned(manifest, workspace, made, store)


@pytest.fixture(scope="session")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Planned:
    """Classes; read only."""
    return prepare(tmp_path_factory.mktemp("planned"))


@pytest.fixture(scope="session")
def planned_regions(tmp_path_factory: pytest.TempPathFactory) -> Planned:
    """Regions; read only."""
    return prepare(tmp_path_factory.mktemp("regions"), regions=True)


@pytest.fixture
def own(planned: Planned, tmp_path: Path) -> Planned:
    """A copy that a test may damage; its plan is of the original."""
    raw = tmp_path / "raw" / planned.manifest.name
    shutil.copytree(planned.workspace.raw_folder, raw)
    workspace = open_workspace(str(raw), tmp_path)
    workspace.preprocessed.mkdir(parents=True)
    for file in planned.workspace.preprocessed.glob("*.json"):
        shutil.copy(file, workspace.preprocessed)
    manifest = read_manifest(raw)
    made = read_plan(workspace.plans_file(planned.plan.plans_name))
    return Planned(
        manifest, workspace, made, preprocess(PreprocessConfig(), made, manifest, workspace)
    )


@pytest.fixture
def own_plan(tmp_path: Path) -> Planned:
    """One with a plan of its own that a test may outdate."""
    return prepare(tmp_path)


@pytest.fixture
def stock_roots(planned: Planned, tmp_path: Path) -> Iterator[Path]:
    """Show the raw data to stock nnU-Net; gives its empty preprocessed folder."""
    roots = {
        "nnUNet_raw": planned.workspace.raw_folder.parent,
        "nnUNet_preprocessed": tmp_path / "stock",
        "nnUNet_results": tmp_path / "results",
    }
    before = {name: os.environ.get(name) for name in roots}
    os.environ.update({name: str(path) for name, path in roots.items()})
    folder = tmp_path / "stock" / planned.manifest.name
    folder.mkdir(parents=True)
    yield folder
    for name, value in before.items():
        os.environ.pop(name) if value is None else os.environ.update({name: value})
