"""A bundle comes to its place once it is whole, and a failed proof leaves nothing new."""

import pytest

from medssm.bundle import proof
from medssm.bundle.folder import check_free, put_together
from medssm.core.errors import MedssmError, UsageError


def _fill(folder):
    (folder / "configs").mkdir(parents=True)
    (folder / "configs" / "metadata.json").write_text("{}")


def test_a_bundle_is_put_in_place_with_the_figures_of_its_proof(tmp_path, monkeypatch):
    monkeypatch.setattr(proof, "check_tools", lambda: None)
    output = tmp_path / "new" / "bundle"
    figures = put_together(output, _fill, lambda _: {"cases": 3}, lambda found: f"{found}")
    assert figures == {"cases": 3}
    assert (output / "docs" / "README.md").read_text() == "{'cases': 3}"
    assert [path.name for path in output.parent.iterdir()] == ["bundle"]


def test_a_failed_proof_leaves_the_former_bundle_as_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr(proof, "check_tools", lambda: None)
    output = tmp_path / "bundle"
    put_together(output, _fill, None, lambda _: "former")

    def refuse(folder):
        assert folder != output
        raise MedssmError("answers differ")

    with pytest.raises(MedssmError, match="differ"):
        put_together(output, _fill, refuse, lambda _: "new")
    assert (output / "docs" / "README.md").read_text() == "former"
    assert list(tmp_path.iterdir()) == [output]


def test_only_a_bundle_makes_way_and_only_when_asked(tmp_path):
    bundle, other = tmp_path / "bundle", tmp_path / "other"
    check_free(bundle, force=False)
    put_together(bundle, _fill, None, lambda _: "")
    other.mkdir()
    with pytest.raises(UsageError, match="--force"):
        check_free(bundle, force=False)
    check_free(bundle, force=True)
    with pytest.raises(UsageError, match="no bundle"):
        check_free(other, force=True)
    packed = tmp_path / "bundle.zip"
    packed.mkdir()
    with pytest.raises(UsageError, match="a folder and no bundle"):
        check_free(packed, force=True)
