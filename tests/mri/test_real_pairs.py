import pytest
import torch

from medssm.mri.fourier import as_complex, as_real, fft2, ifft2
from medssm.mri.real_pairs import fft2_pairs, times, times_conjugate


@pytest.mark.parametrize("size", [(16, 12), (15, 9), (1, 7), (230, 181)])
@pytest.mark.parametrize("centred", [True, False])
def test_matrices_give_the_fast_transform(size, centred):
    x = torch.randn(2, 3, *size, 2, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(fft2_pairs(x, centred), fft2(x, centred), atol=1e-5)
    assert torch.allclose(fft2_pairs(x, centred, inverse=True), ifft2(x, centred), atol=1e-5)


def test_products_are_those_of_complex_numbers():
    a, b = torch.randn(2, 5, 4, 2, generator=torch.Generator().manual_seed(1))
    z, w = as_complex(a), as_complex(b)
    assert torch.allclose(times(a, b), as_real(z * w), atol=1e-6)
    assert torch.allclose(times_conjugate(a, b), as_real(z * w.conj()), atol=1e-6)
