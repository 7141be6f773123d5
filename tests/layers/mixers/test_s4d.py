import math

import pytest
import torch
import torch.nn.functional as F

from medssm.layers.mixers.s4d import S4D, DiagonalModes
from medssm.ops.s4d.reference import s4d_recurrence


@pytest.mark.parametrize("directions", ["one", "both"])
def test_equals_the_recurrence(directions):
    torch.manual_seed(0)
    mixer = S4D(4, state=6, directions=directions)
    x = torch.randn(2, 3, 5, 4)
    log_step, A, C, back = mixer.kernel.modes()
    assert (back is None) == mixer.causal
    y = s4d_recurrence(x.flatten(1, -2), log_step, A, C, mixer.D, C_back=back)
    wanted = F.glu(mixer.out_proj(F.gelu(y))).view_as(x)
    torch.testing.assert_close(mixer(x), wanted, atol=1e-5, rtol=1e-4)


def test_starts_as_published():
    torch.manual_seed(0)
    log_step, A, _, _ = DiagonalModes(64, 8, both_ways=False).modes()
    assert A.shape == (64, 4)
    torch.testing.assert_close(A[5].real, torch.full((4,), -0.5))
    torch.testing.assert_close(A[5].imag, math.pi * torch.arange(4.0))
    assert 1e-3 <= log_step.exp().min() < 3e-3 < 3e-2 < log_step.exp().max() <= 1e-1
