"""What every compiled causal convolution tells torch: its shapes and its gradients."""

from typing import Any

from torch import Tensor


def connect(forward: Any, backward: Any) -> None:
    """Register the shapes of a convolution and of its gradients, and the one as the other's rule.

    Args:
        forward: The custom operator (x, weight, bias, table, silu) -> y.
        backward: The custom operator (dy, x, weight, bias, table, silu) -> (dx, dweight, dbias).

    Shape:
        x, dx: (b, L, d), weight: (k, d, w), bias: (k, d), table: (k, L), y: (b, k, L, d).
    """

    def shape(x: Tensor, weight: Tensor, *_: Any) -> Tensor:
        b, length, d = x.shape
        return x.new_empty((b, weight.shape[0], length, d))

    def shapes(_dy: Tensor, x: Tensor, weight: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor]:
        sizes = weight.shape
        return x.new_empty(x.shape), weight.new_empty(sizes), weight.new_empty(sizes[:2])

    def keep(ctx: Any, inputs: tuple[Any, ...], **_: Any) -> None:
        *tensors, ctx.silu = inputs
        ctx.save_for_backward(*tensors)

    def gradients(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, table = ctx.saved_tensors
        dx, dweight, dbias = backward(dy, x, weight, bias, table, ctx.silu)
        return dx, dweight, None if bias is None else dbias, None, None

    forward.register_fake(shape)
    backward.register_fake(shapes)
    forward.register_autograd(gradients, setup_context=keep)
