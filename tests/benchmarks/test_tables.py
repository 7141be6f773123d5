"""The figures in the documentation are those of the results."""

import pytest

from benchmarks import tables


@pytest.mark.parametrize("page", tables.PAGES, ids=lambda page: page.name)
def test_a_page_says_what_the_results_say(page):
    text = page.read_text(encoding="utf-8")
    assert tables.render(text) == text


def test_every_block_of_the_pages_is_filled_and_every_table_has_its_block():
    pages = "".join(page.read_text(encoding="utf-8") for page in tables.PAGES)
    blocks = [match[2] for match in tables._BLOCK.finditer(pages)]
    assert sorted(blocks) == sorted(tables._TABLES)


def test_a_part_without_results_names_the_command(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    page = tables.render("<!-- figures: gpu -->\nold\n<!-- end -->")
    assert "python -m benchmarks --gpu" in page
    assert "old" not in page
