"""The operators are single nodes for torch.compile and torch.export, and portable on wish."""

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

from medssm.ops import causal_conv1d_fn, selective_scan_fn
from medssm.ops.backends import prefer
from medssm.ops.scan import chunked, selective_scan
from medssm.ops.scan.inputs import ScanInputs, check
from tests.support.routed_layer import RoutedLayer
from tests.support.scans import assert_near, orders, scan_tensors, values_and_gradients

BACKENDS = {"cpu": "medssm.scan_cpu.default", "chunked": "medssm.scan_chunked.default"}
LENGTHS = {1: torch.export.Dim("length", min=2, max=5000)}


def _exported(layer, x, shapes=LENGTHS, **options):
    with torch.no_grad():
        return torch.export.export(layer, (x,), dynamic_shapes=(shapes,), **options)


def _targets(program):
    return {str(node.target) for node in program.graph.nodes}


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_compiled_layer_is_one_graph_with_the_same_values_and_gradients(backend):
    layer, x = RoutedLayer(), torch.randn(2, 50, 4)
    torch._dynamo.reset()
    with prefer(backend):
        compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
        for length in (50, 37, 31):  # the second length makes it dynamic
            part = x[:, :length]
            ours, true = compiled(part), layer(part)
            torch.testing.assert_close(ours, true)
            torch.testing.assert_close(
                torch.autograd.grad(ours.square().sum(), list(layer.parameters())),
                torch.autograd.grad(true.square().sum(), list(layer.parameters())),
            )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("backend", BACKENDS)
def test_half_types_compile(backend, dtype):
    torch._dynamo.reset()
    layer = RoutedLayer(window=4).to(dtype)
    x = torch.randn(2, 50, 4).to(dtype)
    with prefer(backend):
        compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(x), layer(x))


def test_a_compiled_layer_follows_a_later_wish():
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")
    layer, x = RoutedLayer(), torch.randn(2, 50, 4)
    compiled = torch.compile(layer, fullgraph=True, backend=counter)
    for backend, target in BACKENDS.items():
        with prefer(backend):
            compiled(x)
        assert target in {str(node.target) for node in counter.graphs[-1].graph.nodes}


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("backend", BACKENDS)
def test_an_exported_layer_takes_any_length(backend, strict):
    layer, longer = RoutedLayer(), torch.randn(2, 77, 4)
    with prefer(backend):
        program = _exported(layer, torch.randn(2, 50, 4), strict=strict)
        assert BACKENDS[backend] in _targets(program)
        torch.testing.assert_close(program.module()(longer), layer(longer))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"routes": orders(2, 9)},
        {"local_window": 4},
        {"lengths": torch.tensor([9, 4]), "routes": orders(2, 9), "local_window": 3},
        {"delta_softplus": False},
    ],
)
def test_the_portable_scan_is_the_reference(options):
    tensors = scan_tensors()
    tensors["delta"] = tensors["delta"].abs()
    assert_near(
        values_and_gradients("portable", tensors, **options),
        values_and_gradients("reference", tensors, **options),
        1e-12,
    )


def test_a_portable_program_holds_no_operator_of_this_library():
    layer, longer = RoutedLayer(window=4), torch.randn(3, 77, 4)
    shapes = {0: torch.export.Dim("batch", min=2, max=64)} | LENGTHS
    with prefer("portable"):
        program = _exported(layer, torch.randn(2, 50, 4), shapes)
    assert "scan" in _targets(program)
    assert not any("medssm" in target for target in _targets(program))
    with prefer("chunked"):
        torch.testing.assert_close(program.module()(longer), layer(longer))


