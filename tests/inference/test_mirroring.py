import torch
from torch import nn

from medssm.inference.ensemble import Ensemble
from medssm.inference.mirroring import mirror_sets, mirrored


def test_every_set_of_axes_is_flipped_once():
    assert mirror_sets((0, 1, 2)) == [(), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)]


def test_mirroring_undoes_each_flip_before_averaging():
    x = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(mirrored(nn.Identity(), x, (0, 1)), x)


def test_mirroring_averages_an_answer_that_depends_on_place():
    ramp = torch.arange(4.0)
    result = mirrored(lambda x: x + ramp, torch.zeros(1, 1, 1, 4), (1,))
    torch.testing.assert_close(result, torch.full((1, 1, 1, 4), 1.5))


def test_without_axes_the_network_runs_once():
    calls = []

    def network(x):
        calls.append(x)
        return x

    mirrored(network, torch.zeros(1, 1, 2, 2), ())
    assert len(calls) == 1


def test_an_ensemble_answers_the_mean_of_its_members():
    members = [nn.Conv2d(1, 2, 1) for _ in range(3)]
    x = torch.randn(1, 1, 4, 4)
    torch.testing.assert_close(Ensemble(members)(x), sum(member(x) for member in members) / 3)
