"""A data set opens by its path, raw or preprocessed."""

import pytest

from medssm.data.phantom import PhantomShape, make_phantom_dataset
from medssm.runs.workspace import open_workspace


@pytest.fixture
def raw(tmp_path):
    folder = tmp_path / "raw" / "Dataset012_Phantom"
    make_phantom_dataset(folder, cases=2, held_back=0, shape=PhantomShape(size=(8, 12, 12)))
    return folder


def test_a_data_set_is_found_by_its_path(raw, tmp_path):
    assert open_workspace(str(raw), tmp_path).raw_folder == raw


def test_a_preprocessed_folder_of_elsewhere_is_used_where_it_lies(raw, tmp_path):
    folder = tmp_path / "stock" / "Dataset012_Phantom"
    folder.mkdir(parents=True)
    (raw / "dataset.json").rename(folder / "dataset.json")
    (folder / "nnUNetPlans.json").write_text("{}", encoding="utf-8")
    assert open_workspace(str(folder), tmp_path / "home").preprocessed == folder
