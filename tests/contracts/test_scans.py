"""What every backend of the selective scan owes its callers, on the device it is for.

The table is walked: a backend that this machine lacks is skipped with its reason, a call that it
refuses too.
"""

import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

import pytest
import torch
import torch.nn.functional as F

from medssm.ops.backends import BackendRefusedError, prefer
from medssm.ops.routes import axes3d, cross2d, forward, reverse, there_and_back
from medssm.ops.scan import SCAN, selective_scan
from tests.support.scans import assert_near, orders, scan_tensors, values_and_gradients

# "portable" compiles for each new shape: tests/ops/test_tracing.py has it
GPU = {"triton", "mamba_ssm"}
NAMES = [
    pytest.param(name, marks=pytest.mark.gpu if name in GPU else ())
    for name in SCAN.names
    if name != "portable" and (name != "mamba_ssm" or find_spec("mamba_ssm"))
]
SINGLE, GRADIENT = 2e-6, 1e-5


@pytest.fixture(params=NAMES)
def scan(request):
    """A backend on its device: the same call as `selective_scan`, or a skip with the reason."""
    name = request.param
    why = next(each for each in SCAN.backends if each.name == name).missing()
    if why is not None:
        pytest.skip(f"{name}: {why}")
    device = "cuda" if name in GPU else "cpu"

    def call(*, compare=False, **arguments):
        def there(x):
            return x.to(device) if isinstance(x, torch.Tensor) else x

        arguments = {key: there(x) for key, x in arguments.items()}
        try:
            if not compare:
                with prefer(name):
                    return selective_scan(**arguments)
            options = {n: x for n, x in arguments.items() if n in OPTIONS}
            rest = {n: x for n, x in arguments.items() if n not in OPTIONS}
            return values_and_gradients(name, rest, **options)
        except BackendRefusedError as refusal:
            pytest.skip(str(refusal))

    call.name = name
    return call


OPTIONS = {"routes", "lengths", "local_window", "delta_softplus", "merge"}


def _truth(tensors, **options):
    wide = {name: x.double() for name, x in tensors.items()}
    return values_and_gradients("reference", wide, **options)


def _holds(scan, tensors, tolerance=GRADIENT, **options):
    found = scan(compare=True, **tensors, **options)
    found = {name: x.cpu() for name, x in found.items()}
    true = _truth(tensors, **options)
    assert_near(found, true, tolerance)
    if tolerance == GRADIENT:
        assert_near({"out": found["out"]}, {"out": true["out"]}, SINGLE)


@pytest.mark.parametrize("length", [1, 31, 32, 33, 63, 64, 65, 197])
def test_any_length_is_scanned(scan, length):
    _holds(scan, scan_tensors(length=length, dtype=torch.float32))


@pytest.mark.parametrize("states", [1, 2, 3, 8, 16, 17, 64])
def test_any_number_of_states_is_scanned(scan, states):
    _holds(scan, scan_tensors(n=states, length=20, dtype=torch.float32))


@pytest.mark.parametrize("channels", [1, 7, 8, 9, 15, 16, 17, 33])
def test_any_number_of_channels_is_scanned(scan, channels):
    _holds(scan, scan_tensors(d=channels, length=20, dtype=torch.float32))


@pytest.mark.parametrize("k", [1, 3, 4])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("merge", ["sum", "none"])
def test_routes_are_summed_or_kept_apart(scan, k, shared, merge):
    tensors = scan_tensors(k=k, length=12, shared=shared, dtype=torch.float32)
    _holds(scan, tensors, routes=orders(k, 12), merge=merge)


@pytest.mark.parametrize("window", [1, 4, 16, 100])
def test_local_windows_are_those_of_the_equations(scan, window):
    _holds(scan, scan_tensors(length=70, dtype=torch.float32), local_window=window)


@pytest.mark.parametrize("window", [0, 5])
def test_skipped_steps_are_those_of_the_equations(scan, window):
    tensors, lengths = scan_tensors(b=3, length=70, dtype=torch.float32), torch.tensor([70, 33, 0])
    _holds(scan, tensors, lengths=lengths, local_window=window)
    _holds(scan, tensors, lengths=lengths, local_window=window, routes=orders(2, 70))


def test_the_step_may_be_given_as_it_is(scan):
    tensors = scan_tensors(length=20, dtype=torch.float32)
    tensors["delta"] = tensors["delta"].abs()
    tensors["delta_bias"] = tensors["delta_bias"].abs()
    _holds(scan, tensors, delta_softplus=False)


