import torch
import torch.nn.functional as F

from medssm.layers.mixers.efficientvim import HiddenStateMixer


def tiny():
    torch.manual_seed(0)
    mixer = HiddenStateMixer(8, 2, state=5)
    with torch.no_grad():
        mixer.conv.conv.weight.zero_()
        mixer.conv.conv.weight[:, :, 1, 1] = 1
    return mixer


def test_equals_its_equation_state_by_state():
    mixer = tiny()
    x = torch.randn(1, 3, 4, 8)
    tokens = x.view(12, 8)
    B, C, dt = mixer.in_proj(tokens).chunk(3, dim=-1)
    states = []
    for n in range(5):
        share = (dt[:, n] + 7.0).softmax(0)  # a constant of a state is not seen
        h = sum(share[t] * B[t, n] * tokens[t] for t in range(12))
        value, gate = mixer.mix_proj(h).chunk(2)
        states.append(mixer.out_proj(value * F.silu(gate) + value * mixer.D))
    wanted = (C @ torch.stack(states)).view_as(x)
    torch.testing.assert_close(mixer(x), wanted, atol=1e-6, rtol=1e-4)


def test_the_order_of_tokens_does_not_matter_but_for_the_convolution():
    mixer = tiny()
    x = torch.randn(1, 12, 8)
    order = torch.randperm(12)
    moved = mixer(x[:, order].view(1, 2, 6, 8)).view(1, 12, 8)
    torch.testing.assert_close(moved, mixer(x.view(1, 3, 4, 8)).view(1, 12, 8)[:, order])
