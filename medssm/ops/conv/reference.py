"""The routed causal convolution in plain PyTorch: any device, by shifted products."""

import torch
import torch.nn.functional as F
from torch import Tensor

from medssm.ops.conv.inputs import ConvInputs
from medssm.ops.routes.route import require_permutations


def run(call: ConvInputs) -> Tensor:
    """Lay x out along each route, convolve, and put every result back at its position.

    Shape:
        result: (b, k, L, d), dtype of x.
    """
    k, d, taps = call.weight.shape
    x = call.x.to(call.computing)[:, None].expand(-1, k, -1, -1)
    length = x.shape[2]
    table = call.table
    if table is not None:
        if not torch.compiler.is_compiling():  # a check of numbers would break the graph
            require_permutations(table)
        index = table.long()[None, :, :, None].expand(x.shape[0], -1, -1, d)
        x = x.gather(2, index)
    x = F.pad(x, (0, 0, taps - 1, 0))
    y = x.new_zeros(())
    for j in range(taps):
        y = y + call.weight[:, None, :, j] * x[:, :, j : j + length]
    if call.bias is not None:
        y = y + call.bias[:, None]
    if call.silu:
        y = F.silu(y)
    if table is not None:
        y = y.new_zeros(y.shape).scatter(2, index, y)
    return y.to(call.x.dtype)
