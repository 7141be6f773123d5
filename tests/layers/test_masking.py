import pytest
import torch

from medssm.core.errors import BadArgumentError
from medssm.layers.masking import (
    gather_tokens,
    kept_cells,
    random_visible,
    scatter_tokens,
    visible_from_ids,
)


def test_every_sample_sees_the_share_that_was_asked_for() -> None:
    visible = random_visible(3, (4, 3, 2), 0.75, torch.Generator().manual_seed(1))
    assert visible.ids.shape == (3, 6)
    assert visible.flat.sum(dim=1).tolist() == [6, 6, 6]
    assert not torch.equal(visible.ids[0], visible.ids[1])


def test_a_generator_repeats_the_mask() -> None:
    first, again = (
        random_visible(2, (6, 6), 0.6, torch.Generator().manual_seed(4)) for _ in range(2)
    )
    assert torch.equal(first.cells, again.cells)


def test_finer_grids_repeat_whole_cells() -> None:
    visible = visible_from_ids(torch.tensor([[1, 2]]), (2, 2))
    fine = visible.at((4, 6))[0, ..., 0]
    assert fine[:2, 3:].all()
    assert fine[2:, :3].all()
    assert fine.sum() == 12


def test_a_map_that_is_no_multiple_of_the_cells_is_refused() -> None:
    with pytest.raises(BadArgumentError, match="multiples of the cells"):
        visible_from_ids(torch.tensor([[0]]), (2, 2)).at((4, 5))


@pytest.mark.parametrize("ratio", [-0.1, 0.0, 0.01, 1.0, 1.5])
def test_a_ratio_that_hides_nothing_or_all_is_refused(ratio: float) -> None:
    with pytest.raises(BadArgumentError, match="mask ratio"):
        kept_cells(8, ratio)


def test_tokens_go_out_and_back() -> None:
    tokens = torch.randn(2, 5, 3)
    ids = torch.tensor([[0, 4], [1, 2]])
    back = scatter_tokens(gather_tokens(tokens, ids), ids, 5)
    seen = visible_from_ids(ids, (5,)).flat
    assert torch.equal(back[seen], tokens[seen])
    assert back[~seen].abs().sum() == 0
