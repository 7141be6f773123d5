"""Tables of slides: ids are text, patients are known, two answers are refused."""

import pytest

from medssm.core.errors import BadDataError
from medssm.data.bags import (
    SlideRow,
    read_slide_table,
    refuse_conflicting_labels,
    slide_id,
    write_slide_table,
)


def _table(tmp_path, text):
    file = tmp_path / "t.csv"
    file.write_text(text)
    return file


def test_ids_stay_text_and_endings_come_off_whole(tmp_path):
    rows = read_slide_table(
        _table(
            tmp_path, "case_id,slide_id,label\n7,0012,a\n7,cells.svs,b\n8,glass,a\n8,v.s.ndpi,b\n"
        )
    )
    assert list(rows) == ["0012", "cells", "glass", "v.s"]
    assert rows["0012"].patient == "7"
    assert slide_id(" x.SVS ") == "x"


def test_a_barcode_tells_the_patient_where_the_table_repeats_the_slide(tmp_path):
    one, two = "TCGA-05-4244-01Z-00-DX1.d4ff32cd", "TCGA-05-4244-01Z-00-DX2.0000"
    rows = read_slide_table(
        _table(
            tmp_path, f"case_id,slide_id,label\n{one},{one},LUAD\n{two},{two}.svs,LUAD\nx,x,LUSC\n"
        )
    )
    assert {row.patient for row in rows.values()} == {"TCGA-05-4244", "x"}


def test_survival_has_months_and_events(tmp_path):
    text = (
        ",case_id,slide_id,censorship,survival_months\n0,p,a.svs,1,12.5\n1,p,b,1,12.5\n2,q,c,0,3\n"
    )
    rows = read_slide_table(_table(tmp_path, text))
    assert rows["a"] == SlideRow("a", "p", None, 12.5, False)
    assert rows["c"].event is True


def test_what_is_written_comes_back(tmp_path):
    rows = [
        SlideRow("0012", "p", "a", mpp=0.25),
        SlideRow("b", "q", "c", mpp=None),
    ]
    assert list(read_slide_table(write_slide_table(tmp_path / "a.csv", rows)).values()) == rows
    survival = [SlideRow("a", "p", None, 3.0, True), SlideRow("b", "q", None, 4.0, False)]
    file = write_slide_table(tmp_path / "b.csv", survival)
    assert file.read_text().splitlines()[0] == "case_id,slide_id,censorship,survival_months"
    assert list(read_slide_table(file).values()) == survival


HEAD = "case_id,slide_id,label\n"
SURVIVAL = "case_id,slide_id,censorship,survival_months\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n1,2\n", "first line is 'a,b'.*columns case_id,slide_id"),
        (HEAD, "no row below the header"),
        (HEAD + "p,,a\n", "line 2: the slide_id is empty"),
        (
            HEAD + "p,x,a\np,x.svs,b\n",
            "line 3: the slide 'x' is 'b'.*'a'.*in line 2.*one row a slide",
        ),
        (HEAD + "p,x,a\nq,x,a\n", "line 3: the slide 'x'.*patient 'q'.*patient 'p'"),
        (SURVIVAL + "p,x,0,-2\n", "survival_months of 'x' is -2.*above zero"),
        (SURVIVAL + "p,x,0,0\n", "survival_months of 'x' is 0.*above zero"),
        (SURVIVAL + "p,x,0,\n", "'x' has no survival_months and a censorship"),
        (SURVIVAL + "p,x,0,soon\n", "survival_months is 'soon'.*a number"),
        (SURVIVAL + "p,x,2,4\n", "censorship is 2.*0 or 1"),
        (SURVIVAL + "p,x,0,4\np,y,1,4\n", "patient 'p' is 4 months, event.*4 months, censored"),
    ],
)
def test_a_bad_table_is_named_with_the_line_and_the_remedy(tmp_path, text, words):
    with pytest.raises(BadDataError, match=f"t.csv.*{words}"):
        read_slide_table(_table(tmp_path, text))


def test_a_row_that_stands_twice_the_same_counts_once(tmp_path):
    assert list(read_slide_table(_table(tmp_path, HEAD + "p,x,a\np,x,a\n"))) == ["x"]


def test_a_patient_of_two_classes_is_refused_where_bags_are_patients(tmp_path):
    table = read_slide_table(_table(tmp_path, HEAD + "p,x,a\np,y,b\nq,z,a\n"))
    with pytest.raises(BadDataError, match=r"1 patients.*p: a, b.*take slides as bags"):
        refuse_conflicting_labels(table, "t.csv")