def test_a_low_rank_step_is_multiplied_out(scan):
    tensors = scan_tensors(length=40, dtype=torch.float32)
    weight = torch.randn((2, 5, 3), generator=torch.Generator().manual_seed(1))
    tensors |= {"delta": tensors["delta"][..., :3], "delta_weight": weight}
    _holds(scan, tensors)


def test_optional_tensors_may_be_left_out(scan):
    tensors = scan_tensors(length=20, dtype=torch.float32)
    _holds(scan, {name: tensors[name] for name in ("u", "delta", "A", "B", "C")})


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_types_are_rounded_at_the_end_alone(scan, dtype):
    tensors = scan_tensors(length=100, dtype=torch.float32)
    tensors |= {name: tensors[name].to(dtype) for name in ("u", "delta", "B", "C", "z")}
    _holds(scan, tensors, 4 * torch.finfo(dtype).eps)


def test_types_may_be_mixed(scan):
    tensors = scan_tensors(length=40, dtype=torch.float32)
    tensors |= {"B": tensors["B"].bfloat16(), "delta": tensors["delta"].half()}
    _holds(scan, tensors, 0.02)


def test_memory_may_lie_in_any_order(scan):
    tensors = scan_tensors(length=33, dtype=torch.float32, shared=False)
    true = scan(**tensors)
    strided = {n: x.transpose(-1, -2).contiguous().transpose(-1, -2) for n, x in tensors.items()}
    torch.testing.assert_close(scan(**strided), true)
    spread = {n: x.repeat_interleave(2, -1)[..., ::2] for n, x in tensors.items()}
    torch.testing.assert_close(scan(**spread), true)


def test_a_tensor_may_be_expanded(scan):
    tensors = scan_tensors(length=33, dtype=torch.float32, shared=False)
    tensors["u"] = tensors["u"][:, :1].expand(-1, 2, -1, -1)
    tensors["B"] = tensors["B"][:1].expand(2, -1, -1, -1)
    dense = {name: x.contiguous() for name, x in tensors.items()}
    torch.testing.assert_close(scan(**tensors), scan(**dense))


@pytest.mark.parametrize(("b", "length"), [(0, 9), (2, 0), (0, 0)])
def test_nothing_gives_nothing(scan, b, length):
    tensors = scan_tensors(b=b, length=length, dtype=torch.float32)
    assert scan(**tensors).shape == (b, length, 5)
    _, last = scan(**tensors, return_last_state=True)
    if length == 0:
        torch.testing.assert_close(last.cpu(), tensors["initial_state"])


def test_the_order_of_memory_is_no_route(scan):
    tensors = scan_tensors(k=1, length=40, dtype=torch.float32)
    torch.testing.assert_close(scan(**tensors, routes=forward(40)), scan(**tensors))


def test_a_reverse_route_is_a_flip_before_and_after(scan):
    tensors = scan_tensors(k=1, length=40, dtype=torch.float32)
    flipped = {
        n: x.flip(-2) if n in {"u", "delta", "B", "C", "z"} else x for n, x in tensors.items()
    }
    found = scan(**tensors, routes=reverse(40))
    torch.testing.assert_close(found, scan(**flipped).flip(1))


