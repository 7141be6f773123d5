"""Promises of preprocessing: stock nnU-Net's store, whole files, nothing done twice."""

import hashlib
import os
import pickle
import random
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import blosc2
import numpy as np
import pytest
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from medssm.core.errors import BadDataError, MachineError
from medssm.core.files import is_temporary, read_json
from medssm.data.manifest import read_manifest
from medssm.fields.segmentation.preprocess import (
    PreprocessConfig,
    check_disk,
    choose_workers,
    preprocess,
    stored_voxels,
)
from tests.fields.segmentation.conftest import prepare

ONE = PreprocessConfig(workers=1)


def stock_case(planned, name: str, folder: Path) -> None:
    manager = PlansManager(dict(planned.plan.plans))
    case = planned.manifest.cases[name]
    DefaultPreprocessor(verbose=False).run_case_save(
        str(folder / name),
        [str(image) for image in case.images],
        str(case.label),
        manager,
        manager.get_configuration(planned.plan.configuration),
        dict(planned.plan.dataset),
    )


@pytest.mark.parametrize("kind", ["planned", "planned_regions"])
def test_store_equals_stock_nnunet(kind: str, request, tmp_path: Path) -> None:
    planned = request.getfixturevalue(kind)
    for name in planned.manifest.cases:
        stock_case(planned, name, tmp_path)
        for ending in (".b2nd", "_seg.b2nd"):
            ours, stock = (
                blosc2.open(str(folder / (name + ending)), mode="r")
                for folder in (planned.store, tmp_path)
            )
            assert ours.dtype == stock.dtype
            assert (ours.chunks, ours.blocks) == (stock.chunks, stock.blocks)
            np.testing.assert_array_equal(ours[...], stock[...])
        ours, stock = (
            pickle.loads((folder / f"{name}.pkl").read_bytes())
            for folder in (planned.store, tmp_path)
        )
        assert ours.keys() == stock.keys()
        for key, places in stock["class_locations"].items():
            np.testing.assert_array_equal(ours["class_locations"][key], places)


