import torch
import torch.nn.functional as F

from medssm.layers.mixers.vim_v1 import SharedBidirectionalMamba
from medssm.ops.conv import causal_conv1d
from medssm.ops.scan import selective_scan


def test_equals_a_scan_and_a_scan_of_the_flipped_tokens_with_the_second_decay():
    torch.manual_seed(0)
    mixer = SharedBidirectionalMamba(8, state=4)
    with torch.no_grad():
        mixer.A_b_log += 0.5
    x = torch.randn(2, 13, 8)
    value, gate = mixer.in_proj(x).chunk(2, dim=-1)
    u = causal_conv1d(value, mixer.conv1d.weight.transpose(0, 1), mixer.conv1d.bias[None])
    delta, B, C = mixer.x_proj(u).split((1, 4, 4), dim=-1)
    delta = mixer.dt_proj(delta)

    def scan(A_log, *tokens):
        u, delta, B, C = tokens
        return selective_scan(u, delta, -A_log.exp()[None], B, C, mixer.D[None])

    back = scan(mixer.A_b_log, *(each.flip(2) for each in (u, delta, B, C))).flip(1)
    wanted = mixer.out_proj((scan(mixer.A_log, u, delta, B, C) + back) * F.silu(gate))
    torch.testing.assert_close(mixer(x), wanted, atol=1e-5, rtol=1e-4)


def test_ways_differ_by_their_decay_alone():
    torch.manual_seed(0)
    mixer = SharedBidirectionalMamba(8, state=4)
    with torch.no_grad():
        mixer.conv1d.weight[..., :-1] = 0  # the convolution then sees one token
        mixer.dt_proj.bias += 4  # steps near 1, so that the decay shows
    x = torch.randn(1, 9, 8)
    torch.testing.assert_close(mixer(x.flip(1)).flip(1), mixer(x))
    with torch.no_grad():
        mixer.A_b_log += 1
    assert not torch.allclose(mixer(x.flip(1)).flip(1), mixer(x), atol=1e-4)
