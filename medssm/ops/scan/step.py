"""One step of the selective scan, for streams that come a token at a time."""

import torch.nn.functional as F
from torch import Tensor

from medssm.ops.scan.reference import step_sizes


def selective_scan_step(
    state: Tensor,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    *,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = True,
) -> tuple[Tensor, Tensor]:
    """Take one token: L steps from a state give what `selective_scan` gives over L tokens.

    h' = exp(s A) h + s B u and y = C h' + D u with s = softplus(delta + delta_bias), times
    silu(z). Start with a state of zeros; keep it in float32.

    Returns:
        The output with the type of u, and the new state with the type of the old one.

    Shape:
        state: (b, d, n), u, delta, z: (b, d), A: (d, n), B, C: (b, n), D, delta_bias: (d,);
        results (b, d) and (b, d, n).

    Raises:
        ValueError: A shape does not fit.

    Source:
        Gu and Dao, "Mamba", 2023, equation 2.
    """
    (b, d), n = u.shape, A.shape[-1]
    wanted = {"state": (b, d, n), "delta": (b, d), "A": (d, n), "B": (b, n), "C": (b, n)}
    given = {"state": state, "delta": delta, "A": A, "B": B, "C": C}
    for name, shape in wanted.items():
        if tuple(given[name].shape) != shape:
            raise ValueError(f"{name} has shape {tuple(given[name].shape)}, expected {shape}.")
    wide = state.dtype
    x, B, C = u.to(wide), B.to(wide), C.to(wide)
    s = step_sizes(delta.to(wide), delta_bias, delta_softplus)[..., None]
    state = (s * A).exp() * state + s * x[..., None] * B[:, None]
    y = (state * C[:, None]).sum(-1)
    if D is not None:
        y = y + D * x
    if z is not None:
        y = y * F.silu(z.to(wide))
    return y.to(u.dtype), state
