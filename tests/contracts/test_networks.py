import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from medssm.core.errors import BadArgumentError, UsageError
from medssm.networks import NETWORKS
from medssm.networks.cost import cost
from tests.support.tiny import TINY_NETWORKS

NAMES = sorted(NETWORKS)
SIZES = {2: (16, 24), 3: (8, 16, 8)}


def tiny(name: str, spatial_dims: int = 3, **changes: object) -> torch.nn.Module:
    torch.manual_seed(0)
    arguments = {"spatial_dims": spatial_dims, "in_channels": 2, "out_channels": 3}
    return NETWORKS.build(**{"name": name, **arguments, **TINY_NETWORKS[name], **changes})


def test_names_complete() -> None:
    assert set(TINY_NETWORKS) == set(NETWORKS)


@pytest.mark.parametrize("spatial_dims", SIZES)
@pytest.mark.parametrize("name", NAMES)
def test_gives_logits_of_the_input_size_and_reaches_every_parameter(
    name: str, spatial_dims: int
) -> None:
    network = tiny(name, spatial_dims)
    y = network(torch.randn(2, 2, *SIZES[spatial_dims]))
    assert y.shape == (2, 3, *SIZES[spatial_dims])
    y.square().mean().backward()
    assert [key for key, each in network.named_parameters() if each.grad is None] == []


@pytest.mark.parametrize("name", NAMES)
def test_a_size_that_does_not_fit_is_answered_with_the_next_that_do(name: str) -> None:
    network = tiny(name)
    fitting = tuple(2 * each for each in network.divisors)
    too_large = tuple(each + 1 for each in fitting)
    with pytest.raises(BadArgumentError, match="next sizes that fit are") as caught:
        network(torch.randn(1, 2, *too_large))
    assert str(tuple(3 * each for each in network.divisors)) in str(caught.value)
    assert network(torch.randn(1, 2, *fitting)).shape[2:] == fitting


@pytest.mark.parametrize("name", NAMES)
def test_a_state_dict_goes_round(name: str) -> None:
    first, second = tiny(name).eval(), tiny(name).eval()
    with torch.no_grad():
        for parameter in second.parameters():
            parameter.add_(1.0)
    x = torch.randn(1, 2, *SIZES[3])
    assert not torch.equal(first(x), second(x))
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(x), second(x))


@pytest.mark.parametrize("name", NAMES)
def test_cost_agrees_with_a_real_forward(name: str) -> None:
    network, shape = tiny(name), (2, 2, 24, 32, 24)
    counted = cost(network, shape)
    weights = {each.untyped_storage().data_ptr() for each in network.parameters()}
    kept: dict[int, int] = {}
    alive = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        network(torch.randn(shape))
    assert counted.activation_bytes == pytest.approx(sum(kept.values()), rel=0.15)
    assert counted.parameters == sum(each.numel() for each in network.parameters())
    assert counted.macs > 0


@pytest.mark.parametrize("name", NAMES)
def test_cost_leaves_the_network_as_it_was(name: str) -> None:
    network = tiny(name).eval()
    x = torch.randn(1, 2, *SIZES[3])
    before = network(x)
    cost(network, (1, 2, *SIZES[3]))
    assert not network.training
    assert torch.equal(before, network(x))


@pytest.mark.parametrize("name", NAMES)
def test_a_misspelt_argument_is_answered_with_the_nearest(name: str) -> None:
    with pytest.raises(UsageError, match="did you mean 'out_channels'"):
        NETWORKS.build(**{"name": name, "out_chanels": 3})
