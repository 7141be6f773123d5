import numpy as np
import pytest
import torch

from medssm.mri.fourier import as_complex, fft2, ifft2


@pytest.mark.parametrize("size", [(8, 6), (7, 9), (5, 4)])
@pytest.mark.parametrize("centred", [True, False])
def test_the_pair_gives_the_image_back_at_even_and_odd_sizes(size, centred):
    x = torch.randn(2, 3, *size, 2, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(ifft2(fft2(x, centred), centred), x, atol=1e-6)


def test_the_centred_transform_is_numpys_with_its_shifts():
    x = torch.randn(1, 7, 6, 2, generator=torch.Generator().manual_seed(1))
    image = as_complex(x).numpy()
    wanted = np.fft.fftshift(
        np.fft.fft2(np.fft.ifftshift(image, axes=(1, 2)), norm="ortho"), axes=(1, 2)
    )
    assert np.abs(as_complex(fft2(x)).numpy() - wanted).max() < 1e-6


def test_lengths_are_kept_by_the_orthonormal_transform():
    x = torch.randn(3, 9, 5, 2, generator=torch.Generator().manual_seed(2))
    assert fft2(x).square().sum() == pytest.approx(float(x.square().sum()), rel=1e-5)


def test_other_axes_can_be_transformed():
    x = torch.randn(1, 4, 6, 3, 2, generator=torch.Generator().manual_seed(3))
    moved = fft2(x.movedim(3, 1), True, (2, 3)).movedim(1, 3)
    assert torch.allclose(fft2(x, True, (1, 2)), moved, atol=1e-6)
