"""The recipe for a mixer, followed as it is written: one file, one row, one YAML."""

import re
import shutil
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

import medssm.layers.mixers as package
from medssm.core.resources import conf_folder
from medssm.layers.mixers import MIXERS
from medssm.networks import NETWORKS
from medssm.runs.compose import compose

PAGE = (Path(__file__).parents[2] / "docs" / "add-a-mixer.md").read_text(encoding="utf-8")
FACTS = {"spatial_dims": 2, "num_channels": 1, "num_outputs": 2}


def block_after(words):
    """The first fenced block behind some words of the page."""
    return re.search(r"```\w+\n(.*?)```", PAGE.split(words, 1)[1], re.DOTALL).group(1)


@pytest.fixture
def followed(tmp_path, monkeypatch):
    """The three additions, made beside the checkout."""
    (tmp_path / "leaky.py").write_text(block_after("`medssm/layers/mixers/leaky.py`"))
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    name, place = re.findall(r'"(.*?)"', block_after("`medssm/layers/mixers/__init__.py`"))
    monkeypatch.setitem(MIXERS.rows, name, place)
    monkeypatch.delitem(MIXERS.__dict__, "_all", raising=False)
    conf = shutil.copytree(conf_folder(), tmp_path / "conf")
    (conf / "mixer" / "leaky.yaml").write_text(block_after("`conf/mixer/leaky.yaml`"))
    monkeypatch.setattr("medssm.runs.compose.conf_folder", lambda: conf)
    yield name
    MIXERS.__dict__.pop("_all", None)


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_the_recipe_gives_a_network_that_learns(followed, spatial_dims):
    words = [
        "network=lightm_unet",
        f"mixer@network.mixer={followed}",
        "network.init_filters=8",
        "network.blocks_down=[1,1]",
        "network.blocks_up=[1]",
    ]
    chosen = compose("segmentation", words, {**FACTS, "spatial_dims": spatial_dims})["network"]
    assert chosen["mixer"] == {"name": followed, "memory": 30.0}
    torch.manual_seed(0)
    network = NETWORKS.build(**chosen)
    x = torch.randn(2, 1, *(8,) * spatial_dims)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    losses = []
    for _ in range(3):
        losses.append(F.cross_entropy(network(x), (x[:, 0] > 0).long()))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[0] > losses[1] > losses[2]


def test_the_mixer_of_the_recipe_keeps_the_contract(followed):
    torch.manual_seed(0)
    mixer = MIXERS.build(name=followed, channels=4)
    x = torch.randn(2, 3, 5, 4)
    y = mixer(x)
    assert y.shape == x.shape
    y.square().mean().backward()
    assert all(each.grad.abs().sum() > 0 for each in mixer.parameters())
    torch.testing.assert_close(torch.cat([mixer(each[None]) for each in x]), y)
