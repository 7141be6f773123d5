"""Splits in CLAM's tables: both ways, patients for slides, leaks refused by name."""

import pytest

from medssm.core.errors import BadDataError
from medssm.data.bags import SlideRow, read_slide_table, read_splits, refuse_leaks, write_splits

TABLE = {
    name: SlideRow(name, f"p{index // 2}", "ab"[index % 2])
    for index, name in enumerate(["0001", "s1", "s2", "s3", "s4", "s5"])
}
SPLIT = {"train": ["0001", "s1", "s4"], "val": ["s2"], "test": []}


def test_what_is_written_comes_back_with_ids_as_text(tmp_path):
    files = write_splits(tmp_path, [SPLIT, SPLIT], TABLE)
    assert [file.name for file in files] == ["splits_0.csv", "splits_1.csv"]
    assert read_splits(tmp_path, TABLE) == [SPLIT, SPLIT]
    assert read_splits(tmp_path / "splits_0_bool.csv", TABLE) == [SPLIT]
    assert (tmp_path / "splits_0.csv").read_text().splitlines()[:2] == [
        ",train,val,test",
        "0,0001,s2,",
    ]
    assert (tmp_path / "splits_0_descriptor.csv").read_text() == (
        ",train,val,test\na,2,1,0\nb,1,0,0\n"
    )


def test_folds_are_read_in_the_order_of_their_numbers(tmp_path):
    folds = [{"train": [name], "val": ["s4"], "test": []} for name in list(TABLE)[:4]]
    write_splits(tmp_path, folds * 3, TABLE)
    assert read_splits(tmp_path, TABLE) == folds * 3


def test_a_patient_stands_for_all_slides_however_often_it_is_repeated(tmp_path):
    file = tmp_path / "splits_0.csv"
    file.write_text(",train,val\n0,p0,p1\n1,p0,p1\n2,p2,\n")
    assert read_splits(file, TABLE) == [{"train": ["0001", "s1", "s4", "s5"], "val": ["s2", "s3"]}]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (",train,val,test\n0,0001,s1,\n", "1 patients in train and in val: p0.*put all slides"),
        (",train,val,test\n0,0001,s2,s3\n", "1 patients in val and in test: p1"),
        (",train,val,test\n0,s4,s4,\n", "slides in train and in val: s4"),
        (",train,val,test\n0,s4,unknown,\n", "val names 1 slides.*unknown.*slide_id or case_id"),
        ("a,b\n0,1\n", "columns train, val and test"),
    ],
)
def test_a_bad_split_is_named_with_the_patients(tmp_path, text, words):
    file = tmp_path / "splits_0.csv"
    file.write_text(text)
    with pytest.raises(BadDataError, match=f"splits_0.csv.*{words}"):
        read_splits(file, TABLE)


def test_a_folder_without_splits_is_named(tmp_path):
    with pytest.raises(BadDataError, match=r"no splits there.*splits_0.csv"):
        read_splits(tmp_path, TABLE)


def test_folds_like_those_published_for_lung_cancer_are_refused(tmp_path):
    """Their table repeats the slide as case_id, and folds were drawn over slides."""
    names = [
        f"TCGA-05-{4000 + index // 2}-01Z-00-DX{index % 2 + 1}.{index:04x}" for index in range(40)
    ]
    file = tmp_path / "nsclc.csv"
    file.write_text("case_id,slide_id,label\n" + "".join(f"{n},{n},LUAD\n" for n in names))
    table = read_slide_table(file)
    with pytest.raises(BadDataError, match="20 patients in train and in test: TCGA-05-4000"):
        refuse_leaks({"train": names[::2], "val": [], "test": names[1::2]}, table, "fold 0")
