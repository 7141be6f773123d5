import pytest
import torch

from medssm.layers.masking import random_visible, visible_from_ids
from medssm.losses.masked_cells import (
    cell_targets,
    from_cells,
    masked_cell_loss,
    restored,
    to_cells,
)


@pytest.mark.parametrize(("grid", "size"), [((3, 2), (12, 6)), ((2, 3, 1), (4, 9, 5))])
def test_cells_go_out_and_back(grid: tuple[int, ...], size: tuple[int, ...]) -> None:
    image = torch.randn(2, 3, *size)
    assert torch.equal(from_cells(to_cells(image, grid), grid, size), image)


def test_predicting_the_mean_costs_the_baseline() -> None:
    image = torch.randn(2, 1, 8, 8, 8)
    visible = random_visible(2, (2, 2, 2), 0.75, torch.Generator().manual_seed(0))
    cost = masked_cell_loss(torch.zeros_like(image), image, visible.cells)
    assert float(cost.loss) == pytest.approx(63 / 64, abs=1e-4)
    assert float(cost.loss) == pytest.approx(float(cost.baseline))


def test_the_target_costs_nothing_and_restores_the_image() -> None:
    image = torch.rand(2, 1, 8, 8)
    visible = random_visible(2, (2, 2), 0.5, torch.Generator().manual_seed(0))
    right = from_cells(cell_targets(image, (2, 2)).values, (2, 2), (8, 8))
    assert float(masked_cell_loss(right, image, visible.cells).loss) < 1e-9
    torch.testing.assert_close(restored(right, image, visible.cells), image)


def test_constant_cells_do_not_look_like_progress() -> None:
    image = torch.rand(1, 1, 8, 8)
    image[..., 4:] = 0.25  # the second column of cells is air
    visible = visible_from_ids(torch.tensor([[0]]), (2, 2))
    guess = torch.zeros_like(image)
    cost = masked_cell_loss(guess, image, visible.cells)
    published = masked_cell_loss(guess, image, visible.cells, skip_constant=False)
    assert float(cost.skipped) == pytest.approx(2 / 3)
    assert float(published.loss) == pytest.approx(float(cost.loss) / 3)


def test_a_batch_of_air_costs_zero_and_has_finite_gradients() -> None:
    image = torch.zeros(1, 1, 8, 8)
    guess = torch.randn(1, 1, 8, 8, requires_grad=True)
    visible = visible_from_ids(torch.tensor([[0]]), (2, 2))
    cost = masked_cell_loss(guess, image, visible.cells)
    cost.loss.backward()
    assert float(cost.loss.detach()) == 0
    assert float(cost.skipped) == 1
    assert guess.grad.abs().sum() == 0
