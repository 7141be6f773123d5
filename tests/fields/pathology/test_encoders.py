"""Encoders: built as published, weights only from a file that fits, random ones from a seed."""

import pytest
import torch

from medssm.core.errors import BadDataError, UsageError
from medssm.fields.pathology.encoders import ENCODERS, EncoderConfig, build_encoder
from tests.support.slides import need_pathology

need_pathology()
TILES = torch.randint(
    0, 255, (3, 40, 40, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
)
SMALL = {"name": "resnet10t", "input_px": 32}


def test_resnet50_trunc_has_the_parameters_and_the_width_of_clam():
    encoder = build_encoder(EncoderConfig(weights="random", input_px=32))
    assert sum(p.numel() for p in encoder.parameters()) == 8_543_296
    assert encoder(TILES).shape == (3, 1024)


def test_weights_of_a_seed_are_the_same_again_and_leave_the_generator_alone():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    one, same, other = (
        build_encoder(EncoderConfig(weights="random", seed=seed, **SMALL))(TILES)
        for seed in (0, 0, 1)
    )
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(one, same)
    assert not torch.allclose(one, other)


def test_a_tile_is_encoded_alike_alone_and_in_a_batch():
    encoder = build_encoder(EncoderConfig(weights="random", **SMALL))
    together = encoder(TILES)
    alone = torch.cat([encoder(TILES[i : i + 1]) for i in range(3)])
    assert torch.allclose(together, alone, atol=1e-5)
    assert together.dtype == torch.float32


def test_pixels_are_scaled_by_mean_and_std():
    class Eye(torch.nn.Module):
        def forward(self, x):
            return x.mean(dim=(2, 3))

    encoder = build_encoder(
        EncoderConfig(weights="random", mean=(0.5, 0.5, 0.5), std=(0.25, 0.5, 1.0), **SMALL)
    )
    encoder.body = Eye()
    grey = torch.full((1, 32, 32, 3), 51, dtype=torch.uint8)
    assert encoder(grey)[0].tolist() == pytest.approx([-1.2, -0.6, -0.3], abs=1e-6)


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_a_checkpoint_is_loaded_through_its_wrapper_and_named_by_its_hash(tmp_path, ending):
    source = build_encoder(EncoderConfig(weights="random", seed=3, **SMALL))
    state = source.body.state_dict() | {"fc.weight": torch.zeros(2, 2)}
    file = tmp_path / f"w.{ending}"
    if ending == "pth":
        torch.save({"state_dict": {f"module.{key}": value for key, value in state.items()}}, file)
    else:
        from safetensors.torch import save_file

        save_file(state, file)
    loaded = build_encoder(EncoderConfig(weights=str(file), **SMALL))
    assert torch.equal(loaded(TILES), source(TILES))
    assert len(loaded.facts["encoder_sha256"]) == 64


def test_a_checkpoint_that_does_not_fit_is_named_with_what_is_missing(tmp_path):
    state = build_encoder(EncoderConfig(weights="random", **SMALL)).body.state_dict()
    state["strange"] = state.pop("conv1.0.weight")
    state["conv1.3.weight"] = torch.zeros(1)
    torch.save(state, tmp_path / "w.pth")
    words = r"1 missing .conv1.0.weight.; 1 unknown .strange.; 1 of other size .conv1.3.weight."
    with pytest.raises(BadDataError, match=f"w.pth: does not fit the encoder 'resnet10t': {words}"):
        build_encoder(EncoderConfig(weights=str(tmp_path / "w.pth"), **SMALL))


def test_nothing_is_downloaded_and_no_name_is_guessed(tmp_path):
    with pytest.raises(
        UsageError, match=r"nothing is downloaded.*preprocess.encoder.weights=FILE.*=random"
    ):
        build_encoder(EncoderConfig())
    with pytest.raises(UsageError, match="did you mean 'resnet50_trunc'"):
        build_encoder(EncoderConfig("resnet50_trunk", "random"))
    with pytest.raises(UsageError, match="cannot be built with"):
        build_encoder(EncoderConfig("resnet10t", "random", {"no_such": 1}))
    with pytest.raises(BadDataError, match="no such file"):
        build_encoder(EncoderConfig("resnet10t", str(tmp_path / "gone.pth")))


def test_every_row_is_a_recipe():
    for name in ENCODERS:
        assert ENCODERS.build(name).architecture
