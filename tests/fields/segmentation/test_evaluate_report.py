"""The report is one valid page that needs nothing else, in a parser and in a real browser."""

import base64
import re
import shutil
import subprocess
from html.parser import HTMLParser
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest

from medssm.fields.segmentation import report
from medssm.fields.segmentation.evaluate import EvaluateConfig, evaluate

CASES = 5
VOID = {"meta", "img", "br", "link", "input", "hr"}


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The report of a small evaluation with a comparison and one damaged case."""
    root = tmp_path_factory.mktemp("report")
    for place, shift in (("labels", 0), ("predictions", 1), ("others", 2), ("images", 0)):
        (root / place).mkdir()
        for number in range(CASES):
            voxels = np.zeros((24, 20, 12), dtype=np.uint8)
            voxels[5 : 12 + number, 5:14, 3:9] = 1
            voxels = np.roll(voxels, shift, 1)
            image = nibabel.Nifti1Image(voxels, np.diag([1.0, 1.0, 2.0, 1.0]))
            nibabel.save(image, root / place / f"<b>&case_{number}.nii.gz")
    bad = root / "predictions" / "<b>&case_0.nii.gz"
    bad.write_bytes(bad.read_bytes()[:40])
    config = EvaluateConfig(
        predictions=root / "predictions", references=root / "labels", against=root / "others",
        overlays=2,
    )  # fmt: skip
    return evaluate(config).report


class _Checker(HTMLParser):
    """Collects what a page refers to, and whether its elements close in order."""

    def __init__(self):
        super().__init__()
        self.open, self.addresses, self.pictures, self.problems = [], [], [], []
        self.words = []

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.addresses += [found[key] for key in ("src", "href", "action") if key in found]
        if tag == "img":
            self.pictures.append(found)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.problems.append(tag)

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="module")
def parsed(page):
    checker = _Checker()
    checker.feed(page.read_text(encoding="utf-8"))
    return checker


def test_every_element_is_closed_in_order(parsed):
    assert (parsed.problems, parsed.open) == ([], [])


def test_nothing_is_loaded_from_elsewhere(page, parsed):
    assert all(address.startswith("data:image/png;base64,") for address in parsed.addresses)
    assert not re.search(r"https?://|@import|url\(", page.read_text(encoding="utf-8"))


def test_best_median_and_worst_cases_are_shown_with_a_text_for_those_who_cannot_see(parsed):
    assert len(parsed.pictures) == 4
    for picture in parsed.pictures:
        content = base64.b64decode(picture["src"].split(",")[1])
        assert content.startswith(b"\x89PNG")
        assert "Dice" in picture["alt"]
    titles = " ".join(picture["alt"] for picture in parsed.pictures)
    assert all(word in titles for word in ("Worst", "Median", "Best"))


@pytest.mark.parametrize(
    ("cases", "titles"),
    [
        (1, ["Worst"]),
        (2, ["Worst", "Best"]),
        (3, ["Worst", "Median", "Best"]),
        (9, ["Worst", "Worst", "Worst", "Median", "Best"]),
    ],
)
def test_few_cases_too_show_the_best_and_the_median(cases, titles, monkeypatch):
    monkeypatch.setattr(report, "_draw", lambda *_: "")
    monkeypatch.setattr(report, "_by_label", lambda _: [])
    ranked = [SimpleNamespace(case=str(n), mean=lambda _: 0.5) for n in range(cases)]
    shown = [each.title.partition(":")[0] for each in report._pictures(ranked, None, [], 3)]
    assert shown == titles


def test_numbers_stand_beside_their_definitions_and_the_command(parsed):
    text = " ".join(parsed.words)
    for phrase in ("weighted by their area", "diagonal of the image", "bootstrap", "Wilcoxon",
                   "medssm evaluate", "tolerance_mm=1", "Environment"):  # fmt: skip
        assert phrase in text


def test_names_of_cases_cannot_inject_markup(page, parsed):
    assert "b" not in parsed.open
    assert "<b>&case" not in page.read_text(encoding="utf-8")
    assert "<b>&case_0" in " ".join(parsed.words)


def test_a_browser_draws_the_page_and_sorts_its_tables(page, tmp_path):
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    if browser is None:
        pytest.skip("Chromium is not installed; the parser tests stand for it")
    text = page.read_text(encoding="utf-8")
    probe = """<script>
    const table = [...document.querySelectorAll("table")].at(-1);
    const dice = () => [...table.tBodies[0].rows].map(row => parseFloat(row.cells[1].textContent));
    const button = table.querySelectorAll("th button")[1]; button.click();
    const up = dice(); button.click(); const down = dice();
    const sorted = list => list.every((x, i) => i === 0 || list[i - 1] <= x);
    const drawn = [...document.images].every(image => image.complete && image.naturalWidth > 50);
    const wide = document.documentElement.scrollWidth <= window.innerWidth;
    document.title = ["verdict", sorted(up), sorted(down.reverse()), drawn, wide].join(" ");
    </script></body>"""
    copy = tmp_path / "report.html"
    copy.write_text(text.replace("</body>", f"<div></div>{probe}"), encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--window-size=1000,900",
             f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=3000"]  # fmt: skip
    seen = subprocess.run(
        [browser, *flags, "--dump-dom", copy.as_uri()],
        capture_output=True,
        check=False,
        text=True,
        timeout=120,
    )
    title = re.search(r"<title>(.*?)</title>", seen.stdout)
    assert title is not None, seen.stderr[-2000:]
    assert title[1] == "verdict true true true true"
