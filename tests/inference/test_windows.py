from dataclasses import replace

import numpy as np
import pytest
import torch
from monai.inferers import sliding_window_inference
from torch import nn

from medssm.core.errors import BadArgumentError
from medssm.inference.streaming import Scratch
from medssm.inference.windows import (
    WindowSettings,
    importance,
    predict_logits,
    window_starts,
)


class Net(nn.Module):
    """A fixed convolution whose answer depends on where in the window a voxel lies."""

    def __init__(self, spatial_dims=3, channels=2, classes=3):
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        maker = nn.Conv3d if spatial_dims == 3 else nn.Conv2d
        self.conv = maker(channels, classes, 3, padding=1)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))

    def forward(self, x):
        return self.conv(x) + x.mean(dim=tuple(range(1, x.ndim)), keepdim=True)


def image_of(shape, channels=2):
    return torch.randn(channels, *shape, generator=torch.Generator().manual_seed(1))


def run(network, image, settings, tmp_path, **scratch):
    with predict_logits(network, image, settings, Scratch(tmp_path, **scratch)) as logits:
        return torch.from_numpy(np.array(logits))


def stock_logits(network, image, settings, monkeypatch, exact=True):
    """What stock nnU-Net's predictor answers; exact keeps its sums in float32 as ours are."""
    from types import SimpleNamespace

    from nnunetv2.inference import predict_from_raw_data as stock

    if exact:
        original = stock.compute_gaussian
        monkeypatch.setattr(
            stock,
            "compute_gaussian",
            lambda size, **keywords: original(size, **{**keywords, "dtype": torch.float32}),
        )
        monkeypatch.setattr(torch, "half", torch.float32)
    predictor = stock.nnUNetPredictor(
        tile_step_size=settings.step,
        use_mirroring=bool(settings.mirror_axes),
        perform_everything_on_device=False,
        device=torch.device("cpu"),
        allow_tqdm=False,
    )
    predictor.network = network
    predictor.configuration_manager = SimpleNamespace(patch_size=list(settings.size))
    predictor.label_manager = SimpleNamespace(num_segmentation_heads=3)
    predictor.allowed_mirroring_axes = settings.mirror_axes
    return predictor.predict_sliding_window_return_logits(image)


@pytest.mark.parametrize("shape", [(23, 30, 17), (8, 31, 20), (5, 9, 40)])
@pytest.mark.parametrize("mirror_axes", [(), (0, 2)])
def test_logits_equal_those_of_stock_nnunet(shape, mirror_axes, tmp_path, monkeypatch):
    settings = WindowSettings((8, 12, 10), mirror_axes=mirror_axes)
    network, image = Net().eval(), image_of(shape)
    expected = stock_logits(network, image, settings, monkeypatch)
    torch.testing.assert_close(run(network, image, settings, tmp_path), expected, atol=1e-4, rtol=0)


def test_a_planar_network_equals_stock_nnunet_over_a_volume(tmp_path, monkeypatch):
    settings = WindowSettings((12, 10), mirror_axes=(0, 1))
    network, image = Net(spatial_dims=2).eval(), image_of((4, 31, 9))
    expected = stock_logits(network, image, settings, monkeypatch)
    torch.testing.assert_close(run(network, image, settings, tmp_path), expected, atol=1e-4, rtol=0)


def test_plain_convolutional_unet_equals_stock_nnunet(tmp_path, monkeypatch):
    from dynamic_network_architectures.architectures.unet import PlainConvUNet

    torch.manual_seed(0)
    network = PlainConvUNet(
        input_channels=1, n_stages=3, features_per_stage=(4, 8, 8), conv_op=nn.Conv3d,
        kernel_sizes=3, strides=(1, 2, 2), n_conv_per_stage=1, num_classes=3,
        n_conv_per_stage_decoder=1, conv_bias=True, norm_op=nn.InstanceNorm3d,
        norm_op_kwargs={"affine": True}, nonlin=nn.LeakyReLU,
    ).eval()  # fmt: skip
    settings = WindowSettings((16, 16, 16), mirror_axes=(0, 1, 2))
    image = image_of((20, 37, 12), channels=1)
    expected = stock_logits(network, image, settings, monkeypatch)
    torch.testing.assert_close(run(network, image, settings, tmp_path), expected, atol=1e-4, rtol=0)


