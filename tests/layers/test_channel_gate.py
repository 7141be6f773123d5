import torch

from medssm.layers.channel_gate import ChannelGate


def test_one_gate_a_sample_and_channel_from_the_mean_alone():
    torch.manual_seed(0)
    gate = ChannelGate(16, 2)
    x = torch.randn(3, 4, 5, 16)
    made = gate(x)
    assert made.shape == (3, 1, 1, 16)
    assert ((made > 0) & (made < 1)).all()
    torch.testing.assert_close(gate(x.flip(1)), made)
    assert not torch.allclose(made[0], made[1])


def test_narrow_maps_keep_four_hidden_units():
    assert ChannelGate(8, 8).fc1.out_features == 4
    assert ChannelGate(64, 8, bias=False).fc1.bias is None