@pytest.mark.parametrize(
    ("routes", "grid", "axes"),
    [
        (cross2d(5, 7), (5, 7), ((0, 1), (1, 0))),
        (axes3d(3, 4, 5), (3, 4, 5), ((0, 1, 2), (0, 2, 1), (1, 2, 0))),
    ],
)
def test_routes_over_a_grid_are_permuted_copies(scan, routes, grid, axes):
    k, length = len(routes), torch.Size(grid).numel()
    tensors = scan_tensors(k=k, length=length, dtype=torch.float32)
    del tensors["z"]
    total = 0.0
    for way in range(k):
        order = axes[way % len(axes)]
        back = way >= len(axes)

        def lay(x, order=order, back=back):
            x = x.unflatten(1, grid).permute(0, *(1 + axis for axis in order), -1).flatten(1, -2)
            return x.flip(1) if back else x

        own = {n: x[:, way] for n, x in tensors.items() if n in {"delta", "B", "C"}}
        parameters = {n: tensors[n][way : way + 1] for n in ("A", "D", "delta_bias")}
        y = scan(
            u=lay(tensors["u"]),
            **{n: lay(x)[:, None] for n, x in own.items()},
            **parameters,
            initial_state=tensors["initial_state"][:, way : way + 1],
        )
        y = y.flip(1) if back else y
        inverse = [order.index(axis) for axis in range(len(grid))]
        laid = y.unflatten(1, [grid[axis] for axis in order])
        total = total + laid.permute(0, *(1 + axis for axis in inverse), -1).flatten(1, -2)
    torch.testing.assert_close(scan(**tensors, routes=routes), total, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("raw", [-100.0, 0.0, 100.0])
@pytest.mark.parametrize("decay", [-1e3, 0.0, 0.01])
def test_extreme_steps_and_decays_give_numbers(scan, raw, decay):
    tensors = scan_tensors(length=40, dtype=torch.float32)
    tensors["delta"][:, :, ::3] = raw
    tensors["A"][:] = decay
    if raw == 100.0 and decay > 0:
        tensors["delta"][:, :, 3:] = -1.0  # one such step; forty would leave the float range
    found = scan(compare=True, **tensors)
    assert all(x.isfinite().all() for x in found.values())


def test_a_decay_that_underflows_forgets_everything(scan):
    tensors = scan_tensors(k=1, length=40, dtype=torch.float32)
    tensors["A"][:] = -1e4
    tensors["delta"][:] = 3.0
    s = F.softplus(tensors["delta"][:, 0] + tensors["delta_bias"][0])
    u = tensors["u"]
    product = (tensors["B"][:, 0] * tensors["C"][:, 0]).sum(-1, keepdim=True)
    alone = (s * u * product + tensors["D"][0] * u) * F.silu(tensors["z"])
    torch.testing.assert_close(scan(**tensors).cpu(), alone, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_large_numbers_of_a_half_type_stay_finite(scan, dtype):
    tensors = scan_tensors(length=40, dtype=torch.float32)
    tensors["u"] = tensors["u"] * 100
    tensors |= {name: tensors[name].to(dtype) for name in ("u", "delta", "B", "C", "z")}
    assert scan(**tensors).isfinite().all()


def test_the_scan_is_linear_in_its_input(scan):
    tensors = scan_tensors(length=40, dtype=torch.float32)
    tensors["initial_state"].zero_()
    other = tensors["u"].flip(1)
    together = scan(**(tensors | {"u": 2 * tensors["u"] + other}))
    apart = 2 * scan(**tensors) + scan(**(tensors | {"u": other}))
    torch.testing.assert_close(together, apart, atol=1e-4, rtol=1e-4)


def test_elements_of_a_batch_do_not_meet(scan):
    tensors = scan_tensors(b=3, length=40, dtype=torch.float32)
    parameters = {"A", "D", "delta_bias"}
    alone = [
        scan(**{n: x if n in parameters else x[i : i + 1] for n, x in tensors.items()})
        for i in range(3)
    ]
    torch.testing.assert_close(scan(**tensors), torch.cat(alone), atol=1e-5, rtol=1e-5)


def test_two_halves_joined_by_the_state_are_the_whole(scan):
    tensors = scan_tensors(length=40, dtype=torch.float32)
    along = {"u", "delta", "B", "C", "z"}

    def part(start, stop):
        return {n: x[..., start:stop, :] if n in along else x for n, x in tensors.items()}

    first, state = scan(**part(0, 23), return_last_state=True)
    second = scan(**(part(23, 40) | {"initial_state": state}))
    torch.testing.assert_close(torch.cat((first, second), 1), scan(**tensors))


def test_repeated_calls_give_the_same_bits(scan):
    tensors = scan_tensors(length=200, d=24, dtype=torch.float32)
    first = scan(compare=True, **tensors, routes=there_and_back(200))
    again = scan(compare=True, **tensors, routes=there_and_back(200))
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_threads_may_scan_at_the_same_time(scan):
    tensors = scan_tensors(length=200, d=24, dtype=torch.float32)
    true = scan(**tensors)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: scan(**tensors), range(8)))
    assert all(torch.equal(each, true) for each in results)


def _in_child(name, sender):
    with prefer(name):
        sender.send(selective_scan(**scan_tensors(dtype=torch.float32)).tolist())


def test_a_forked_process_scans_too(scan):
    if scan.name in GPU:
        pytest.skip("CUDA does not go through a fork")
    true = scan(**scan_tensors(dtype=torch.float32))
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_in_child, args=(scan.name, sender))
    child.start()
    assert receiver.poll(60), "the child did not answer"
    torch.testing.assert_close(torch.tensor(receiver.recv()), true)
    child.join(60)
    assert child.exitcode == 0
