"""Configurations compose from choices and overrides; data sets are found by path, name, number."""

import pytest

from medssm.core.errors import BadDataError, UsageError
from medssm.data.phantom import PhantomShape, make_phantom_dataset
from medssm.runs.compose import chosen_file, compose, parse_values
from medssm.runs.workspace import open_workspace

FACTS = {"spatial_dims": 2, "num_channels": 3, "num_outputs": 4}


def test_facts_of_the_plan_reach_the_network():
    network = compose("segmentation", [], FACTS)["network"]
    assert (network["spatial_dims"], network["in_channels"], network["out_channels"]) == (2, 3, 4)


def test_an_override_adds_a_key_that_no_file_lists():
    content = compose("segmentation", ["network.dropout=0.1", "seed=7"], FACTS)
    assert (content["network"]["dropout"], content["seed"]) == (0.1, 7)


def test_the_users_network_beats_that_of_the_budget():
    content = compose("segmentation", ["budget=cpu", "network=unet"], FACTS)
    assert content["network"]["name"] == "unet"


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("network=lightm_une", "did you mean 'lightm_unet'"),
        ("budget=gpu", "did you mean"),
        ("nonsense", "expected key=value"),
        ("=4", "expected key=value"),
    ],
)
def test_an_override_that_cannot_be_meant_is_explained(word, message):
    with pytest.raises(UsageError, match=message):
        compose("segmentation", [word], FACTS)


def test_values_are_read_as_hydra_reads_them():
    assert parse_values(["folds=[0,1]", "a.b=false", "c=null", "d=text"]) == {
        "folds": [0, 1],
        "a": {"b": False},
        "c": None,
        "d": "text",
    }


@pytest.fixture
def home(tmp_path):
    make_phantom_dataset(
        tmp_path / "raw" / "Dataset012_Phantom", cases=2, held_back=0,
        shape=PhantomShape(size=(8, 12, 12)),
    )  # fmt: skip
    return tmp_path


@pytest.mark.parametrize("wish", ["12", "012", "Dataset012_Phantom"])
def test_a_data_set_is_found_by_name_and_number(home, wish):
    assert open_workspace(wish, home).dataset == "Dataset012_Phantom"


def test_a_name_that_is_not_there_gets_the_nearest(home):
    with pytest.raises(UsageError, match="Dataset012_Phantom"):
        open_workspace("Dataset012_Fantom", home)


def test_a_plain_folder_is_imported_on_the_way(home, tmp_path):
    plain = tmp_path / "plain"
    plain.mkdir()
    raw = home / "raw" / "Dataset012_Phantom"
    (raw / "imagesTr").rename(plain / "images")
    (raw / "labelsTr").rename(plain / "labels")
    workspace = open_workspace(str(plain), tmp_path / "other")
    assert workspace.raw_folder.is_relative_to(tmp_path / "other")
    assert open_workspace(str(plain), tmp_path / "other") == workspace


def test_a_folder_of_no_known_layout_is_refused_with_the_layouts(tmp_path):
    with pytest.raises(BadDataError, match="images/ and labels/"):
        open_workspace(str(tmp_path), tmp_path)


def test_null_takes_a_group_away():
    assert compose("segmentation", ["loss=null"], FACTS).get("loss") is None
    assert "network" not in compose("segmentation", ["network=null"], FACTS)


def test_the_chosen_file_of_a_group_is_known():
    assert chosen_file("segmentation", ["network=unet"], "network") == "unet"
    assert chosen_file("segmentation", ["budget=cpu"], "network") == "lightm_unet_hybrid"
    assert chosen_file("segmentation", [], "loss") is None
