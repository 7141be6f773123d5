"""Compile the Triton kernels without a GPU: registers, spills and shared memory of each.

    python -m benchmarks.aot                  writes benchmarks/results/aot_sm80_sm90.json
    python -m benchmarks.aot --only carry     the same for one kernel; the other rows stay

Every kernel is compiled in the forms in which it is launched, for each architecture and type.
`stack` counts the bytes that a thread spills; anything above 0 is a fault.
"""

import argparse
import hashlib
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
RESULT = Path(__file__).parent / "results" / "aot_sm80_sm90.json"
ARCHITECTURES = (80, 90)
TYPES = ("bf16", "fp16", "fp32")
STREAMS = {"u", "delta", "B", "C", "z", "dout", "out", "y", "du", "ddelta", "dz", "x", "dx"}
TABLES = {"table", "lengths", "inverse"}


class Form(NamedTuple):
    """A kernel as it is launched.

    Args:
        module: Where it is.
        name: Its name there.
        constants: Its compile-time arguments.
        options: Warps, and registers where they are bounded.
        note: What is special about this form.
    """

    module: str
    name: str
    constants: dict[str, Any]
    options: dict[str, int]
    note: str


def forms(blocks: tuple[int, ...] = (64, 32)) -> list[Form]:
    """Every kernel in the forms that calls lead to, the slowest to compile first."""
    from medssm.ops.conv.triton_backend import WARPS, tile
    from medssm.ops.scan.triton_gradients import GATED
    from medssm.ops.scan.triton_launch import AHEAD, CARRIED, registers
    from medssm.ops.scan.triton_plan import BACK
    from medssm.ops.scan.triton_plan import TILE as STEPS

    scan = {"SOFTPLUS": True, "TABLE": True, "WIDE": False, "LENGTHS": False, "BIAS": True,
            "GATE": True, "SKIP": True, "KEEP": True, "WINDOW": 0, "PER": 1, "ADDS": False,
            "LAST": True, "ENDS": True, "MANY": False}  # fmt: skip
    forward, backward = "medssm.ops.scan.triton_forward", "medssm.ops.scan.triton_backward"
    kinds = {
        "one route": {},
        "a route and its opposite": {"PER": 2},
        "adds to earlier launches, blocks in turn": {"PER": 2, "ADDS": True, "MANY": True},
        "local window": {"WINDOW": 8, "ADDS": True, "MANY": True, "SKIP": False},
        "lengths, 64-bit offsets": {"LENGTHS": True, "WIDE": True},
    }
    found: list[Form] = []
    for (note, kind), block in itertools.product(kinds.items(), blocks):
        if kind and block != blocks[0]:
            continue
        both = scan | kind | {"BD": block}
        found += [
            Form(backward, "gradients", both | {"T": BACK}, registers(both["WIDE"]), note),
            Form(forward, "replay", both | {"T": STEPS}, {}, note),
        ]
    for block in blocks:
        found.append(Form(forward, "chunk_states", scan | {"BD": block, "T": STEPS}, {}, ""))
        found.append(Form(backward, "chunk_adjoints", scan | {"BD": block, "T": STEPS}, {}, ""))
    gate = {"T": GATED, "BD": 64}
    found.append(Form("medssm.ops.scan.triton_gate", "gate_gradients", gate, {"num_warps": 4}, ""))
    carry = {"SAVE": True, "INITIAL": True, "U": AHEAD, "BE": CARRIED}
    for reverse in (False, True):
        found.append(Form(forward, "carry", carry | {"REVERSE": reverse}, {"num_warps": 4}, ""))
    conv = {"TABLE": True, "BIAS": True, "SILU": True, "BD": 64}
    module = "medssm.ops.conv.triton_kernels"
    for taps in (4, 8):
        steps, warps_back = tile(taps)
        both = conv | {"TAPS": taps, "T": steps}
        kernels = {"convolve": WARPS, "convolve_gradients": warps_back}
        for name, warps in kernels.items():
            found += [Form(module, name, both, {"num_warps": warps}, f"{taps} taps")]
    return found


