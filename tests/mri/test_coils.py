import pytest
import torch

from medssm.mri.coils import combine, estimate_maps, expand, normalise_maps, rss
from medssm.mri.fourier import as_complex, fft2


def _random(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def test_combining_is_the_adjoint_of_expanding():
    maps, image, coils = _random(1, 4, 6, 5, 2), _random(1, 6, 5, 2), _random(1, 4, 6, 5, 2)
    left = (as_complex(expand(image, maps)).conj() * as_complex(coils)).sum()
    right = (as_complex(image).conj() * as_complex(combine(coils, maps))).sum()
    assert torch.allclose(left, right, atol=1e-4)


def test_maps_have_unit_sum_of_squares_and_zeros_stay():
    maps = _random(2, 3, 4, 4, 2)
    maps[:, :, 0, 0] = 0
    found = normalise_maps(maps)
    length = rss(found)
    assert float(length[0, 0, 0]) == 0
    assert length[:, 1:].allclose(torch.ones(()), atol=1e-5)
    assert torch.isfinite(found).all()


@pytest.mark.parametrize("sigma", [0.7, None])
def test_smooth_maps_come_back_from_the_centre(sigma):
    size = 32
    rows, columns = torch.meshgrid(*[torch.linspace(-1, 1, size)] * 2, indexing="ij")
    strengths = torch.stack([torch.exp(-((rows - a) ** 2 + (columns - b) ** 2) / 4)
                             for a, b in ((-1, 0), (1, 0), (0, 1))])  # fmt: skip
    maps = normalise_maps(torch.stack((strengths, torch.zeros_like(strengths)), -1)[None])
    image = torch.exp(-(rows**2 + columns**2))[None, :, :, None] * torch.tensor([1.0, 0.0])
    kspace = fft2(expand(image, maps))
    acs = torch.zeros(1, 1, size, size, 1, dtype=torch.bool)
    acs[:, :, 8:24, 8:24] = True
    found = estimate_maps(kspace, acs, sigma=sigma)
    inside = (rows**2 + columns**2 < 0.5)[None, None, :, :, None]
    assert float(((found - maps).abs() * inside).max()) < 0.05
