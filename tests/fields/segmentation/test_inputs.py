"""What is taken as an input of a prediction."""

import numpy as np
import pytest
import SimpleITK

from medssm.core.errors import BadDataError
from medssm.fields.segmentation.inputs import find_inputs


def _write(path):
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.zeros((4, 5, 6), np.float32)), str(path))


def test_a_folder_of_another_format_than_the_model_was_trained_on_is_taken(tmp_path):
    for name in ("b.mha", "a.nrrd"):
        _write(tmp_path / name)
    (tmp_path / "notes.txt").write_text("x")
    found = find_inputs(tmp_path, 1, ".nii.gz")
    assert [case.name for case in found] == ["a", "b"]
    assert [case.problem for case in found] == ["", ""]


def test_the_format_of_the_model_goes_before_others(tmp_path):
    for name in ("a.mha", "a.nii.gz"):
        _write(tmp_path / name)
    (case,) = find_inputs(tmp_path, 1, ".nii.gz")
    assert case.files == (tmp_path / "a.nii.gz",)


def test_a_folder_without_images_names_what_it_holds(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(BadDataError, match=r"endings found: \.txt"):
        find_inputs(tmp_path, 1, ".nii.gz")
