"""What every backend of the causal convolution owes its callers, on the device it is for."""

from importlib.util import find_spec

import pytest
import torch
import torch.nn.functional as F

from medssm.ops.backends import BackendRefusedError, prefer
from medssm.ops.conv import CONV, causal_conv1d
from medssm.ops.routes import cross2d, forward
from tests.support.scans import orders

GPU = {"triton", "causal_conv1d"}
NAMES = [
    pytest.param(name, marks=pytest.mark.gpu if name in GPU else ())
    for name in CONV.names
    if name != "causal_conv1d" or find_spec("causal_conv1d")
]


@pytest.fixture(params=NAMES)
def conv(request):
    """A backend on its device: output and gradients of a call, or a skip with the reason."""
    name = request.param
    why = next(each for each in CONV.backends if each.name == name).missing()
    if why is not None:
        pytest.skip(f"{name}: {why}")
    device = "cuda" if name in GPU else "cpu"

    def call(x, weight, bias, **options):
        leaves = [t.to(device).detach() for t in (x, weight, bias) if t is not None]
        leaves = [t.requires_grad_() for t in leaves]
        bias = leaves[2] if bias is not None else None
        try:
            with prefer(name):
                out = causal_conv1d(leaves[0], leaves[1], bias, **options)
        except BackendRefusedError as refusal:
            pytest.skip(str(refusal))
        return [y.cpu() for y in (out, *_gradients(out, leaves))]

    return call


def _gradients(out, leaves):
    weight = torch.linspace(0.5, 1.5, out.numel(), device=out.device).view(out.shape)
    return torch.autograd.grad(
        (out.to(torch.promote_types(out.dtype, torch.float32)) * weight).sum(), leaves
    )


def _tensors(b=2, k=2, length=37, d=9, taps=4, dtype=torch.float32):
    g = torch.Generator().manual_seed(0)
    x = torch.randn((b, length, d), generator=g).to(dtype)
    return x, torch.randn((k, d, taps), generator=g), torch.randn((k, d), generator=g)


def _truth(x, weight, bias, routes=None, activation="silu"):
    """By PyTorch's own convolution of permuted copies, in float64."""
    leaves = [t.detach().double().requires_grad_() for t in (x, weight, bias) if t is not None]
    k, d, taps = weight.shape
    ways = []
    for r in range(k):
        order = torch.arange(x.shape[1]) if routes is None else routes[r].long()
        laid = F.pad(leaves[0][:, order].transpose(1, 2), (taps - 1, 0))
        own = None if bias is None else leaves[2][r]
        y = F.conv1d(laid, leaves[1][r][:, None], own, groups=d)
        y = F.silu(y) if activation else y
        ways.append(y.transpose(1, 2)[:, order.argsort()])
    out = torch.stack(ways, 1)
    weight = torch.linspace(0.5, 1.5, out.numel()).double().view(out.shape)
    return [out, *torch.autograd.grad((out * weight).sum(), leaves)]


def _holds(found, true, tolerance=1e-5):
    for mine, other in zip(found, true, strict=True):
        assert mine.shape == other.shape
        scale = float(other.detach().abs().max()) if other.numel() else 1.0
        worst = (mine.double() - other).detach().abs()
        assert float(worst.max() if worst.numel() else 0) <= tolerance * (scale or 1.0)


@pytest.mark.parametrize("taps", [1, 2, 3, 4, 5, 8, 9])
@pytest.mark.parametrize("length", [1, 2, 37, 300])
def test_any_length_and_number_of_taps_is_convolved(conv, length, taps):
    tensors = _tensors(length=length, taps=taps)
    _holds(conv(*tensors), _truth(*tensors))


@pytest.mark.parametrize("d", [1, 7, 8, 16, 17, 33])
@pytest.mark.parametrize("k", [1, 3])
def test_any_number_of_channels_and_routes_is_convolved(conv, d, k):
    tensors, routes = _tensors(d=d, k=k), orders(k, 37)
    _holds(conv(*tensors), _truth(*tensors))
    _holds(conv(*tensors, routes=routes), _truth(*tensors, routes=routes))


@pytest.mark.parametrize("activation", ["silu", None])
@pytest.mark.parametrize("has_bias", [True, False])
def test_bias_and_activation_may_be_left_out(conv, activation, has_bias):
    x, weight, bias = _tensors()
    tensors = (x, weight, bias if has_bias else None)
    found = conv(*tensors, activation=activation)
    _holds(found, _truth(*tensors, activation=activation))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_types_are_rounded_at_the_end_alone(conv, dtype):
    tensors = _tensors(dtype=dtype)
    found = conv(*tensors)
    assert found[0].dtype == found[1].dtype == dtype
    _holds(found, _truth(*tensors), 2 * torch.finfo(dtype).eps)


def test_memory_may_lie_in_any_order(conv):
    x, weight, bias = _tensors()
    true = conv(x, weight, bias)[0]
    for strided in (x.transpose(1, 2).contiguous().transpose(1, 2), x.repeat(1, 1, 2)[..., :9]):
        torch.testing.assert_close(conv(strided, weight, bias)[0], true)


def test_the_order_of_memory_is_no_route(conv):
    tensors = _tensors(k=1)
    torch.testing.assert_close(conv(*tensors, routes=forward(37))[0], conv(*tensors)[0])


def test_a_grid_is_convolved_along_rows_and_columns(conv):
    tensors, routes = _tensors(k=4, length=35), cross2d(5, 7)
    _holds(conv(*tensors, routes=routes), _truth(*tensors, routes=routes.table))


@pytest.mark.parametrize(("b", "length"), [(0, 9), (2, 0)])
def test_nothing_gives_nothing(conv, b, length):
    found = conv(*_tensors(b=b, length=length))
    assert found[0].shape == (b, 2, length, 9)
    assert (found[2] == 0).all()


def test_elements_of_a_batch_do_not_meet(conv):
    x, weight, bias = _tensors()
    alone = [conv(x[i : i + 1], weight, bias)[0] for i in range(2)]
    torch.testing.assert_close(conv(x, weight, bias)[0], torch.cat(alone))
