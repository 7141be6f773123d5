"""The result files of both years: read back as written, oddities counted as officially."""

from pathlib import Path

import numpy as np
import pytest

from medssm.core.errors import BadDataError
from medssm.data.ecg.challenge_outputs import (
    read_challenge_output,
    read_labels,
    write_challenge_output,
    write_official_labels,
)
from medssm.data.ecg.classes import challenge_classes

CLASSES = challenge_classes(2021)
INDEX = {each.abbreviation: place for place, each in enumerate(CLASSES)}
RBBB = next(place for place, each in enumerate(CLASSES) if "59118001" in each.codes)


@pytest.mark.parametrize("year", [2020, 2021])
def test_what_is_written_is_read_back(tmp_path: Path, year) -> None:
    rng = np.random.default_rng(3)
    chance = rng.uniform(size=len(CLASSES))
    file = tmp_path / "A0001.csv"
    write_challenge_output(file, CLASSES, chance > 0.4, chance, year)
    decided, read = read_challenge_output(file, CLASSES, year)
    assert np.array_equal(decided, chance > 0.4)
    np.testing.assert_allclose(read, chance, rtol=1e-8)
    lines = file.read_text().splitlines()
    assert lines[0] == "#A0001"
    assert set(lines[2].split(",")) <= {"0", "1"}
    assert ("|" in lines[1]) == (year == 2021)


def _written(folder: Path, *lines: str) -> Path:
    file = folder / "X.csv"
    file.write_text("\n".join(lines) + "\n")
    return file


def test_columns_of_one_class_are_joined_and_others_passed_over(tmp_path: Path) -> None:
    file = _written(tmp_path, "#X", "713427006,59118001,999", "0,1,1", "0.2,0.6,0.9")
    decided, chance = read_challenge_output(file, CLASSES, 2021)
    assert decided.nonzero()[0].tolist() == [RBBB]
    assert chance[RBBB] == pytest.approx(0.4)
    assert chance.sum() == chance[RBBB]


def test_a_yes_written_as_a_float_counts_in_2021_only(tmp_path: Path) -> None:
    file = _written(tmp_path, "#X", "164889003,164890007", "1.0,T", "0.7,0.8")
    assert read_challenge_output(file, CLASSES, 2021)[0][:2].tolist() == [True, True]
    assert read_challenge_output(file, CLASSES, 2020)[0][:2].tolist() == [False, True]


def test_probabilities_that_are_no_numbers_count_as_zero_or_are_dropped(tmp_path: Path) -> None:
    file = _written(tmp_path, "#X", "713427006,59118001,164889003", "0,0,0", "nan,0.6,")
    assert read_challenge_output(file, CLASSES, 2021)[1][RBBB] == pytest.approx(0.3)
    assert read_challenge_output(file, CLASSES, 2020)[1][RBBB] == pytest.approx(0.6)
    assert read_challenge_output(file, CLASSES, 2021)[1][0] == 0.0


def test_a_short_file_is_a_no_in_2020_and_an_error_in_2021(tmp_path: Path) -> None:
    file = _written(tmp_path, "#X", "164889003,164890007", "1,1")
    assert not read_challenge_output(file, CLASSES, 2020)[0].any()
    with pytest.raises(BadDataError, match=r"X\.csv"):
        read_challenge_output(file, CLASSES, 2021)


@pytest.mark.parametrize("line", ["#Dx: 426783006,59118001", "# Dx: 426783006, 59118001"])
def test_both_spellings_of_the_diagnoses_are_read(tmp_path: Path, line: str) -> None:
    header = tmp_path / "A0001.hea"
    header.write_text(f"A0001 12 500 5000\n# Age: 50\n{line}\n")
    assert read_labels(header) == ("426783006", "59118001")


def test_an_empty_or_missing_line_means_unlabelled(tmp_path: Path) -> None:
    header = tmp_path / "A0001.hea"
    header.write_text("A0001 12 500 5000\n#Dx: \n")
    assert read_labels(header) is None
    header.write_text("A0001 12 500 5000\n")
    assert read_labels(header) is None


def test_exported_labels_have_the_spelling_that_the_scorers_read(tmp_path: Path) -> None:
    file = tmp_path / "E1.hea"
    write_official_labels(file, ["426783006"])
    assert "#Dx: 426783006" in file.read_text().splitlines()
    assert read_labels(file) == ("426783006",)
