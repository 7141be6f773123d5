"""Every network file of the field composes, fits the typed configuration and builds."""

import pytest

from medssm.core.resources import conf_folder
from medssm.fields.ecg.story import train_config
from medssm.networks import ECG_NETWORKS

FACTS = {"num_leads": 12, "num_classes": 5, "length": 200}
FILES = sorted(
    file.stem
    for file in (conf_folder() / "network").glob("*.yaml")
    if any(f"name: {name}\n" in file.read_text() for name in ECG_NETWORKS)
)


def test_all_four_are_there() -> None:
    assert set(FILES) >= {"ecg_vim_base", "ecg_vim_tiny", "ecg_cnn", "xresnet1d101"}


@pytest.mark.parametrize("name", FILES)
def test_a_file_gives_a_network_of_the_plan(name: str) -> None:
    config = train_config((f"network={name}",), FACTS)
    assert config.run_name == name
    network = ECG_NETWORKS.build(**config.network)
    head = [each for each in network.modules() if hasattr(each, "out_features")][-1]
    assert head.out_features == 5
