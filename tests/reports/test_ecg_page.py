"""The ECG page: a ruler on it is right, and it says what is missing."""

import re

import matplotlib.image
import numpy as np
import pytest

from medssm.core.errors import BadArgumentError
from medssm.data.ecg.leads import LEADS
from medssm.data.ecg.synthetic import synthetic_signal
from medssm.data.findings import Finding
from medssm.reports.ecg_page import DPI, LEFT_MM, PAGE_MM, ROWS_MM, EcgPage, figure_of, render_page

PX = DPI / 25.4


def _page(signal, **more):
    return EcgPage(signal, LEADS, 500.0, "record", **more)


def _ink(file):
    """Dark pixels, row 0 at the lower edge."""
    picture = matplotlib.image.imread(file)[::-1, :, :3]
    return picture.max(axis=2) < 0.45


def _impulses():
    """One mV for 40 ms at every second, in all leads."""
    signal = np.zeros((12, 5000), np.float32)
    for second in range(1, 10):
        signal[:, 500 * second : 500 * second + 20] = 1.0
    return signal


def test_png_has_the_pixels_of_a4_at_its_resolution(tmp_path):
    file = render_page(_page(_impulses()), tmp_path / "page.png")
    height, width = matplotlib.image.imread(file).shape[:2]
    assert (width / PX, height / PX) == PAGE_MM
    raw = file.read_bytes()
    at = raw.index(b"pHYs")
    per_metre = int.from_bytes(raw[at + 4 : at + 8], "big")
    assert abs(per_metre * 0.0254 - DPI) < 0.05


def test_pdf_page_is_a4_to_a_tenth_of_a_millimetre(tmp_path):
    file = render_page(_page(_impulses()), tmp_path / "page.pdf")
    box = re.search(rb"/MediaBox \[([^\]]*)\]", file.read_bytes())
    values = np.array(box[1].split(), float) / 72 * 25.4
    np.testing.assert_allclose(values, [0, 0, *PAGE_MM], atol=0.1)


def test_a_second_is_25_mm_and_a_millivolt_10_mm(tmp_path):
    ink = _ink(render_page(_page(_impulses()), tmp_path / "page.png"))
    base = round(ROWS_MM[3] * PX)
    # half way up only the flanks of impulses are dark
    row = ink[base + round(5 * PX)]
    flanks = np.flatnonzero(row & ~np.roll(row, 1)) / PX
    flanks = flanks[flanks > LEFT_MM]
    assert len(flanks) == 18
    np.testing.assert_allclose(flanks[::2], LEFT_MM + 25 * np.arange(1, 10), atol=0.3)
    column = ink[base - 50 : base + 150, round((LEFT_MM + 25 + 0.5) * PX)]
    top = np.flatnonzero(column).max() - 50
    assert abs(top / PX - 10) < 0.2


def test_the_calibration_pulse_is_ten_by_five_millimetres(tmp_path):
    ink = _ink(render_page(_page(np.zeros((12, 5000))), tmp_path / "page.png"))
    base = round(ROWS_MM[0] * PX)
    area = ink[base - 20 : base + 150, : round((LEFT_MM - 2) * PX)]
    rows, columns = np.nonzero(area)
    assert abs((rows.max() - rows.min()) / PX - 10) < 0.4
    assert abs((columns.max() - columns.min()) / PX - 5) < 0.4


def test_the_grid_has_a_line_every_millimetre(tmp_path):
    picture = matplotlib.image.imread(
        render_page(_page(np.zeros((12, 5000))), tmp_path / "page.png")
    )[::-1]
    row = picture[round(62.5 * PX), round(100 * PX) : round(200 * PX), 1]
    lines = np.flatnonzero((row < np.roll(row, 1)) & (row <= np.roll(row, -1)) & (row < 0.97))
    np.testing.assert_allclose(np.diff(lines), 10, atol=1)
    assert 99 <= len(lines) <= 101


def test_leads_stand_where_cardiologists_look_for_them():
    figure = figure_of(_page(_impulses()))
    places = {
        text.get_text(): text.get_position()
        for text in figure.axes[0].texts
        if text.get_text() in LEADS
    }
    assert set(places) == set(LEADS)
    column = {name: round((x - LEFT_MM - 1) / 62.5) for name, (x, _) in places.items()}
    assert [n for n in LEADS if column[n] == 1] == ["aVR", "aVL", "aVF"]
    assert [n for n in LEADS if column[n] == 3] == ["V4", "V5", "V6"]


def test_a_missing_lead_is_named_as_such():
    signal = synthetic_signal(frozenset(["NSR"]), np.random.default_rng(0))
    signal[LEADS.index("V3")] = 0
    texts = [each.get_text() for each in figure_of(_page(signal)).axes[0].texts]
    assert "V3 (no signal)" in texts
    assert "V2" in texts


def test_labels_findings_and_the_notice_are_on_the_page():
    finding = Finding("r", "r.hea", "flat", "warning", "V3", "a signal", "")
    page = _page(_impulses(), labels=[("AF", 0.93, True), ("NSR", 0.04, False)], findings=[finding])
    texts = [each.get_text() for each in figure_of(page).axes[0].texts]
    assert "● AF  0.93" in texts
    assert "○ NSR  0.04" in texts
    assert "flat: V3" in texts
    assert any("Not a medical device" in text for text in texts)


def test_saliency_colours_the_time_it_is_about(tmp_path):
    saliency = np.zeros((12, 5000))
    saliency[:, 2000:2100] = 1.0
    plain = matplotlib.image.imread(render_page(_page(_impulses()), tmp_path / "a.png"))
    coloured = render_page(_page(_impulses(), saliency=saliency), tmp_path / "b.png")
    changed = np.abs(matplotlib.image.imread(coloured) - plain).max(axis=2)[::-1] > 0.1
    strip = changed[round((ROWS_MM[3] - 10) * PX)]
    columns = np.flatnonzero(strip) / PX
    assert columns.min() > LEFT_MM + 25 * 3.95
    assert columns.max() < LEFT_MM + 25 * 4.25


def test_the_same_page_gives_the_same_file(tmp_path):
    for ending in ("pdf", "png"):
        files = [render_page(_page(_impulses()), tmp_path / f"{i}.{ending}") for i in range(2)]
        assert files[0].read_bytes() == files[1].read_bytes()


def test_short_records_and_other_rates_are_drawn(tmp_path):
    page = EcgPage(np.ones((2, 150)), ("I", "II"), 50.0, "short")
    assert render_page(page, tmp_path / "page.pdf").stat().st_size > 1000


@pytest.mark.parametrize(
    ("page", "name"),
    [
        (EcgPage(np.zeros((3, 100)), ("I", "II"), 100.0, "r"), "a.png"),
        (EcgPage(np.zeros((2, 100)), ("I", "II"), 100.0, "r", saliency=np.zeros((2, 9))), "a.png"),
        (EcgPage(np.zeros((2, 100)), ("I", "II"), 100.0, "r"), "a.svg"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, page, name):
    with pytest.raises(BadArgumentError):
        render_page(page, tmp_path / name)
