"""Structural similarity over a uniform window: one map that losses and measures share."""

import torch.nn.functional as F
from torch import Tensor

WINDOW = 7
K1, K2 = 0.01, 0.03


def ssim_map(first: Tensor, second: Tensor, data_range: Tensor | float) -> Tensor:
    """Similarity in every window that lies inside the images.

    Covariances are of samples (49 / 48), constants (0.01 L)^2 and (0.03 L)^2 with the data
    range L.

    Args:
        first: Images.
        second: Images.
        data_range: One number, or one an image.

    Shape:
        first, second: (N, H, W), data_range: () or (N,); result (N, H - 6, W - 6).

    Source:
        Wang et al., "Image quality assessment", 2004; RECON section 5.
    """
    scale = _window_mean(first.new_ones(1, WINDOW, WINDOW)) * (WINDOW**2 / (WINDOW**2 - 1))
    if not isinstance(data_range, float | int):
        data_range = data_range.reshape(-1, 1, 1)
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    mean_a, mean_b = _window_mean(first), _window_mean(second)
    var_a = scale * (_window_mean(first * first) - mean_a * mean_a)
    var_b = scale * (_window_mean(second * second) - mean_b * mean_b)
    both = scale * (_window_mean(first * second) - mean_a * mean_b)
    numerator = (2 * mean_a * mean_b + c1) * (2 * both + c2)
    return numerator / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))


def _window_mean(x: Tensor) -> Tensor:
    return F.avg_pool2d(x.unsqueeze(1), WINDOW, stride=1).squeeze(1)
