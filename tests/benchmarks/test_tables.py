"""The figures in the documentation are those of the results."""

from benchmarks import tables


def test_the_page_says_what_the_results_say():
    page = tables.PAGE.read_text(encoding="utf-8")
    assert tables.render(page) == page


def test_every_block_of_the_page_is_filled_and_every_table_has_its_block():
    page = tables.PAGE.read_text(encoding="utf-8")
    blocks = [match[2] for match in tables._BLOCK.finditer(page)]
    assert sorted(blocks) == sorted(tables._TABLES)


def test_a_part_without_results_names_the_command(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    page = tables.render("<!-- figures: gpu -->\nold\n<!-- end -->")
    assert "python -m benchmarks --gpu" in page
    assert "old" not in page
