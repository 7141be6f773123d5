"""The default name of a run follows the network's file, so that two variants never meet."""

import pytest
import yaml

from medssm.core.errors import UsageError
from medssm.core.resources import conf_folder
from medssm.fields.segmentation.story import train_config
from medssm.fields.segmentation.train import TrainConfig
from medssm.networks import NETWORKS

FACTS = {"spatial_dims": 3, "num_channels": 1, "num_outputs": 2}
FILES = sorted(
    path.stem
    for path in (conf_folder() / "network").glob("*.yaml")
    if yaml.safe_load(path.read_text())["name"] in NETWORKS
)


class FakePlan:
    """The two facts of a plan that a name is made of."""

    plans_name, configuration = "medssmPlans", "3d_fullres"


def name_of(*overrides):
    return train_config(overrides, FACTS, TrainConfig).run_name(FakePlan)


def test_every_network_file_has_a_default_run_name_of_its_own():
    names = {file: name_of(f"network={file}") for file in FILES}
    assert names == {file: f"{file}__medssmPlans__3d_fullres" for file in FILES}


def test_a_network_that_a_budget_chose_names_the_run_too():
    assert name_of("budget=cpu") == name_of("budget=cpu", "network=lightm_unet_hybrid")
    assert name_of("budget=cpu", "network=lightm_unet") == "lightm_unet__medssmPlans__3d_fullres"


def test_a_changed_mixer_is_a_variant_and_the_files_own_mixer_is_not():
    plain = name_of("network=lightm_unet")
    changed = name_of("network=lightm_unet", "network.mixer.name=convolution")
    assert changed == "lightm_unet_convolution__medssmPlans__3d_fullres"
    assert changed != plain
    assert name_of("network=lightm_unet_no_ssm", "network.mixer.name=none") == name_of(
        "network=lightm_unet_no_ssm"
    )


def test_a_name_that_is_given_wins_over_the_default():
    assert name_of("network=unet", "run=mine") == "mine"
    assert name_of("network=unet", "variant=big") == "big__medssmPlans__3d_fullres"


def test_another_network_in_place_of_the_files_own_does_not_take_its_name():
    assert not name_of("network=lightm_unet", "network.name=unet").startswith("lightm")


def test_no_network_at_all_is_a_slip_and_no_bug():
    with pytest.raises(UsageError, match="network"):
        name_of("network=null")
