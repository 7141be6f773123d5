"""`medssm show network NAME`: arguments, true cost, valid input sizes and source of a network."""

import argparse
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from medssm.cli.answer import Answer, table
from medssm.core.errors import UsageError, nearest

DEFAULT_SIZES = {2: (224, 224), 3: (64, 64, 64)}
"""The input at which the cost is counted where none is asked for."""


def run_show_network(
    arguments: argparse.Namespace, signature: Callable[[str, Any], Answer]
) -> Answer:
    """Explain a network by its own name or a file of conf/network.

    Args:
        arguments: Name, and the size, channels and classes to count at.
        signature: Explains the arguments of a class or function.
    """
    from medssm.networks import NETWORKS

    dims = _sizes(arguments.size)
    chosen = _chosen(arguments.name, int(arguments.channels or 1), int(arguments.classes or 2))
    target = NETWORKS.load(chosen["name"])
    costs = [_cost(chosen, size) for size in dims]
    explained = signature(chosen["name"], target)
    plain = [[row[key] for key in HEADER] for row in costs]
    facts = {
        **explained.facts,
        "chosen": chosen,
        "costs": costs,
        "source": _section(target, "Source"),
    }
    lines = [
        *explained.lines,
        "",
        *table([[key, value] for key, value in chosen.items()], ("this one", "")),
        "",
        *table(plain, tuple(HEADER.values())),
        "",
        *[f"{row['rank']}D: {row['fits']}" for row in costs],
        f"source: {facts['source']}",
    ]
    return Answer(facts, lines)


HEADER = {
    "input": "input",
    "parameters": "parameters",
    "gmacs": "GMACs",
    "scan_gflops": "GFLOPs of scans",
    "kept_mib": "MiB kept for backward",
}


def _sizes(asked: str | None) -> list[tuple[int, ...]]:
    if asked is None:
        return list(DEFAULT_SIZES.values())
    words = asked.replace("x", ",").split(",")
    if not all(word.strip().isdigit() for word in words) or len(words) not in DEFAULT_SIZES:
        raise UsageError(f"--size {asked!r} is no size; expected e.g. 224,224 or 64,64,64")
    return [tuple(int(word) for word in words)]


def _chosen(name: str, channels: int, classes: int) -> dict[str, Any]:
    """Name and arguments of a network; the rank is filled in later."""
    from medssm.networks import NETWORKS
    from medssm.runs.compose import compose, groups

    files = groups()["network"]
    if name not in files and name not in NETWORKS:
        raise UsageError(f"there is no network {name!r}; {nearest(name, {*files, *NETWORKS})}")
    sizes = {"in_channels": channels, "out_channels": classes}
    if name not in files:
        return {"name": name, **sizes}
    facts = {"spatial_dims": 2, "num_channels": channels, "num_outputs": classes}
    composed = compose("segmentation", [f"network={name}"], facts)["network"]
    return {key: value for key, value in composed.items() if key != "spatial_dims"}


def _cost(chosen: Mapping[str, Any], size: Sequence[int]) -> dict[str, Any]:
    """What one image of a size costs, and which sizes the network takes."""
    from medssm.networks import NETWORKS
    from medssm.networks.cost import cost
    from medssm.networks.sizes import next_sizes

    network = NETWORKS.build(**{**chosen, "spatial_dims": len(size)})
    divisors = tuple(network.divisors)
    fitting = next_sizes(size, divisors)
    counted = cost(network, (1, chosen["in_channels"], *fitting))
    return {
        "rank": len(size),
        "input": "x".join(map(str, (1, chosen["in_channels"], *fitting))),
        "parameters": f"{counted.parameters:,}",
        "gmacs": f"{counted.macs / 1e9:.3f}",
        "scan_gflops": f"{counted.scan_flops / 1e9:.3f}",
        "kept_mib": f"{counted.activation_bytes / 2**20:.0f}",
        "fits": _fits(network, divisors),
        "counted": vars(counted),
    }


def _fits(network: Any, divisors: Sequence[int]) -> str:
    multiples = f"sizes in multiples of {', '.join(map(str, divisors))}"
    if getattr(network, "pad", False):
        return f"any size, padded to {multiples}"
    return f"{multiples}; others are refused, or padded and cropped with pad=true"


def _section(target: Callable[..., Any], title: str) -> str:
    """One section of a Google docstring in one line."""
    rest = (inspect.getdoc(target) or "").partition(f"{title}:\n")[2].splitlines()
    lines = []
    for line in rest:
        if not line.startswith("    "):
            break
        lines.append(line.strip())
    return " ".join(lines)