def test_an_onnx_file_gives_the_outputs_of_the_layer(tmp_path):
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    layer, longer = RoutedLayer(window=4), torch.randn(3, 77, 4)
    shapes = {0: torch.export.Dim("batch", min=2, max=64)} | LENGTHS
    with prefer("portable"), torch.no_grad():
        program = _exported(layer, torch.randn(2, 50, 4), shapes)
        onnx = torch.onnx.export(program, dynamo=True, verbose=False)
    onnx.save(tmp_path / "layer.onnx")
    kinds = [node.op_type for node in onnx.model_proto.graph.node]
    assert kinds.count("Scan") == 4  # three of the scan in chunks, and the one within the windows
    session = runtime.InferenceSession(tmp_path / "layer.onnx")
    (found,) = session.run(None, {session.get_inputs()[0].name: longer.numpy()})
    torch.testing.assert_close(
        torch.from_numpy(found), layer(longer).detach(), atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_autocast_keeps_half_streams_and_wide_parameters(backend):
    tensors = scan_tensors(length=40, dtype=torch.float32)
    g = torch.Generator().manual_seed(1)
    tensors |= {
        "delta": tensors["delta"][..., :3],
        "delta_weight": torch.randn((2, 5, 3), generator=g),
    }
    tensors |= {n: tensors[n].bfloat16() for n in ("u", "delta", "B", "C", "z")}
    plain = values_and_gradients(backend, tensors)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = values_and_gradients(backend, tensors)
    assert cast["out"].dtype == torch.bfloat16
    assert cast["A"].dtype == torch.float32
    for name, true in plain.items():
        assert torch.equal(cast[name], true), name


def test_the_chunked_operator_passes_opcheck():
    tensors = scan_tensors(dtype=torch.float32)
    for name in ("u", "A", "B"):
        tensors[name].requires_grad_()
    call = check(
        ScanInputs(
            *(tensors[name] for name in ("u", "delta", "A", "B", "C", "D", "delta_bias")),
            None,
            orders(2, 9),
            None,
            tensors["initial_state"],
            True,
            True,
            torch.tensor([9, 4]),
            4,
        )
    )
    torch.library.opcheck(
        chunked.scan,
        (call.u, call.delta, call.A, call.B, call.C, call.D, call.delta_bias, None,
         call.initial_state, call.table, call.lengths, True, True, 4, True),
    )  # fmt: skip


def _packed(x, weight, numbers):
    return causal_conv1d_fn(x, weight, None, numbers, activation="silu")


def _with_states(x, weight, past):
    return causal_conv1d_fn(x, weight, initial_states=past, return_final_states=True)


@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        (_packed, (torch.randn(2, 8, 20), torch.randn(8, 4), torch.arange(40).view(2, 20) // 7)),
        (_with_states, (torch.randn(2, 8, 20), torch.randn(8, 4), torch.randn(2, 8, 3))),
        (
            lambda u, delta, A, B, C, z: selective_scan_fn(u, delta, A, B, C, z=z),
            (
                *torch.rand(2, 2, 8, 20).unbind(0),
                -torch.rand(8, 3),
                *torch.randn(2, 2, 2, 3, 20).unbind(0),
                torch.randn(2, 8, 20),
            ),
        ),
    ],
)
def test_the_drop_ins_are_one_graph(call, arguments):
    torch._dynamo.reset()
    compiled = torch.compile(call, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*arguments), call(*arguments))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_second_derivative_is_an_error_rather_than_wrong(backend):
    tensors = scan_tensors()
    u = tensors["u"].requires_grad_()
    with prefer(backend):
        out = selective_scan(**tensors)
    (first,) = torch.autograd.grad(out.square().sum(), u, create_graph=True)
    with pytest.raises(RuntimeError, match=r"twice|autograd"):
        first.sum().backward()


def test_the_reference_has_second_derivatives():
    tensors = scan_tensors(length=4, d=2, n=2)
    u, delta = tensors.pop("u").requires_grad_(), tensors.pop("delta").requires_grad_()
    with prefer("reference"):
        assert torch.autograd.gradgradcheck(
            lambda *x: selective_scan(x[0], x[1], **tensors), (u, delta)
        )
