"""The plan: files, labels and patients joined; what cannot be right is refused by name."""

from itertools import chain

import numpy as np
import pytest

from medssm.core.errors import BadDataError, UsageError
from medssm.data.bags import (
    SlideRow,
    find_bags,
    read_bag_table,
    write_bag,
    write_slide_table,
)
from medssm.fields.pathology.imports import import_source, recognise
from medssm.fields.pathology.plan import PlanConfig, make_plan
from medssm.fields.pathology.plan_file import read_plan, write_plan
from tests.support.bags import WIDTH, make_study


def _plan(folder, **wishes):
    return make_plan(PlanConfig(**wishes), "features", folder / "labels.csv", find_bags(folder))


def test_patients_stay_on_one_side_and_every_bag_is_tested_once(tmp_path):
    make_study(tmp_path, 30, per_patient=2)
    plan = _plan(tmp_path, folds=5)
    tested = []
    for split in plan.splits:
        sides = [{plan.bags[name].patient for name in split[side]}
                 for side in ("train", "val", "test")]  # fmt: skip
        assert sum(map(len, sides)) == len(set.union(*sides))
        assert sorted(chain(*split.values())) == sorted(plan.bags)
        tested += split["test"]
    assert sorted(tested) == sorted(plan.bags)
    assert plan.classes == ("normal", "tumour")


def test_a_plan_goes_to_its_file_and_back(tmp_path):
    make_study(tmp_path, 12)
    plan = _plan(tmp_path, folds=3)
    write_plan(tmp_path / "plan.json", plan)
    assert read_plan(tmp_path / "plan.json") == plan


def test_a_patient_on_two_sides_of_a_given_split_is_named(tmp_path):
    make_study(tmp_path, 8, per_patient=2)
    splits = tmp_path / "splits"
    splits.mkdir()
    (splits / "splits_0.csv").write_text(
        ",train,val,test\n0,slide_00,slide_04,slide_06\n1,slide_02,slide_05,slide_03\n"
    )
    with pytest.raises(BadDataError, match="patient_01"):
        _plan(tmp_path, splits=str(splits))


def test_given_splits_are_taken_as_they_are(tmp_path):
    make_study(tmp_path, 6)
    (tmp_path / "splits_0.csv").write_text(
        ",train,val,test\n0,slide_00,slide_02,slide_04\n1,slide_01,slide_03,slide_05\n"
    )
    plan = _plan(tmp_path, splits=str(tmp_path / "splits_0.csv"))
    assert plan.splits == ({"train": ("slide_00", "slide_01"), "val": ("slide_02", "slide_03"),
                            "test": ("slide_04", "slide_05")},)  # fmt: skip


def test_barcodes_tell_patients_where_the_table_repeats_the_slide(tmp_path):
    names = [f"TCGA-AA-{1000 + i // 2}-01Z-00-DX{i % 2}" for i in range(12)]
    for name in names:
        write_bag(tmp_path / f"{name}.h5", np.ones((3, WIDTH)), None)
    rows = ["case_id,slide_id,label", *(f"{n},{n},{i // 2 % 2}" for i, n in enumerate(names))]
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    plan = _plan(tmp_path, folds=3)
    assert len({each.patient for each in plan.bags.values()}) == 6
    (tmp_path / "splits_0.csv").write_text(f",train,val,test\n0,{names[0]},,{names[1]}\n")
    with pytest.raises(BadDataError, match="TCGA-AA-1000"):
        _plan(tmp_path, splits=str(tmp_path / "splits_0.csv"))


def test_slides_without_files_are_named_and_may_be_left_out(tmp_path):
    make_study(tmp_path, 12)
    (tmp_path / "slide_05.h5").unlink()
    with pytest.raises(BadDataError, match="slide_05"):
        _plan(tmp_path, folds=3)
    plan = _plan(tmp_path, folds=3, allow_missing=True)
    assert plan.excluded["slide_05"] == "no file"
    assert "slide_05" not in plan.bags


def test_empty_bags_and_files_without_a_row_are_left_out_with_the_reason(tmp_path):
    make_study(tmp_path, 12)
    write_bag(tmp_path / "slide_03.h5", np.zeros((0, WIDTH)), np.zeros((0, 2)))
    write_bag(tmp_path / "stranger.h5", np.ones((3, WIDTH)), None)
    plan = _plan(tmp_path, folds=3)
    assert plan.excluded["slide_03"] == "no instances"
    assert plan.excluded["stranger"] == "not in the table"


def test_one_class_and_no_event_are_refused(tmp_path):
    make_study(tmp_path, 4)
    rows = [SlideRow(f"slide_{i:02d}", f"p{i}", "normal") for i in range(4)]
    write_slide_table(tmp_path / "labels.csv", rows)
    with pytest.raises(BadDataError, match="all of one class"):
        _plan(tmp_path)
    rows = [SlideRow(f"slide_{i:02d}", f"p{i}", None, 5.0, False) for i in range(4)]
    write_slide_table(tmp_path / "labels.csv", rows)
    with pytest.raises(BadDataError, match="censored"):
        _plan(tmp_path)


def test_survival_bags_are_patients_with_their_slides_in_the_order_of_the_table(tmp_path):
    make_study(tmp_path, 12, survival=True, per_patient=2)
    plan = _plan(tmp_path, folds=3)
    assert (plan.task, plan.unit) == ("survival", "patient")
    assert plan.bags["patient_02"].slides == ("slide_04", "slide_05")


def test_too_few_patients_are_answered_with_what_would_do(tmp_path):
    make_study(tmp_path, 4)
    with pytest.raises(BadDataError, match=r"planner\.folds=4"):
        _plan(tmp_path, folds=5)


def test_a_class_that_the_user_did_not_name_is_refused(tmp_path):
    make_study(tmp_path, 6)
    with pytest.raises(BadDataError, match="tumour"):
        _plan(tmp_path, classes=("normal",), folds=3)
    assert _plan(tmp_path, classes=("tumour", "normal"), folds=3).classes[0] == "tumour"


def test_a_table_of_bags_is_imported_and_bad_lines_are_named(tmp_path):
    good = tmp_path / "bags.csv"
    good.write_text("1,1,0.5,2\n1,1,0.25,3\n0,2,1,4\n")
    bags = read_bag_table(good)
    assert bags["1"][0] == "1"
    assert bags["1"][1].shape == (2, 2)
    for text, message in (("1,1,0.5\n0,1,2\n", "line 2"), ("1,1,a\n", "no number"),
                          ("1,1,nan\n", "NaN"), ("1,1\n", "columns"),
                          ("1,1,2\n1,1,2,3\n", "one width")):  # fmt: skip
        bad = tmp_path / "bad.csv"
        bad.write_text(text)
        with pytest.raises(BadDataError, match=message):
            read_bag_table(bad)


def test_a_folder_of_features_with_a_table_is_recognised(tmp_path):
    make_study(tmp_path / "study", 3)
    assert recognise(tmp_path / "study") == "features"
    (tmp_path / "other").mkdir()
    assert recognise(tmp_path / "other") is None
    with pytest.raises(UsageError, match="labels=CSV"):
        import_source("features", tmp_path / "study", tmp_path / "home", None, {"lables": "x"})
