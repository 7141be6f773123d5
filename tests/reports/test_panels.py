import base64
import io

import imageio.v3 as imageio
import numpy as np

from medssm.reports.panels import Panel, grid_address, lines_address


def _pixels(address):
    head, _, text = address.partition(",")
    assert head == "data:image/png;base64"
    return imageio.imread(io.BytesIO(base64.b64decode(text)))[..., :3]


def test_every_pixel_of_a_panel_is_shown_on_its_window():
    image = np.zeros((23, 23))
    image[0, 0], image[22, 22] = 5.0, 10.0
    pixels = _pixels(grid_address([[Panel("a", image, (0, 10))]]))
    # 23 pixels ten times, a title above, a gap beside
    assert pixels.shape == (230 + 24, 230 + 6, 3)
    assert (pixels[24:34, 0:10] == 127).mean() > 0.9 or (pixels[24:34, 0:10] == 128).mean() > 0.9
    assert (pixels[-10:, 220:230] == 255).all()
    assert (pixels[100:150, 100:150] == 0).all()


def test_values_beyond_the_window_are_cut():
    image = np.array([[-5.0, 50.0]])
    pixels = _pixels(grid_address([[Panel("a", image, (0, 10))]]))
    assert (pixels[-5, 10] == 0).all()
    assert (pixels[-5, 200] == 255).all()


def test_rows_of_different_length_share_one_grid():
    one, two = (
        Panel("a", np.ones((40, 30)), (0, 1)),
        Panel("b", np.zeros((40, 30)), (0, 1), "magma"),
    )
    pixels = _pixels(grid_address([[one], [two, two]]))
    assert pixels.shape == (2 * (40 * 6 + 24), 2 * (30 * 6 + 6), 3)
    # where the first row has no panel the page shows through
    assert (pixels[30:200, 200:] == 255).all()


def test_lines_are_drawn_for_every_series():
    few = _pixels(lines_address([0, 1, 2], {"a": [1, 2, 3]}, "slice"))
    many = _pixels(lines_address([0, 1, 2], {"a": [1, 2, 3], "b": [3, 2, 1]}, "slice"))
    assert few.shape == many.shape
    assert (few != many).any()
