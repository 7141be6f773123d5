import pytest
import yaml

from medssm.core.resources import conf_folder
from medssm.core.signature import parameters_of
from medssm.fields.reconstruction.story import train_config
from medssm.fields.reconstruction.train_config import TrainConfig
from medssm.networks import RECONSTRUCTION_NETWORKS

NETWORKS = sorted(file.stem for file in (conf_folder() / "network").glob("recurrent_varnet*.yaml"))


def test_there_are_the_published_sizes_and_ours():
    assert len(NETWORKS) == 11


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_fits_the_training(name):
    config = train_config([f"network={name}"])
    assert isinstance(config, TrainConfig)
    assert config.run_name("simulated").startswith("recurrent_varnet_")


@pytest.mark.parametrize("name", NETWORKS)
def test_no_network_file_restates_a_default(name):
    content = yaml.safe_load((conf_folder() / "network" / f"{name}.yaml").read_text())
    parameters = parameters_of(RECONSTRUCTION_NETWORKS.load(content.pop("name")))
    assert [key for key, value in content.items() if parameters[key].default == value] == []