def test_where_the_grids_coincide_monai_answers_the_same(tmp_path):
    network, image = Net().eval(), image_of((20, 16, 24))
    ours = run(network, image, WindowSettings((8, 8, 8)), tmp_path)
    with torch.inference_mode():
        theirs = sliding_window_inference(
            image[None], (8, 8, 8), 1, network, overlap=0.5, roi_weight_map=importance((8, 8, 8))
        )
    torch.testing.assert_close(ours, theirs[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("batch_size", [2, 5, 64])
def test_batches_of_windows_do_not_change_the_answer(batch_size, tmp_path):
    class Local(Net):
        def forward(self, x):
            return self.conv(x)

    network, image = Local().eval(), image_of((13, 20, 21))
    one = run(network, image, WindowSettings((8, 8, 8)), tmp_path)
    many = run(network, image, WindowSettings((8, 8, 8), batch_size=batch_size), tmp_path)
    torch.testing.assert_close(many, one, atol=1e-5, rtol=0)


def test_a_slab_on_disk_answers_as_one_in_memory(tmp_path):
    network, image = Net().eval(), image_of((23, 12, 11))
    settings = WindowSettings((8, 8, 8))
    memory = run(network, image, settings, tmp_path)
    disk = run(network, image, settings, tmp_path, slab_bytes=0)
    assert torch.equal(memory, disk)


def test_half_precision_storage_stays_near(tmp_path):
    network, image = Net().eval(), image_of((12, 12, 11))
    settings = WindowSettings((8, 8, 8))
    exact = run(network, image, settings, tmp_path)
    half = run(network, image, settings, tmp_path, dtype="float16")
    torch.testing.assert_close(half, exact, atol=1e-2, rtol=1e-3)
    assert not torch.equal(half, exact)


def test_a_temporary_file_leaves_no_name_behind(tmp_path):
    run(Net().eval(), image_of((9, 9, 9)), WindowSettings((8, 8, 8)), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_progress_counts_every_window_once(tmp_path):
    seen = []
    settings = WindowSettings((8, 8, 8), batch_size=4)
    image = image_of((12, 16, 8))
    scratch = Scratch(tmp_path)
    predict_logits(Net().eval(), image, settings, scratch, lambda *at: seen.append(at)).close()
    assert seen == [(4, 6), (6, 6)]


def test_windows_spread_evenly_from_edge_to_edge():
    assert window_starts((110,), (64,), 0.5) == [[0, 23, 46]]
    assert window_starts((64,), (64,), 0.5) == [[0]]
    assert window_starts((5,), (1,), 0.5) == [[0, 1, 2, 3, 4]]


def test_importance_is_highest_in_the_middle_and_never_zero():
    weights = importance((40, 57))
    assert weights[20, 28] == weights.max() == 1
    assert weights.min() > 0


@pytest.mark.parametrize(
    "wrong", [{"step": 0.0}, {"step": 1.5}, {"batch_size": 0}, {"mirror_axes": (3,)}]
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(BadArgumentError):
        WindowSettings((8, 8, 8), **wrong)


def test_a_window_that_cannot_fit_the_image_is_refused(tmp_path):
    with pytest.raises(BadArgumentError, match="cannot slide"):
        run(Net(), image_of((8, 8)), WindowSettings((8, 8, 8)), tmp_path)


def test_sums_in_float16_are_those_of_stock_nnunet(tmp_path, monkeypatch):
    network, image = Net().eval(), image_of((23, 30, 17))
    settings = WindowSettings((8, 12, 10), mirror_axes=(0, 2), sums="float16")
    ours = run(network, image, settings, tmp_path)
    mapped = run(network, image, settings, tmp_path, slab_bytes=1)
    assert torch.equal(ours, mapped)
    stock = stock_logits(network, image, settings, monkeypatch, exact=False)
    assert stock.dtype == torch.float16
    assert (ours == stock.float()).float().mean() > 0.99
    torch.testing.assert_close(ours, stock.float(), atol=4e-3, rtol=2e-3)
    exact = run(network, image, replace(settings, sums="float32"), tmp_path)
    assert (exact == stock.float()).float().mean() < 0.5
