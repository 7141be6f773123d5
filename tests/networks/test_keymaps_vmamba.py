"""VM-UNet, MHS-VM, MSVM-UNet and VMamba's classifiers: there and back, and what is refused."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from medssm.core.errors import BadDataError
from medssm.networks import NETWORKS
from medssm.networks.keymaps import load_official, to_official

CASES = Path(__file__).parents[1] / "goldens/segmodels"
GOLDENS = {"vmunet": "vm_unet", "mhsvm": "mhs_vm", "msvm_tiny": "msvm_unet"}
OTHER_SIZES: list[tuple[str, dict[str, Any]]] = [
    ("vm_unet", {"width": 16, "depths": [1, 2, 1], "decoder_depths": [2, 1, 1]}),
    ("vm_unet", {"width": 8, "depths": [1, 1], "decoder_depths": [1, 1], "patch": 2,
                 "in_channels": 5, "out_channels": 1, "output": "probabilities"}),
    ("vm_unet", {"width": 8, "depths": [1, 1], "decoder_depths": [1, 1],
                 "mixer": {"name": "cross_scan", "state": 3, "expand": 1.5, "dt_rank": 4,
                           "conv_bias": False, "conv_width": 5, "bias": True}}),
    ("vm_unet", {"spatial_dims": 3, "width": 8, "depths": [1, 1], "decoder_depths": [1, 1]}),
    ("mhs_vm", {"width": 20, "depths": [1, 1, 2], "decoder_depths": [1, 2, 1],
                "mixer": {"name": "multi_head_scan", "heads": 3, "state": 5}}),
    ("mhs_vm", {"width": 16, "depths": [1, 1], "decoder_depths": [1, 1], "out_channels": 3,
                "mixer": {"name": "multi_head_scan", "projection": False, "dt_rank": 2}}),
    ("msvm_unet", {"width": 8, "depths": [1, 2, 1], "decoder_depths": [2, 1], "ratio": 2.0}),
    ("msvm_unet", {"width": 8, "depths": [1, 1], "decoder_depths": [1], "kernels": [1, 3],
                   "mixer": {"name": "cross_scan", "state": 2, "expand": 2.0, "gate": "none"},
                   "decoder_mixer": {"name": "cross_scan", "gate": "none", "state": 1}}),
]  # fmt: skip


def build(name: str, **arguments: Any) -> torch.nn.Module:
    torch.manual_seed(0)
    return NETWORKS.build(**{"name": name, **arguments})


@pytest.mark.parametrize(("name", "arguments"), OTHER_SIZES)
def test_any_size_is_read_off_the_tensors_and_comes_back_the_same(
    name: str, arguments: dict[str, Any]
) -> None:
    source = build(name, **arguments).eval()
    state = to_official(name, source)
    network, report = load_official(name, state)
    assert report.missing == report.left_over == []
    back = to_official(name, network)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[key], state[key]) for key in state)
    dims, channels = arguments.get("spatial_dims", 2), arguments.get("in_channels", 3)
    x = torch.randn(1, channels, *network.divisors)
    assert len(network.divisors) == dims
    with torch.no_grad():
        assert torch.equal(network(x), source(x))


@pytest.mark.parametrize("start", GOLDENS)
def test_what_we_write_has_exactly_the_official_keys_and_shapes(start: str) -> None:
    for file in sorted(CASES.glob(f"{start}_*.json")):
        case = json.loads(file.read_text())
        wanted = {key: tuple(shape) for key, shape in case["state_dict"]}
        state = {key: torch.zeros(shape) for key, shape in wanted.items()}
        network, _ = load_official(GOLDENS[start], state)
        ours = to_official(GOLDENS[start], network)
        assert {key: tuple(each.shape) for key, each in ours.items()} == wanted
        assert sum(each.numel() for each in network.parameters()) == case["parameters"]


def small(name: str) -> dict[str, Tensor]:
    sizes = {"width": 8, "depths": [1, 1], "decoder_depths": [1, 1]}
    if name == "msvm_unet":
        sizes["decoder_depths"] = [1]
    return to_official(name, build(name, **sizes))


@pytest.mark.parametrize("name", ["vm_unet", "mhs_vm", "msvm_unet"])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"state_dict": {f"_model.{key}": each for key, each in state.items()}},
        lambda state: {"model": {f"module.{key}": each for key, each in state.items()}, "epoch": 3},
        lambda state: {"network_weights": state},
    ],
)
def test_wrappers_come_off(name: str, wrap: Any) -> None:
    _, report = load_official(name, wrap(small(name)))
    assert report.problems() == []


@pytest.mark.parametrize("name", ["vm_unet", "mhs_vm"])
def test_the_counters_of_a_profiler_are_ignored(name: str) -> None:
    state = {f"_model.{key}": each for key, each in small(name).items()}
    state["total_ops"] = state["_model.vmunet.total_params"] = torch.zeros(1)
    _, report = load_official(name, {"state_dict": state})
    assert sorted(key for key in report.ignored if "total" in key) == [
        "total_ops",
        "vmunet.total_params",
    ]


@pytest.mark.parametrize("name", ["vm_unet", "mhs_vm", "msvm_unet"])
def test_a_missing_and_a_foreign_key_are_loud(name: str) -> None:
    state = small(name)
    last = [key for key in state if key.endswith("norm.weight")][-1]
    with pytest.raises(BadDataError, match="1 missing"):
        load_official(name, {key: each for key, each in state.items() if key != last})
    with pytest.raises(BadDataError, match=r"1 left over: vmunet\.extra"):
        load_official(name, state | {"vmunet.extra": torch.zeros(1)})
    with pytest.raises(BadDataError, match="these are no"):
        load_official(name, {"layer.weight": torch.zeros(2)})


@pytest.mark.parametrize("name", ["vm_unet", "mhs_vm", "msvm_unet"])
def test_weights_too_few_to_tell_the_architecture_are_refused_by_the_key(name: str) -> None:
    state = {key: each for key, each in small(name).items() if not key.endswith("A_logs")}
    with pytest.raises(BadDataError, match=r"no whole .* weights: .*A_logs"):
        load_official(name, state)


def test_the_later_name_of_a_shared_tensor_counts_and_a_difference_is_told() -> None:
    state = small("mhs_vm")
    first = "vmunet.layers.0.blocks.0.self_attention.mhs."
    second, name = f"{first}x_ssproj_W", f"{first}x_ssproj.weight"
    network, report = load_official("mhs_vm", state)
    assert report.ignored[second] == "a second name of a shared tensor"
    changed = state | {second: state[second] + 1}
    network, report = load_official("mhs_vm", changed)
    assert "these differ" in report.ignored[second]
    assert torch.equal(network.encoder[0].blocks[0].mixer.heads.in_proj.weight, state[name])


def test_one_name_of_a_shared_tensor_is_enough() -> None:
    state = small("mhs_vm")
    for pattern in (r"\.mambaeng\.|x_ssproj_W", r"\.scanning\.|x_ssproj\.weight"):
        half = {key: each for key, each in state.items() if not re.search(pattern, key)}
        network, _ = load_official("mhs_vm", half)
        back = to_official("mhs_vm", network)
        assert all(torch.equal(back[key], state[key]) for key in state)


def test_a_hint_says_what_leaves_no_trace_and_keeps_the_rest() -> None:
    network, _ = load_official("mhs_vm", small("mhs_vm"), mixer={"threshold": 0.4})
    heads = network.encoder[0].blocks[0].mixer.heads
    assert heads.threshold == 0.4
    assert len(heads.scans) == 4


def early(depths: list[int]) -> dict[str, Tensor]:
    network = build("vm_unet", width=8, depths=depths)
    official = to_official("vm_unet", network)
    encoder = ("vmunet.layers.", "vmunet.patch_embed.")
    state = {k.removeprefix("vmunet."): v for k, v in official.items() if k.startswith(encoder)}
    classifier = {"norm.weight": 64, "norm.bias": 64, "head.weight": 10, "head.bias": 10}
    return state | {key: torch.zeros(size) for key, size in classifier.items()}


def present(state: dict[str, Tensor]) -> dict[str, Tensor]:
    renamed = {}
    for key, tensor in state.items():
        name = re.sub(r"^(norm|head)\.", r"classifier.\1.", key)
        name = name.replace("patch_embed.proj", "patch_embed.0")
        name = name.replace("patch_embed.norm", "patch_embed.2")
        name = re.sub(r"(blocks\.\d+)\.ln_1\.", r"\1.norm.", name)
        renamed[re.sub(r"(blocks\.\d+)\.self_attention\.", r"\1.op.", name)] = tensor
    return renamed


@pytest.mark.parametrize("layout", [lambda state: state, present])
def test_a_vmamba_of_the_first_form_fills_the_encoder_and_mirrors_its_blocks(layout) -> None:
    state = layout(early([2, 2, 5, 2]))
    network, report = load_official("vm_unet", {"model": state}, out_channels=4)
    assert len(report.fitted) == 117
    assert len(report.copied) == 91
    deeper = [key for key in report.ignored if key.startswith("layers.2.blocks.")]
    assert len(deeper) == 3 * 13
    assert "fewer blocks" in report.ignored[deeper[0]]
    assert "classifier" in report.ignored[next(key for key in state if "head.weight" in key)]
    assert all(name.startswith(("decoder.", "head.")) for name in report.fresh)
    ours = network.state_dict()
    first, opposite = "encoder.0.blocks.0.norm.weight", "decoder.3.blocks.0.norm.weight"
    assert torch.equal(ours[first], ours[opposite])


def later() -> dict[str, Tensor]:
    official = to_official(
        "msvm_unet", build("msvm_unet", width=8, depths=[1, 1, 2, 1], decoder_depths=[1, 1, 1])
    )
    names = {"layer0.0": "patch_embed.0", "layer0.2": "patch_embed.2",
             "layer1.0": "patch_embed.5", "layer1.2": "patch_embed.7"}  # fmt: skip
    state = {}
    for key, tensor in official.items():
        if key.startswith("encoder."):
            name = re.sub(r"downsamples\.(\d)", r"layers.\1.downsample", key[8:])
            start = name[: len("layer0.0")]
            state[name.replace(start, names[start], 1) if start in names else name] = tensor
    return state | {"classifier.head.weight": torch.zeros(10)}


def test_a_later_vmamba_fills_the_encoder_of_msvm_unet() -> None:
    state = later()
    network, report = load_official(
        "msvm_unet", {"model": state}, out_channels=9, decoder_depths=[1, 1, 1]
    )
    assert len(report.fitted) == len(state) - 1
    assert report.copied == {}
    assert all(name.startswith(("decoder.", "head.")) for name in report.fresh)
    stem = network.encoder.stem.conv1.conv.weight
    assert torch.equal(stem, state["patch_embed.0.weight"])


def test_a_classifier_of_the_wrong_time_is_sent_to_the_right_network() -> None:
    with pytest.raises(BadDataError, match="they fit msvm_unet"):
        load_official("vm_unet", later())
    with pytest.raises(BadDataError, match="they fit vm_unet"):
        load_official("msvm_unet", early([1, 1, 1, 1]))


def test_a_classifier_is_no_silent_half_of_another_network() -> None:
    with pytest.raises(BadDataError, match="of another shape"):
        load_official("vm_unet", early([2, 2, 2, 2]), width=16)
    with pytest.raises(BadDataError, match="missing: encoder"):
        load_official("vm_unet", early([1, 1, 1, 1]))
