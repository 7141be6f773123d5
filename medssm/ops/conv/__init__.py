"""The causal convolution of Mamba: one door, channels last, along any routes."""

from typing import Literal

from torch import Tensor

from medssm.ops.backends import Backend, Operator
from medssm.ops.conv import causal_conv1d_cuda, cpu, reference, triton_backend
from medssm.ops.conv.inputs import ConvInputs, check
from medssm.ops.routes import Routes

CONV: Operator[ConvInputs] = Operator(
    "causal_conv1d",
    (
        Backend("triton", triton_backend.refuses, triton_backend.run, triton_backend.missing),
        Backend("cpu", cpu.refuses, cpu.run, cpu.missing),
        Backend("chunked", lambda _: None, reference.run),
        Backend(
            "causal_conv1d",
            causal_conv1d_cuda.refuses,
            causal_conv1d_cuda.run,
            causal_conv1d_cuda.missing,
            on_wish=True,
        ),
        Backend("portable", lambda _: None, reference.run, on_wish=True),
        Backend("reference", lambda _: None, reference.run, on_wish=True),
    ),
)


def causal_conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    *,
    routes: Tensor | Routes | None = None,
    activation: Literal["silu"] | None = "silu",
) -> Tensor:
    """Convolve each channel along each route, seeing only earlier steps.

    out_k[pos_t] = silu(bias_k + sum_j weight_k[j] x[pos_{t - (w - 1) + j}]), zeros before the
    first step. Results lie at their positions, not in the order of the route.

    Args:
        x: Tokens, any strides.
        weight: One set of taps a route.
        bias: Added before the activation.
        routes: Orders of visiting; None visits memory in order.
        activation: "silu" or None.

    Shape:
        x: (b, L, d), weight: (k, d, w), bias: (k, d), routes: (k, L); result (b, k, L, d).

    Raises:
        ValueError: A shape does not fit, or a route is no permutation of the positions.
        BackendRefusedError: The wished backend cannot take this call.

    Source:
        Gu and Dao, "Mamba", 2023; convolving along routes is ours.
    """
    if activation not in {"silu", None}:
        raise ValueError(f"activation is {activation!r}; take 'silu' or None.")
    table = routes.table_on(x.device) if isinstance(routes, Routes) else routes
    return CONV(check(ConvInputs(x, weight, bias, table, activation == "silu")))
