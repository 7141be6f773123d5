"""Planning a folder of records: what is in it, who belongs together, and what must not leak."""

import csv
import json

import numpy as np
import pytest

from medssm.core.errors import BadDataError, UsageError
from medssm.core.files import read_json
from medssm.data.ecg.classes import code_of
from medssm.data.ecg.synthetic import make_synthetic_records
from medssm.fields.ecg.imports import import_ecg, recognise
from medssm.fields.ecg.plan import ensure_plan, plan_ecg
from medssm.fields.ecg.plan_file import read_plan
from medssm.fields.ecg.preprocess import ensure_preprocessed, preprocess_ecg
from medssm.fields.ecg.records import read_records
from medssm.runs.field import ImportRequest, StudyRequest
from tests.support import ecg_files as files
from tests.support.ecg_files import signal, write_record


def _study(tmp_path, *overrides, **more):
    source, home = tmp_path / "source", tmp_path / "home"
    answer = import_ecg(ImportRequest("ecg", source, home))
    return StudyRequest(answer.facts["dataset"], home, overrides, **more)


def _folder(request):
    return request.home / "preprocessed" / request.dataset


def _findings(request):
    with (_folder(request) / "findings.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def _some(tmp_path, count=8, names="R", labels=("NSR",)):
    for index in range(count):
        codes = [code_of(label) for label in labels]
        write_record(tmp_path / "source", f"{names}{index:05d}", signal(index), codes=codes)


def test_everything_damaged_is_a_row_and_the_good_ones_go_on(tmp_path):
    expected = files.write_damaged(tmp_path / "source")
    assert len(expected) >= 25
    good = make_synthetic_records(tmp_path / "source", 6)
    request = _study(tmp_path)
    answer = plan_ecg(request)
    assert answer.exit_code == 3
    found = {
        row["case"]: row["problem"] for row in _findings(request) if row["severity"] == "error"
    }
    assert found == expected
    assert all(row["remedy"] and row["expected"] for row in _findings(request))
    assert answer.facts["counts"]["skipped"] == len(expected)
    assert preprocess_ecg(request).exit_code == 3
    store, _ = ensure_preprocessed(request)
    assert set(store.records) == {path.stem for path in good}


def test_skip_bad_accepts_what_is_left_out(tmp_path):
    files.write_damaged(tmp_path / "source")
    make_synthetic_records(tmp_path / "source", 4)
    assert plan_ecg(_study(tmp_path, skip_bad=True)).exit_code == 0


def test_a_folder_of_damaged_files_alone_is_refused_and_explained(tmp_path):
    expected = files.write_damaged(tmp_path / "source")
    request = _study(tmp_path)
    with pytest.raises(BadDataError, match="none of"):
        plan_ecg(request)
    assert {row["case"] for row in _findings(request)} >= expected.keys()


def test_the_same_recording_twice_is_found_kept_together_and_scored_once(tmp_path):
    _some(tmp_path, 6)
    write_record(tmp_path / "source", "Z00001", signal(2), codes=[code_of("AF")])
    request = _study(tmp_path, "planner.folds=3")
    answer = plan_ecg(request)
    assert answer.exit_code == 0
    assert answer.facts["counts"]["duplicates"] == 1
    (row,) = [row for row in _findings(request) if row["problem"] == "duplicate"]
    assert (row["case"], "R00002, with other labels" in row["found"]) == ("Z00001", True)
    for split in read_json(_folder(request) / "splits.json"):
        assert ("Z00001" in split["train"]) == ("R00002" in split["train"])
        assert "Z00001" not in split["val"]


def test_a_copy_at_another_rounding_is_the_same_recording(tmp_path):
    _some(tmp_path, 6)
    files.write_dat(tmp_path / "source", "copy", signal(4), gain=250)
    rows = f"copy,{code_of('NSR')},someone\n"
    (tmp_path / "source" / "labels.csv").write_text("record,codes,patient\n" + rows)
    request = _study(tmp_path, "planner.folds=3")
    assert plan_ecg(request).facts["counts"]["duplicates"] == 1
    (row,) = [row for row in _findings(request) if row["problem"] == "duplicate"]
    assert (row["case"], "up to rate and rounding" in row["found"]) == ("copy", True)
    for split in read_json(_folder(request) / "splits.json"):
        assert ("copy" in split["train"]) == ("R00004" in split["train"])


def test_patients_of_a_table_stay_on_one_side(tmp_path):
    _some(tmp_path, 12)
    rows = "".join(f"R{i:05d},p{i % 4}\n" for i in range(12))
    (tmp_path / "source" / "labels.csv").write_text("record,patient\n" + rows)
    request = _study(tmp_path, "planner.folds=4")
    assert plan_ecg(request).facts["patient_by"] == {"table": 12}
    for split in read_json(_folder(request) / "splits.json"):
        sides = [{int(name[1:]) % 4 for name in split[part]} for part in ("train", "val")]
        assert not sides[0] & sides[1]


def test_labels_of_a_table_label_other_formats(tmp_path):
    (tmp_path / "source").mkdir()
    for i in range(4):
        files.write_edf(tmp_path / "source" / f"e{i}.edf", signal(i))
    rows = "".join(f"e{i},{code_of('AF')}|{code_of('LAD')},p{i}\n" for i in range(4))
    (tmp_path / "source" / "labels.csv").write_text("record,codes,patient\n" + rows)
    request = _study(tmp_path, "planner.folds=2")
    facts = plan_ecg(request).facts
    assert facts["counts"]["labelled"] == 4
    assert (facts["classes"]["AF"], facts["classes"]["LAD"]) == (4, 4)


def test_without_patients_the_challenge_goes_by_proxy(tmp_path):
    for index, age in enumerate([60, 60, 70, 80]):
        write_record(tmp_path / "source", f"E{index:05d}", signal(index), age=float(age))
    request = _study(tmp_path, "planner.folds=3")
    answer = plan_ecg(request)
    assert answer.facts["patient_by"] == {"proxy": 4}
    assert answer.facts["counts"]["patients"] == 3
    assert any("proxy" in line for line in answer.lines)


def test_folders_of_patients_are_patients(tmp_path):
    for i in range(4):
        files.write_dat(tmp_path / "source" / f"patient00{i % 2}", f"s{i}_re", signal(i))
    rows = "".join(f"s{i}_re,{code_of('AF')}\n" for i in range(4))
    (tmp_path / "source" / "labels.csv").write_text("record,codes\n" + rows)
    facts = plan_ecg(_study(tmp_path, "planner.folds=2")).facts
    assert (facts["counts"]["patients"], facts["patient_by"]) == (2, {"file": 4})


def test_own_splits_are_taken_and_leaking_ones_refused(tmp_path):
    _some(tmp_path, 6)
    write_record(tmp_path / "source", "Z00001", signal(0))
    names = [f"R{i:05d}" for i in range(6)]
    file = tmp_path / "source" / "splits.json"
    file.write_text(json.dumps([{"train": names[:4], "val": names[4:]}]))
    request = _study(tmp_path)
    assert plan_ecg(request).facts["splits_by"] == "own"
    file.write_text(json.dumps([{"train": names[:4], "val": [*names[4:], "Z00001"]}]))
    with pytest.raises(BadDataError, match=r"R00000 \(train\) and Z00001 \(val\)"):
        plan_ecg(request)
    file.write_text(json.dumps([{"train": names[:4], "val": ["nobody"]}]))
    with pytest.raises(BadDataError, match="nobody"):
        plan_ecg(request)


def test_leave_one_source_out_tests_on_each_source(tmp_path):
    for place, names in enumerate(("A", "E", "JS")):
        for i in range(4):
            values = signal(10 * place + i)
            write_record(tmp_path / "source", f"{names}{i:05d}", values, age=50.0 + i)
    request = _study(tmp_path, "planner.splits=leave_one_source_out", "planner.folds=2")
    plan_ecg(request)
    splits = {split["name"]: split for split in read_json(_folder(request) / "splits.json")}
    assert set(splits) == {"without CPSC", "without Georgia", "without Chapman_Shaoxing"}
    held_out = splits["without Georgia"]
    assert {name[0] for name in held_out["test"]} == {"E"}
    assert not any(name.startswith("E") for name in held_out["train"] + held_out["val"])


def test_one_source_cannot_be_left_out(tmp_path):
    _some(tmp_path, 4)
    with pytest.raises(BadDataError, match="two sources"):
        plan_ecg(_study(tmp_path, "planner.splits=leave_one_source_out"))


def test_unlabelled_records_are_counted_and_in_no_fold(tmp_path):
    _some(tmp_path, 6)
    write_record(tmp_path / "source", "U00001", signal(77), codes=())
    request = _study(tmp_path, "planner.folds=2")
    counts = plan_ecg(request).facts["counts"]
    assert (counts["usable"], counts["labelled"]) == (7, 6)
    for split in read_json(_folder(request) / "splits.json"):
        assert "U00001" not in split["train"] + split["val"]
    store, _ = ensure_preprocessed(request)
    assert not store.records["U00001"].labelled


def test_what_a_source_never_annotated_is_unknown_in_the_store(tmp_path):
    write_record(tmp_path / "source", "A00001", signal(1), age=50.0)
    write_record(tmp_path / "source", "E00001", signal(2), age=51.0)
    store, _ = ensure_preprocessed(_study(tmp_path, "planner.folds=2"))
    known = store.known(["A00001", "E00001"])
    assert known.sum(axis=1).tolist() == [6, 23]
    assert store.targets(["A00001"]).sum() == 1


def test_classes_may_be_chosen_and_merged(tmp_path):
    _some(tmp_path, 4, labels=("AF", "LAD"))
    request = _study(tmp_path, "planner.classes=[LAD,AF]", "planner.folds=2")
    assert [each.abbreviation for each in ensure_plan(request)[0].classes] == ["LAD", "AF"]
    merged = _study(tmp_path, "planner.merge_flutter=true", "planner.folds=2")
    classes = ensure_plan(merged)[0].classes
    assert (len(classes), classes[0].abbreviation) == (25, "AF|AFL")
    with pytest.raises(UsageError, match="LADD"):
        ensure_plan(_study(tmp_path, "planner.classes=[LADD]"))


def test_codes_of_other_lists_make_their_own_classes(tmp_path):
    for i in range(8):
        codes = ["111", "222"] if i % 2 else ["111"]
        write_record(tmp_path / "source", f"R{i:05d}", signal(i), codes=codes)
    request = _study(tmp_path, "planner.min_count=4", "planner.folds=2")
    plan, _ = ensure_plan(request)
    assert (plan.task, [each.code for each in plan.classes]) == ("codes", ["111", "222"])
    with pytest.raises(BadDataError, match="min_count"):
        ensure_plan(_study(tmp_path, "planner.min_count=9"))


def _ptbxl(folder):
    lines = ["ecg_id,patient_id,age,sex,scp_codes,strat_fold,filename_lr,filename_hr"]
    for i in range(10):
        code = "{'NORM': 100.0, 'SR': 0.0}" if i % 2 else "{'IMI': 50.0}"
        names = [f"records{hz}/00000/{i:05d}_{end}" for hz, end in ((100, "lr"), (500, "hr"))]
        lines.append(f'{i},{100 + i}.0,56.0,{i % 2},"{code}",{i + 1},{names[0]},{names[1]}')
        files.write_dat(folder / "records500/00000", f"{i:05d}_hr", signal(i))
        files.write_dat(folder / "records100/00000", f"{i:05d}_lr", signal(i)[:, ::5])
    (folder / "ptbxl_database.csv").write_text("\n".join(lines) + "\n")
    (folder / "scp_statements.csv").write_text(
        ",diagnostic,form,rhythm,diagnostic_class,diagnostic_subclass\n"
        "NORM,1.0,,,NORM,NORM\nIMI,1.0,,,MI,IMI\nSR,,,1.0,,\n"
    )


def test_ptbxl_keeps_its_folds_patients_and_groupings(tmp_path):
    _ptbxl(tmp_path / "source")
    request = _study(tmp_path, "planner.rate_hz=500")
    answer = plan_ecg(request)
    assert (answer.facts["task"], answer.facts["splits_by"]) == ("ptbxl_superdiagnostic", "ptbxl")
    assert answer.facts["classes"] == {"MI": 5, "NORM": 5}
    assert answer.facts["counts"]["records"] == 10
    records = {each.name: each for each in read_records(_folder(request))}
    assert records["00003_hr"].patient == "PTB_XL:103"
    assert records["00003_hr"].codes == ("SCP:NORM", "SCP:SR")
    (split,) = read_json(_folder(request) / "splits.json")
    assert split["test"] == ["00009_hr"]
    assert split["val"] == ["00008_hr"]
    assert len(split["train"]) == 8


@pytest.mark.parametrize(("task", "classes"), [
    ("ptbxl_all", ["IMI", "NORM", "SR"]), ("ptbxl_diagnostic", ["IMI", "NORM"]),
    ("ptbxl_subdiagnostic", ["IMI", "NORM"]), ("ptbxl_rhythm", ["SR"]),
])  # fmt: skip
def test_ptbxl_tasks_group_statements(tmp_path, task, classes):
    _ptbxl(tmp_path / "source")
    plan, _ = ensure_plan(_study(tmp_path, f"planner.task={task}"))
    assert [each.abbreviation for each in plan.classes] == classes


def test_a_ptbxl_patient_in_two_folds_is_refused(tmp_path):
    _ptbxl(tmp_path / "source")
    file = tmp_path / "source" / "ptbxl_database.csv"
    file.write_text(file.read_text().replace("9,109.0", "9,100.0"))
    with pytest.raises(BadDataError, match="one patient"):
        plan_ecg(_study(tmp_path))


def test_a_plan_is_made_once_and_again_when_a_file_changed(tmp_path):
    _some(tmp_path, 4)
    request = _study(tmp_path, "planner.folds=2")
    first = ensure_plan(request)[0]
    file = _folder(request) / "records.csv"
    before = file.stat().st_mtime_ns
    assert ensure_plan(request)[0] == first
    assert file.stat().st_mtime_ns == before
    write_record(tmp_path / "source", "R00099", signal(99))
    assert ensure_plan(request)[0].counts["records"] == 5


def test_a_plan_survives_its_file(tmp_path):
    _some(tmp_path, 4)
    request = _study(tmp_path, "planner.folds=2", "planner.bandpass_hz=[0.5,40]")
    plan_ecg(request)
    read = read_plan(_folder(request))
    assert read == ensure_plan(request)[0]
    assert (read.bandpass_hz, read.length, len(read.classes)) == ((0.5, 40.0), 1000, 26)


@pytest.mark.parametrize("word", [
    "planner.rate=100", "planner.rate_hz=0", "planner.folds=1", "planner.bandpass_hz=[40,1]",
    "planner.task=challenge",
])  # fmt: skip
def test_a_slip_in_a_key_or_value_is_told(tmp_path, word):
    _some(tmp_path, 2)
    with pytest.raises(UsageError, match="planner"):
        plan_ecg(_study(tmp_path, word))


def test_strict_takes_warnings_for_errors(tmp_path):
    _some(tmp_path, 4)
    write_record(tmp_path / "source", "S00001", signal(50)[:, :1500])
    answer = plan_ecg(_study(tmp_path, "planner.strict=true", "planner.folds=2"))
    assert (answer.exit_code, answer.facts["counts"]["skipped"]) == (3, 1)


def test_names_that_repeat_in_folders_are_told_apart(tmp_path):
    for place in ("a", "b"):
        write_record(tmp_path / "source" / place, "R1", signal(ord(place)))
    request = _study(tmp_path, "planner.folds=2")
    plan_ecg(request)
    assert {each.name for each in read_records(_folder(request))} == {"a_R1", "b_R1"}


def test_a_folder_without_records_is_no_import(tmp_path):
    (tmp_path / "source").mkdir()
    with pytest.raises(BadDataError, match="no record"):
        import_ecg(ImportRequest("ecg", tmp_path / "source", tmp_path / "home"))
    with pytest.raises(UsageError, match="unexpected"):
        import_ecg(ImportRequest("ecg", tmp_path / "source", tmp_path, overrides=("a=1",)))


def test_folders_of_records_are_recognised(tmp_path):
    assert recognise(tmp_path) is None
    files.write_npy(tmp_path / "r.npy")
    assert recognise(tmp_path) is None
    files.write_edf(tmp_path / "sub.edf")
    assert recognise(tmp_path) == "ecg"


def test_a_header_without_leads_is_not_ours(tmp_path):
    files.write_dat(tmp_path, "p", np.ones((2, 5000)), lead_names=["PLETH", "ABP"])
    assert recognise(tmp_path) is None


def test_an_import_keeps_its_number(tmp_path):
    _some(tmp_path, 2)
    names = {_study(tmp_path).dataset for _ in range(2)}
    assert len(names) == 1
