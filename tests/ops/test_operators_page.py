"""The examples of docs/operators.md run as they stand there."""

import re
from pathlib import Path

import torch

PAGE = Path(__file__).parents[2] / "docs" / "operators.md"


def test_the_examples_run_one_after_the_other():
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 4
    torch.compiler.reset()  # what other tests compiled would close the length
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    assert names["y"].shape == (2, 32)
    assert "scan" in {str(node.target) for node in names["program"].graph.nodes}
