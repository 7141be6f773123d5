"""The model card: every number of the report, in tables that Markdown can read."""

from medssm.reports.card import model_card
from medssm.reports.html import Page, Table

PAGE = Page(
    title="Segmentation report: Dataset001_Cubes",
    subtitle="4 cases",
    figures=[("Dice", "0.911", "[0.900, 0.920]")],
    warnings=["case_1 could not\nbe compared"],
    tables=[
        Table("By label", ["label", "Dice"], [["organ|core", "0.912"]]),
        Table("By case", ["case", "Dice"], [["patient_7", "0.900"]]),
    ],
    definitions=[("Dice", "Twice the common voxels.")],
    facts=[("Model and plan", [("network", "lightm_unet")])],
    command="medssm evaluate predictions",
)


def test_the_card_tells_results_warnings_facts_and_definitions():
    card = model_card(PAGE)
    for phrase in ("0.911", "0.912", "case_1 could not be compared", "lightm_unet",
                   "Twice the common voxels.", "medssm evaluate predictions"):  # fmt: skip
        assert phrase in card


def test_single_cases_stay_out_of_a_card_that_travels():
    assert "patient_7" not in model_card(PAGE)


def test_a_bar_in_a_name_does_not_break_the_table():
    row = next(line for line in model_card(PAGE).splitlines() if "organ" in line)
    assert row == "| organ\\|core | 0.912 |"