def test_every_case_has_a_record_and_the_store_says_that_it_is_complete(planned) -> None:
    record = read_json(planned.store / ".medssm" / "cases" / "c0.json")
    case = planned.manifest.cases["c0"]
    assert record["inputs"].keys() == {str(file) for file in (*case.images, case.label)}
    for name, facts in record["outputs"].items():
        content = (planned.store / name).read_bytes()
        assert facts == {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    complete = read_json(planned.store / ".medssm" / "complete.json")
    assert complete["cases"] == sorted(planned.manifest.cases)


def test_references_lie_where_stock_validation_looks(planned) -> None:
    for case in planned.manifest.cases.values():
        copy = planned.workspace.preprocessed / "gt_segmentations" / case.label.name
        assert copy.read_bytes() == case.label.read_bytes()


def times(store: Path) -> dict[str, int]:
    return {file.name: file.stat().st_mtime_ns for file in store.glob("*.b2nd")}


def test_only_what_is_missing_is_done_again(own) -> None:
    before = times(own.store)
    (own.store / "c1.pkl").unlink()
    (own.store / "c2_seg.b2nd").write_bytes(b"cut")
    preprocess(ONE, own.plan, own.manifest, own.workspace)
    changed = {name for name, stamp in times(own.store).items() if stamp != before[name]}
    assert changed == {"c1.b2nd", "c1_seg.b2nd", "c2.b2nd", "c2_seg.b2nd"}


def test_a_changed_image_is_done_again_and_a_touched_one_is_not(own) -> None:
    before = times(own.store)
    first, second = (own.manifest.cases[name].images[0] for name in ("c0", "c1"))
    first.write_bytes(own.manifest.cases["c0"].images[1].read_bytes())
    os.utime(second)
    preprocess(ONE, own.plan, own.manifest, own.workspace)
    changed = {name for name, stamp in times(own.store).items() if stamp != before[name]}
    assert changed == {"c0.b2nd", "c0_seg.b2nd"}


def test_a_flipped_bit_is_found_when_asked_for(own) -> None:
    file = own.store / "c3.b2nd"
    content = bytearray(file.read_bytes())
    content[-20] ^= 1
    file.write_bytes(content)
    preprocess(replace(ONE, verify=True), own.plan, own.manifest, own.workspace)
    record = read_json(own.store / ".medssm" / "cases" / "c3.json")
    assert hashlib.sha256(file.read_bytes()).hexdigest() == record["outputs"][file.name]["sha256"]
    assert file.read_bytes() != bytes(content)


def test_a_case_that_left_the_data_set_leaves_the_store(own) -> None:
    preprocess(ONE, own.plan, own.manifest.without({"c0"}), own.workspace)
    assert not [file.name for file in own.store.iterdir() if file.name.startswith("c0")]


def test_a_failing_case_is_named_and_the_others_are_done(own) -> None:
    for file in own.store.glob("*.pkl"):
        file.unlink()
    own.manifest.cases["c2"].images[1].write_bytes(b"no image")
    with pytest.raises(BadDataError, match="1 of 4 cases failed: c2"):
        preprocess(ONE, own.plan, own.manifest, own.workspace)
    assert {file.stem for file in own.store.glob("*.pkl")} == {"c0", "c1", "c3"}
    assert not (own.store / ".medssm" / "complete.json").exists()
    preprocess(replace(ONE, skip_bad=True), own.plan, own.manifest, own.workspace)
    complete = read_json(own.store / ".medssm" / "complete.json")
    assert complete["cases"] == ["c0", "c1", "c3"]


def test_too_small_a_disk_is_refused_with_both_numbers(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match=r"takes up to .* GiB, and .* GiB are free"):
        check_disk(3, 1e17, tmp_path)


def test_voxels_of_the_store_are_foreseen(planned) -> None:
    stored = sum(blosc2.open(str(file), mode="r").size for file in planned.store.glob("c?.b2nd"))
    assert stored_voxels(planned.plan, planned.workspace) == pytest.approx(stored, rel=0.05)


def test_small_work_stays_in_one_process() -> None:
    assert choose_workers(100, 100 * 7e4) == 1
    assert choose_workers(1, 1e12) == 1


KILLED = """
import sys
from pathlib import Path
from medssm.data.manifest import read_manifest
from medssm.fields.segmentation.plan_file import read_plan
from medssm.fields.segmentation.preprocess import PreprocessConfig, preprocess
from medssm.runs.workspace import open_workspace
import medssm.fields.segmentation.nnunet.preprocessing
workspace = open_workspace(sys.argv[1], Path(sys.argv[2]))
plan = read_plan(workspace.plans_file("medssmPlans"))
print("begin", flush=True)
config = PreprocessConfig(workers=1, force=True)
preprocess(config, plan, read_manifest(workspace.raw_folder), workspace)
"""


@pytest.mark.slow
def test_kill_at_any_moment_loses_nothing(tmp_path: Path) -> None:
    own = prepare(tmp_path, cases=12)
    whole = {file.name: file.read_bytes() for file in own.store.glob("*.b2nd")}
    draw = random.Random(5)
    for _ in range(4):
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(own.manifest.folder), str(tmp_path)],
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[3],
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(draw.uniform(0, 0.5))
        process.kill()
        process.wait()
        visible = [file for file in own.store.glob("*.b2nd") if not is_temporary(file)]
        assert {file.name: file.read_bytes() for file in visible} == whole
    manifest = read_manifest(own.manifest.folder)
    preprocess(ONE, own.plan, manifest, own.workspace)
    assert {file.name: file.read_bytes() for file in own.store.glob("*.b2nd")} == whole
    assert not [file for file in own.store.iterdir() if is_temporary(file)]
    assert len(read_json(own.store / ".medssm" / "complete.json")["cases"]) == 12