def measure(form: Form, architecture: int, dtype: str) -> dict[str, Any]:
    """Compile one form and read its resources from the machine code.

    Returns:
        A row: registers of a thread, bytes that it spills, shared bytes, and counts of shuffles,
        barriers, special-function and atomic operations in the code.
    """
    import importlib

    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from medssm.ops.scan.triton_launch import OPTIONS

    kernel = getattr(importlib.import_module(form.module), form.name)
    constants = {name: v for name, v in form.constants.items() if name in kernel.arg_names}
    signature = {n: _type(n, constants, dtype) for n in kernel.arg_names}
    # pointers, strides and channels are multiples of 16 in a network
    even = [n.endswith(("_ptr", "_b", "_k", "_l")) or n == "channels" for n in kernel.arg_names]
    aligned = {
        (i,): [["tt.divisibility", 16]]
        for i, n in enumerate(kernel.arg_names)
        if even[i] and n not in constants
    }
    source = ASTSource(kernel, signature, constants, aligned)
    made = triton.compile(
        source, target=GPUTarget("cuda", architecture, 32), options=OPTIONS | form.options
    )
    usage, code = machine_code(made.asm["cubin"], Path(triton.__file__).parent)
    counts = {"shuffles": r"\bSHFL", "barriers": r"\bBAR\.", "special": r"\bMUFU",
              "atomics": r"\bATOM|\bRED\b", "spill_loads": r"\bLDL"}  # fmt: skip
    return {
        "kernel": form.name, "note": form.note, "sm": architecture, "type": dtype,
        **{n: constants[n] for n in ("T", "BD", "TAPS", "REVERSE") if n in constants},
        "warps": form.options.get("num_warps", OPTIONS["num_warps"]),
        "registers": number(r"REG:(\d+)", usage), "stack": number(r"STACK:(\d+)", usage),
        "shared": int(made.metadata.shared),
        **{name: len(re.findall(pattern, code)) for name, pattern in counts.items()},
    }  # fmt: skip


def _type(name: str, constants: dict[str, Any], dtype: str) -> str:
    if name in constants:
        return "constexpr"
    if not name.endswith("_ptr"):
        return "i32"
    stem = name.removesuffix("_ptr")
    return "*i32" if stem in TABLES else f"*{dtype}" if stem in STREAMS else "*fp32"


def machine_code(cubin: bytes, package: Path) -> tuple[str, str]:
    """What Triton's own tool says of a kernel: its resources, and its instructions."""
    tool = package / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "kernel.cubin"
        file.write_bytes(cubin)
        run = [subprocess.run([tool, flag, file], capture_output=True, text=True, check=True).stdout
               for flag in ("--dump-resource-usage", "-sass")]  # fmt: skip
    return run[0], run[1]


def number(pattern: str, text: str) -> int:
    """The number that a pattern finds."""
    found = re.search(pattern, text)
    assert found, text
    return int(found[1])


def digest() -> str:
    """A digest of the kernels' sources, to tell whether figures are of these."""
    texts = [file.read_bytes() for file in sorted((ROOT / "medssm" / "ops").glob("*/triton_*.py"))]
    kernels = b"".join(text for text in texts if b"triton.language" in text)
    return hashlib.sha256(kernels).hexdigest()[:16]


def _row(case: tuple[Form, int, str]) -> dict[str, Any]:
    return measure(*case)


def _told(row: dict[str, Any]) -> dict[str, Any]:
    print(json.dumps(row), flush=True)
    return row


def main(arguments: list[str] | None = None) -> int:
    """Compile everything, write the table, and fail where a kernel spills."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", metavar="KERNEL", help="keep the committed rows of the others")
    parser.add_argument("--workers", type=int, default=2)
    chosen = parser.parse_args(arguments)
    os.environ.pop("TRITON_INTERPRET", None)
    import triton

    shapes = [form for form in forms() if chosen.only in (None, form.name)]
    if not shapes:
        parser.error(f"no kernel {chosen.only}; take {', '.join({form.name for form in forms()})}")
    with ProcessPoolExecutor(chosen.workers) as pool:
        cases = itertools.product(shapes, ARCHITECTURES, TYPES)
        rows = list(map(_told, pool.map(_row, cases)))
    if chosen.only:
        before = json.loads(RESULT.read_text(encoding="utf-8"))["kernels"]
        rows = [row for row in before if row["kernel"] != chosen.only] + rows
    head = json.dumps({"triton": triton.__version__, "sources": digest()})
    text = ",\n".join("  " + json.dumps(row) for row in rows)
    RESULT.write_text(f'{head[:-1]}, "kernels": [\n{text}\n]}}\n', encoding="utf-8")
    spilling = [row for row in rows if row["stack"]]
    print(f"{len(rows)} kernels, {len(spilling)} spill")
    return 1 if spilling else 0


if __name__ == "__main__":
    sys.exit(main())
