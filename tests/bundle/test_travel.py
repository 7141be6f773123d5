"""What travels inside a bundle answers as our own preprocessing and our own windows do."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, CropForegroundd, Invertd, Transposed
from nnunetv2.preprocessing.normalization import default_normalization_schemes as schemes
from nnunetv2.preprocessing.resampling.default_resampling import resample_data_or_seg_to_shape
from torch import nn

from medssm.bundle.travel.inferer import EvenWindowsInferer
from medssm.bundle.travel.transforms import (
    NormalizeAsPlannedd,
    PaintRegionsd,
    RegionsOfLabelsd,
    ResampleAsPlannedd,
    resample,
)
from medssm.inference.streaming import Scratch
from medssm.inference.windows import WindowSettings, predict_logits

FACTS = {"mean": 2.0, "std": 3.0, "percentile_00_5": -1.0, "percentile_99_5": 5.0}


def image(*shape, spacing=(1.0, 1.0, 1.0)):
    values = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    return MetaTensor(values, affine=torch.diag(torch.tensor([*spacing, 1.0])))


@pytest.mark.parametrize(
    ("before", "after", "size"),
    [
        ((1.0, 1.0, 1.0), (1.2, 0.9, 1.0), (8, 13, 10)),
        ((5.0, 0.8, 0.8), (5.0, 1.0, 1.0), (10, 10, 8)),
        ((5.0, 0.8, 0.8), (3.0, 1.0, 1.0), (16, 10, 8)),
    ],
)
@pytest.mark.parametrize("order", [1, 3])
def test_resampling_is_that_of_the_planner(before, after, size, order):
    x = image(2, 10, 12, 10).numpy()
    true = resample_data_or_seg_to_shape(
        x, size, before, after, order=order, order_z=0, force_separate_z=None
    )
    np.testing.assert_allclose(resample(x, size, before, after, order), true, atol=1e-5)


@pytest.mark.parametrize(
    ("scheme", "masked"),
    [
        ("ZScoreNormalization", False), ("ZScoreNormalization", True), ("CTNormalization", False),
        ("NoNormalization", False), ("RescaleTo01Normalization", False),
    ],
)  # fmt: skip
def test_normalisation_is_that_of_the_planner(scheme, masked):
    x = image(1, 6, 7, 8).numpy().copy()
    x[:, :2] = 0
    found = NormalizeAsPlannedd("image", [scheme], [masked], [FACTS])({"image": MetaTensor(x)})
    seg = np.where(x == 0, -1, 0)
    true = getattr(schemes, scheme)(masked, FACTS).run(x[0].copy(), seg[0])
    np.testing.assert_allclose(found["image"][0].numpy(), true, atol=1e-5)


def test_predictions_come_back_to_the_grid_of_the_file():
    x = image(1, 12, 10, 8, spacing=(1.0, 1.5, 2.0))
    x[:, :2] = 0
    forward = Compose(
        [
            Transposed("image", [0, 3, 2, 1]),
            CropForegroundd("image", source_key="image", select_fn=lambda v: v != 0),
            ResampleAsPlannedd("image", (1.0, 1.0, 1.0), (2, 1, 0)),
        ]
    )
    case = forward({"image": x})
    assert case["image"].shape == (1, 16, 15, 10)
    case["pred"] = MetaTensor(torch.cat([case["image"], -case["image"]]))
    back = Invertd("pred", forward, orig_keys="image", nearest_interp=False)(case)["pred"]
    assert back.shape == (2, 12, 10, 8)
    assert float(back[:, :2].abs().max()) == 0
    inner = x[0, 3:-1, 1:-1, 1:-1]
    correlation = np.corrcoef(back[0, 3:-1, 1:-1, 1:-1].flatten(), inner.flatten())[0, 1]
    assert correlation > 0.9


@pytest.mark.parametrize("mirror", [(), (0, 2)])
@pytest.mark.parametrize("shape", [(9, 14, 12), (5, 8, 8)])
def test_windows_are_those_of_our_predictor(mirror, shape, tmp_path):
    torch.manual_seed(0)
    network = nn.Conv3d(1, 3, 3, padding=1).eval()
    x = image(1, *shape)
    settings = WindowSettings(size=(6, 8, 8), mirror_axes=mirror)
    with predict_logits(network, x.as_tensor(), settings, Scratch(tmp_path)) as streamed:
        true = np.stack([np.asarray(streamed[index]) for index in range(3)])
    with torch.no_grad():
        found = EvenWindowsInferer((6, 8, 8), mirror_axes=mirror, sw_batch_size=2)(x[None], network)
    assert isinstance(found, MetaTensor)
    np.testing.assert_allclose(found[0].numpy(), true, atol=1e-5)


def test_a_planar_network_slides_over_every_plane():
    network = nn.Conv2d(1, 2, 3, padding=1).eval()
    x = image(1, 3, 9, 9)
    with torch.no_grad():
        found = EvenWindowsInferer((9, 9))(x[None], network)
        true = torch.stack([network(plane[None]) for plane in x[0][:, None]], dim=2)
    torch.testing.assert_close(found[0].as_tensor(), true.squeeze(0).as_tensor())


def test_regions_are_painted_in_their_order_and_taken_apart_again():
    label = torch.tensor([[[0, 1, 2, 2]]])
    masks = RegionsOfLabelsd("label", [(1, 2), (2,)])({"label": label})["label"]
    assert masks.tolist() == [[[0, 1, 1, 1]], [[0, 0, 1, 1]]]
    painted = PaintRegionsd("pred", [1, 2])({"pred": masks - 0.5})["pred"]
    assert painted.tolist() == label.float().tolist()
