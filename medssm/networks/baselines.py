"""Networks of other houses under our signature: MONAI's U-Net."""

from collections.abc import Sequence
from typing import Literal

from monai.networks.nets import UNet
from torch import Tensor, nn

from medssm.core.errors import BadArgumentError
from medssm.networks.sizes import check_sizes


class MonaiUNet(nn.Module):
    """MONAI's residual U-Net.

    Args:
        spatial_dims: 2 or 3.
        in_channels: Channels of the image.
        out_channels: Logits.
        channels: Width of each level, finest first.
        strides: Steps between levels; one fewer than `channels`.
        residual_units: Residual units a level.
        norm: Name of MONAI's norm.
        dropout: Dropout rate.

    Shape:
        x: (B, C, *S), result (B, K, *S).

    Raises:
        BadArgumentError: `strides` and `channels` do not go together.

    Source:
        Project-MONAI/MONAI, ``monai.networks.nets.UNet``.
    """

    def __init__(
        self,
        spatial_dims: int = 3,
        in_channels: int = 1,
        out_channels: int = 2,
        channels: Sequence[int] = (16, 32, 64, 128),
        strides: Sequence[int] = (2, 2, 2),
        residual_units: int = 2,
        norm: Literal["INSTANCE", "BATCH"] = "INSTANCE",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if len(strides) != len(channels) - 1:
            raise BadArgumentError(
                f"strides needs one entry fewer than channels; "
                f"found {list(strides)} for {list(channels)}"
            )
        self.net = UNet(
            spatial_dims=spatial_dims,
            in_channels=in_channels,
            out_channels=out_channels,
            channels=tuple(channels),
            strides=tuple(strides),
            num_res_units=residual_units,
            norm=norm,
            dropout=dropout,
        )
        multiple = 1
        for stride in strides:
            multiple *= stride
        self.divisors = (multiple,) * spatial_dims

    def forward(self, x: Tensor) -> Tensor:
        """Segment."""
        return self.net(check_sizes(x, self.divisors))
