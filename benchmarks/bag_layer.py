"""One SR-Mamba layer over a long bag in inference: streamed by us, and as a plain PyTorch loop.

    python -m benchmarks.bag_layer                      lengths of both up to 100,000
    python -m benchmarks.bag_layer --loop 2000          a shorter loop, its time told per token

Two branches, width 512, inner width 1024, 16 states, rate 5. Each length runs in a process of its
own, whose peak of resident memory is told; it holds Python and torch.
"""

import argparse
import json
import os
import resource
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.equal_time import machine
from benchmarks.timing import in_a_child
from medssm.layers.mixers.srmamba import SequenceReorderingMamba, in_order_and_in_strides
from medssm.layers.mixers.streamed import stream_layer

FILE = Path(__file__).resolve().parent / "results" / "bag_layer.json"
LENGTHS = (1_000, 10_000, 100_000, 200_000)
WIDTH, RATE, THREADS = 512, 5, 2


def main() -> None:
    """Measure, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--loop", type=int, default=100_000, help="longest bag of the plain loop")
    chosen = parser.parse_args()
    lengths = [each for each in LENGTHS if each <= chosen.loop] or [chosen.loop]
    rows = {
        "start": in_a_child("bag_layer", "start"),
        "streamed": [in_a_child("bag_layer", "streamed", each) for each in LENGTHS],
        "loop": [in_a_child("bag_layer", "loop", each) for each in lengths],
        "difference": in_a_child("bag_layer", "difference", 1003),
    }
    ours = {row["tokens"]: row for row in rows["streamed"]}
    for row in rows["loop"]:
        for name, key in (("times_slower", "seconds"), ("cpu_times", "cpu_seconds")):
            row[name] = round(row[key] / ours[row["tokens"]][key], 1)
    where = {**machine(THREADS), "load": round(os.getloadavg()[0], 1)}
    result = {"what": __doc__.splitlines()[0], "machine": where, **rows}
    for key, value in result.items():
        print(key, value)
    FILE.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def start() -> dict[str, Any]:
    """The memory of Python, torch and the layer before a bag."""
    _layer()
    return {"peak_mb": _peak_mb()}


def streamed(length: int) -> dict[str, Any]:
    """Our layer: the second of two turns is timed."""
    norm, mixer = _layer()
    with torch.inference_mode():
        stream_layer(norm, mixer, torch.randn(2_000, WIDTH))
        h = torch.randn(length, WIDTH)
        started = time.perf_counter(), time.process_time()
        stream_layer(norm, mixer, h)
    return _row(length, started)


def loop(length: int) -> dict[str, Any]:
    """The equations as a loop over the tokens, streaming what is not the scan."""
    norm, mixer = _layer()
    with torch.inference_mode():
        h = torch.randn(length, WIDTH)
        started = time.perf_counter(), time.process_time()
        plain_layer(norm, mixer, h)
    return _row(length, started)


def difference(length: int) -> float:
    """Largest difference between both."""
    norm, mixer = _layer()
    with torch.inference_mode():
        h = torch.randn(length, WIDTH)
        wanted = plain_layer(norm, mixer, h)
        stream_layer(norm, mixer, h, 96)
    return float((h - wanted).abs().max())


def _layer() -> tuple[nn.Module, SequenceReorderingMamba]:
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    return nn.LayerNorm(WIDTH), SequenceReorderingMamba(WIDTH, rate=RATE).eval()


def plain_layer(
    norm: nn.Module, mixer: SequenceReorderingMamba, h: Tensor, chunk: int = 2_000
) -> Tensor:
    """One residual layer, chunk by chunk and token by token (PATHOLOGY sections 1.3 and 7)."""
    length = len(h)
    out = h.clone()
    table = in_order_and_in_strides(mixer.padded(length), mixer.rate).table
    for suffix, order in zip(mixer.branches, table, strict=True):
        each = mixer.branch(suffix)
        inner, rank = each.taps.shape[0], each.step.shape[1]
        A = -each.A_log.exp()
        state, past = torch.zeros_like(A), h.new_zeros(each.taps.shape[-1] - 1, inner)
        for start in range(0, len(order), chunk):
            where = order[start : start + chunk].long()
            there = where < length
            rows = norm(h[where.clamp(max=length - 1)]) * there[:, None]
            value, gate = mixer.in_proj(rows).chunk(2, -1)
            seen = torch.cat((past, value))
            past = seen[-len(past) :]
            u = F.silu(F.conv1d(seen.t()[None], each.taps, each.bias, groups=inner))[0].t()
            low, B, C = (u @ each.x_proj.t()).split((rank, mixer.state, mixer.state), -1)
            delta = F.softplus(low @ each.step.t() + each.step_bias)
            y = torch.empty_like(u)
            for t in range(len(where)):
                state = torch.exp(delta[t, :, None] * A) * state
                state = state + (delta[t] * u[t])[:, None] * B[t]
                y[t] = state @ C[t]
            y = (y + each.D * u) * F.silu(gate)
            out.index_add_(0, where[there], mixer.out_proj(y)[there])
    return out


def _row(length: int, started: tuple[float, float]) -> dict[str, Any]:
    wall, cpu = time.perf_counter() - started[0], time.process_time() - started[1]
    return {
        "tokens": length,
        "seconds": round(wall, 2),
        "cpu_seconds": round(cpu, 2),
        "cpu_us_per_token": round(cpu / length * 1e6, 1),
        "peak_mb": _peak_mb(),
    }


def _peak_mb() -> int:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6)


if __name__ == "__main__":
    main()
