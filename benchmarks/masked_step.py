"""Time and memory of a masked step against the dense one: `python -m benchmarks.masked_step`.

Three pairs, forward and backward, the contestants taking turns: the Mamba stage of the published
size over the visible tokens and over all of them; the small encoder; a whole pre-training step.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.equal_time import machine
from benchmarks.timing import extra_megabytes, in_a_child, side_by_side
from medssm.layers.masking import Visible, random_visible
from medssm.networks import PRETRAINING_NETWORKS
from medssm.networks.hybrid_mamba import MambaStage
from medssm.runs.compose import compose

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "results" / "masked_step.json"
RATIO, CROP, BATCH = 0.75, (32, 48, 32), 4
WORDS = {True: "masked", False: "dense"}


def main() -> int:
    """Measure and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    rows = {}
    for what in BUILDERS:
        times = in_a_child("masked_step", "times", what, chosen.threads)
        memory = {
            word: in_a_child("masked_step", "memory", what, masked, chosen.threads)
            for masked, word in WORDS.items()
        }
        rows[what] = {
            word: {**times[word], "extra_mb": round(memory[word], 1)} for word in WORDS.values()
        }
        masked, dense = (rows[what][word] for word in WORDS.values())
        rows[what]["masked_over_dense"] = {
            name: round(masked[name] / dense[name], 3) for name in ("cpu_ms", "extra_mb")
        }
        print(what, json.dumps(rows[what]))
    result = {
        "what": f"forward and backward, {RATIO:.0%} hidden, float32; best CPU time of turns",
        "machine": machine(chosen.threads),
        "rows": rows,
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"wrote {RESULT.relative_to(ROOT)}")
    return 0


def times(what: str, threads: int) -> dict[str, Any]:
    """Best times of the masked and the dense call."""
    torch.set_num_threads(threads)
    calls = {word: _call(what, masked) for masked, word in WORDS.items()}
    found = side_by_side(calls, seconds=8.0, most=15)
    return {
        word: {k: round(v, 1) for k, v in time._asdict().items()} for word, time in found.items()
    }


def memory(what: str, masked: bool, threads: int) -> float:
    """Peak memory of one call, MB."""
    torch.set_num_threads(threads)
    return extra_megabytes(_call(what, masked))


def _call(what: str, masked: bool) -> Any:
    torch.manual_seed(0)
    module, x, grid = BUILDERS[what]()
    visible: Visible | None = random_visible(x.shape[0], grid, RATIO) if masked else None

    def step() -> None:
        made = module(x, visible)
        loss = sum(each.square().mean() for each in (made if isinstance(made, list) else [made]))
        module.zero_grad(set_to_none=True)
        assert isinstance(loss, Tensor)
        loss.backward()

    return step


Made = tuple[nn.Module, Tensor, tuple[int, ...]]


def _stage() -> Made:
    grid = (6, 6, 6)
    return MambaStage(384, 3, 4, {"name": "mamba"}), torch.randn(BATCH, *grid, 384), grid


def _small() -> tuple[Any, tuple[int, ...]]:
    words = compose("pretraining", ["network=mamba_mim_small"])["network"]
    network = PRETRAINING_NETWORKS.build(**words)
    grid = tuple(size // cell for size, cell in zip(CROP, network.divisors, strict=True))
    return network, grid


def _encoder() -> Made:
    network, grid = _small()
    return network.encoder, torch.rand(BATCH, *CROP, 1), grid


def _pretraining() -> Made:
    network, grid = _small()
    return network, torch.rand(BATCH, 1, *CROP), grid


BUILDERS = {
    "mamba stage, 384 wide, 4 layers, 216 tokens": _stage,
    "small encoder": _encoder,
    "small pre-training step": _pretraining,
}


if __name__ == "__main__":
    raise SystemExit(main())
