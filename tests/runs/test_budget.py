"""A machine's budget is added where nobody says how long to train, and only there."""

import pytest

from medssm.runs.budget import with_budget
from medssm.runs.compose import compose, groups

FACTS = {"spatial_dims": 2, "num_channels": 3, "num_outputs": 2}
PUBLISHED = [name for name in groups()["experiment"] if name != "hippocampus"]


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_recipe_keeps_its_own_course(name):
    words, _ = with_budget([f"experiment={name}"])
    content = compose("segmentation", words, FACTS)
    assert words == [f"experiment={name}"]
    assert "max_time" not in content["trainer"]
    assert content["network"]["name"] in name


def test_an_experiment_without_a_course_and_a_wish_get_the_budget_of_the_machine():
    for words in (["experiment=hippocampus"], [], ["experiment=isic17_vm_unet", "budget=auto"]):
        assert any(word.startswith("budget=") for word in with_budget(words)[0])
    assert with_budget(["experiment=isic17_vm_unet", "budget=cpu"])[0][-1] == "budget=cpu"


def test_a_budget_asked_for_leaves_a_recipe_its_network_and_batch():
    content = compose("segmentation", ["experiment=isic18_mhs_vm", "budget=cpu"], FACTS)
    assert content["network"]["name"] == "mhs_vm"
    assert content["batch_size"] == 32
    assert content["trainer"]["max_time"] == "27min"
