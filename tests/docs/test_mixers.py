import re
from pathlib import Path

from medssm.layers.mixers import MIXERS

PAGE = (Path(__file__).parents[2] / "docs" / "mixers.md").read_text(encoding="utf-8")


def test_the_page_lists_every_mixer_and_no_other():
    rows = [line.split("|")[1] for line in PAGE.splitlines() if line.startswith("| `")]
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == set(MIXERS)
