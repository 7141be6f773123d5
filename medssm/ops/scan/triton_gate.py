"""Triton kernel of the gradient of the scan's gate: nothing of the scan itself is needed for it."""

# the device language is typed by its compiler
# mypy: ignore-errors

import triton
import triton.language as tl

from medssm.ops.scan.triton_forward import COUNTS
from medssm.ops.scan.triton_tile import place, sigmoid


@triton.jit(do_not_specialize=COUNTS)
def gate_gradients(
    dout_ptr, y_ptr, z_ptr, dz_ptr, dout_b, dout_l, z_b, z_l,
    length, channels, chunks, blocks, T: tl.constexpr, BD: tl.constexpr,
):  # fmt: skip
    """Gradient of the gate, dout y silu'(z), for a tile of positions."""
    block, tile, _, b = place(tl.program_id(0), blocks, chunks, 1)
    t = (tile * T + tl.arange(0, T)).to(tl.int64)
    od = block * BD + tl.arange(0, BD)
    mask = (t < length)[:, None] & (od < channels)[None, :]
    column = od[None, :]
    dout = tl.load(dout_ptr + b * dout_b + t[:, None] * dout_l + column, mask=mask, other=0.0)
    z = tl.load(z_ptr + b * z_b + t[:, None] * z_l + column, mask=mask, other=0.0).to(tl.float32)
    dense = (b * length + t)[:, None] * channels + column
    y = tl.load(y_ptr + dense, mask=mask, other=0.0).to(tl.float32)
    half = sigmoid(z)
    dz = dout.to(tl.float32) * y * half * (1.0 + z * (1.0 - half))
    tl.store(dz_ptr + dense, dz, mask=mask)
