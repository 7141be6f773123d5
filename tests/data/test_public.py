"""Manifests of public data sets are complete, and a slip in one is named."""

import re

import pytest

from medssm.core.errors import UsageError
from medssm.core.resources import manifests_folder
from medssm.data.labels import read_labels
from medssm.data.public import public_datasets, read_public
from medssm.data.published import PUBLISHED
from medssm.runs.compose import groups


def test_every_manifest_is_readable_and_its_labels_follow_the_rules():
    found = public_datasets()
    assert found.keys() == {file.stem for file in manifests_folder().glob("*.yaml")}
    for name, dataset in found.items():
        # classes of a whole image have no background
        if dataset.field != "segmentation":
            assert list(dataset.labels.values()) == list(range(len(dataset.labels))), name
            continue
        assert read_labels({"labels": dict(dataset.labels)}, name).foreground


def test_every_licence_is_a_name_or_says_that_it_is_unconfirmed_and_where_to_read():
    for name, dataset in public_datasets().items():
        known = re.fullmatch(r"CC0-1\.0|CC-BY(-NC)?(-ND|-SA)?-[34]\.0", dataset.licence)
        assert known or re.match(r"unconfirmed: .{40}", dataset.licence), name


def test_a_mistyped_key_gets_the_nearest(tmp_path):
    source = manifests_folder() / "msd_task04_hippocampus.yaml"
    file = tmp_path / "x.yaml"
    file.write_text(source.read_text().replace("licence:", "license:"))
    with pytest.raises(UsageError, match="did you mean 'licence'"):
        read_public(file)


def test_every_layout_and_recipe_of_a_manifest_is_there_and_none_is_forgotten():
    recipes = groups()["experiment"]
    named = [recipe for dataset in public_datasets().values() for recipe in dataset.recipes]
    assert sorted([*named, "hippocampus"]) == recipes
    layouts = {dataset.layout for dataset in public_datasets().values()}
    assert set(PUBLISHED) <= layouts
    for name, dataset in public_datasets().items():
        assert dataset.import_command.startswith(f"medssm import {dataset.layout} "), name
        if dataset.layout in PUBLISHED:
            assert dataset.steps, name
            assert dataset.splits, name


def test_every_archive_says_what_is_in_it_how_to_get_it_and_what_must_not_be_seen():
    archives = [each for each in public_datasets().values() if each.layout == "archive"]
    assert len(archives) >= 9
    for dataset in archives:
        assert dataset.field == "pretraining"
        for text in (dataset.content, dataset.downstream, *dataset.steps):
            assert len(text) > 40, dataset.name
