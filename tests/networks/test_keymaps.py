import json
from pathlib import Path

import pytest
import torch

from medssm.core.errors import BadDataError, UsageError
from medssm.networks import TABLES
from medssm.networks.keymaps import KEYMAPS, load_official, to_official
from medssm.networks.keymaps.rules import Rule
from medssm.networks.lightm_unet import LightMUNet

SMALL = {"init_filters": 8, "blocks_down": [1, 2, 1], "blocks_up": [2, 1], "in_channels": 2}


def official(**options: object) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return to_official("lightm_unet", LightMUNet(**{**SMALL, **options}))


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("convolutions", ["separable", "full"])
@pytest.mark.parametrize("mixer", ["mamba", "bidirectional"])
def test_there_and_back_is_the_identity(spatial_dims: int, convolutions: str, mixer: str) -> None:
    state = official(
        spatial_dims=spatial_dims,
        convolutions=convolutions,
        mixer={"name": mixer, "state": 4, "conv_width": 3, "expand": 1},
    )
    network, report = load_official("lightm_unet", state)
    assert len(report.fitted) == len(state)
    back = to_official("lightm_unet", network)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[key], state[key]) for key in state)


def test_what_we_write_has_exactly_the_official_keys_and_shapes() -> None:
    for file in sorted(
        (Path(__file__).parents[1] / "goldens/segmodels").glob("lightm_[23]d*.json")
    ):
        case = json.loads(file.read_text())
        arguments = case["constructor"]
        ours = to_official("lightm_unet", LightMUNet(**arguments))
        assert {key: list(each.shape) for key, each in ours.items()} == dict(case["state_dict"])


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"network_weights": state, "current_epoch": 3},
        lambda state: {"state_dict": {f"module.{key}": each for key, each in state.items()}},
        lambda state: {"model": {f"_orig_mod.module.{key}": each for key, each in state.items()}},
    ],
)
def test_wrappers_and_prefixes_come_off(wrap) -> None:
    _, report = load_official("lightm_unet", wrap(official()))
    assert report.missing == []


def test_a_file_is_read_and_counters_are_ignored_with_a_reason(tmp_path: Path) -> None:
    state = official() | {"total_ops": torch.zeros(1), "convInit.total_params": torch.zeros(1)}
    torch.save({"network_weights": state}, tmp_path / "model.pth")
    _, report = load_official("lightm_unet", tmp_path / "model.pth")
    assert set(report.ignored) == {"total_ops", "convInit.total_params"}
    assert "counter" in report.ignored["total_ops"]


def test_a_missing_a_left_over_and_a_misshapen_key_are_loud() -> None:
    state = official()
    without = {key: each for key, each in state.items() if key != "conv_final.0.bias"}
    with pytest.raises(BadDataError, match=r"1 missing: head\.norm\.bias"):
        load_official("lightm_unet", without)
    with pytest.raises(BadDataError, match="1 left over: seg_head"):
        load_official("lightm_unet", state | {"seg_head": torch.zeros(1)})
    bent = state | {"conv_final.0.bias": torch.zeros(3)}
    with pytest.raises(BadDataError, match="of another shape: conv_final"):
        load_official("lightm_unet", bent)
    _, report = load_official("lightm_unet", without, allow_partial=True)
    assert report.missing == ["head.norm.bias"]


def test_what_is_no_checkpoint_is_refused_by_name(tmp_path: Path) -> None:
    bad = tmp_path / "model.pth"
    bad.write_bytes(b"no zip at all")
    with pytest.raises(BadDataError, match=r"model\.pth"):
        load_official("lightm_unet", bad)
    torch.save({"network_weights": Rule("a", "b")}, bad)
    with pytest.raises(BadDataError, match="Python objects is refused") as told:
        load_official("lightm_unet", bad)
    assert "can still be loaded" not in str(told.value)
    with pytest.raises(BadDataError, match="no such file"):
        load_official("lightm_unet", tmp_path / "absent.pth")
    with pytest.raises(BadDataError, match="no LightM-UNet weights"):
        load_official("lightm_unet", {"layer.weight": torch.zeros(2)})
    with pytest.raises(UsageError, match="did you mean 'lightm_unet'"):
        load_official("lightmunet", {})


def test_every_key_map_has_its_network() -> None:
    assert set(KEYMAPS) <= {name for table in TABLES.values() for name in table}


def test_a_rule_counts_from_another_number() -> None:
    rule = Rule("down.{i}.{j}.{tail}", "level.{i-1}.{j+2}.{tail}")
    assert rule.forward("down.3.0.norm.weight") == "level.2.2.norm.weight"
    assert rule.back("level.2.2.norm.weight") == "down.3.0.norm.weight"
    assert rule.forward("up.3.0.norm") is None
