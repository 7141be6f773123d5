import pytest
import torch
import torch.nn.functional as F

from medssm.core.errors import BadArgumentError
from medssm.layers.mixers.vssd import NonCausalSSD


def without_convolution(mixer):
    with torch.no_grad():
        mixer.conv.conv.weight.zero_()
        mixer.conv.conv.weight[:, :, 1, 1] = 1
    return mixer


@pytest.mark.parametrize("merge", ["sum", "mean"])
@pytest.mark.parametrize("sign", ["positive", "negative"])
def test_equals_its_equation_token_by_token(merge, sign):
    torch.manual_seed(0)
    mixer = without_convolution(NonCausalSSD(8, 2, 3, head_size=4, merge=merge, sign=sign))
    x = torch.randn(1, 3, 4, 8)
    z, mixed, dt = mixer.in_proj(x).flatten(1, -2)[0].split((16, 22, 4), dim=-1)
    v, B, C = F.silu(mixed + mixer.conv.conv.bias).split((16, 3, 3), dim=-1)
    heads = v.view(12, 4, 4)
    w = F.softplus(dt + mixer.dt_bias) * -mixer.A_log.exp() * (-1 if sign == "positive" else 1)
    y = torch.empty(12, 4, 4)
    for head in range(4):
        state = sum(w[t, head] * torch.outer(B[t], heads[t, head]) for t in range(12))
        state = state / 12 if merge == "mean" else state
        for t in range(12):
            y[t, head] = C[t] @ state + mixer.D[head] * heads[t, head]
    wanted = mixer.out_proj(mixer.norm(y.view(12, 16)) * z).view_as(x)
    torch.testing.assert_close(mixer(x), wanted, atol=1e-5, rtol=1e-4)


def test_the_order_of_tokens_does_not_matter_but_for_the_convolution():
    torch.manual_seed(0)
    mixer = without_convolution(NonCausalSSD(8, 2, state=4))
    x = torch.randn(1, 3, 4, 8)
    order = torch.randperm(12)
    mixed = mixer(x).view(1, 12, 8)[:, order]
    torch.testing.assert_close(mixer(x.view(1, 12, 8)[:, order].view_as(x)).view(1, 12, 8), mixed)


def test_heads_that_do_not_divide_are_refused():
    with pytest.raises(BadArgumentError, match=r"inner width 20 .* 6 heads"):
        NonCausalSSD(10, 2, head_size=3)
