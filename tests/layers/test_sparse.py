import pytest
import torch
from torch import Tensor, nn

from medssm.layers.masking import gather_tokens, random_visible, scatter_tokens
from medssm.layers.mixers import MIXERS, build_mixer
from medssm.layers.sparse import hide, mix_visible
from tests.support.tiny import TINY_MIXERS

GRID = (4, 4, 4)
NAMES = sorted({MIXERS[name]: name for name in sorted(MIXERS)}.values())
SCANNED = ("mamba", "vim", "segmamba", "cross_scan")
"""Mixers whose scan must have as many steps as there are visible tokens."""


@pytest.fixture
def tokens() -> Tensor:
    return torch.randn(2, 64, 32, generator=torch.Generator().manual_seed(0))


def masked(mixer: nn.Module, tokens: Tensor) -> Tensor:
    visible = random_visible(2, GRID, 0.75, torch.Generator().manual_seed(1))
    made = mix_visible(mixer, gather_tokens(tokens, visible.ids), visible)
    return scatter_tokens(made, visible.ids, 64)


def build(name: str) -> nn.Module:
    torch.manual_seed(0)
    return build_mixer({"name": name, **TINY_MIXERS[name]}, 32, 3).eval()


@pytest.mark.parametrize("name", NAMES)
def test_what_is_hidden_never_reaches_what_is_seen(name: str, tokens: Tensor) -> None:
    visible = random_visible(2, GRID, 0.75, torch.Generator().manual_seed(1))
    other = torch.where(visible.flat.unsqueeze(-1), tokens, torch.randn_like(tokens))
    mixer = build(name)
    made = masked(mixer, tokens)
    assert made.isfinite().all()
    assert torch.equal(made, masked(mixer, other))


@pytest.mark.parametrize("name", SCANNED)
def test_hidden_tokens_are_not_scanned(
    name: str, tokens: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    import medssm.layers.mixers.branches as branches
    import medssm.layers.mixers.mamba as mamba
    import medssm.layers.mixers.routed_scan as routed
    import medssm.layers.sparse as sparse

    lengths = []
    for module in (branches, mamba, routed, sparse):
        scan = module.selective_scan if hasattr(module, "selective_scan") else None
        if scan is None:
            continue

        def counted(u: Tensor, *arguments: object, _scan=scan, **named: object) -> Tensor:
            lengths.append(u.shape[-2])
            return _scan(u, *arguments, **named)

        monkeypatch.setattr(module, "selective_scan", counted)
    masked(build(name), tokens)
    assert lengths == [16]


@pytest.mark.parametrize("name", ["vim", "segmamba", "cross_scan"])
def test_seeing_all_is_the_dense_mixer(name: str, tokens: Tensor) -> None:
    from medssm.layers.masking import visible_from_ids

    mixer = build(name)
    everything = visible_from_ids(torch.arange(64).expand(2, -1), GRID)
    dense = mixer(tokens.view(2, *GRID, 32)).flatten(1, -2)
    torch.testing.assert_close(mix_visible(mixer, tokens, everything), dense, rtol=1e-4, atol=1e-5)


def test_hide_leaves_the_visible_part_untouched() -> None:
    visible = random_visible(2, (2, 2), 0.5, torch.Generator().manual_seed(1))
    x = torch.randn(2, 4, 4, 3)
    seen = visible.at((4, 4)).expand_as(x)
    assert torch.equal(hide(x, visible)[seen], x[seen])
    assert hide(x, visible)[~seen].abs().sum() == 0
    assert hide(x, None) is x
