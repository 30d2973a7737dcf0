"""Where tiles are."""

import numpy as np
import pytest

from tfclic.export import tiling
from tfclic.format.boxes import count


@pytest.mark.parametrize("height, width", [(130, 300), (64, 65), (1, 1000), (448, 448)])
@pytest.mark.parametrize("tile_height, tile_width", [(64, 64), (128, 192), (4096, 4096)])
def test_cores_cover_every_pixel_once(height, width, tile_height, tile_width):
    layout = tiling.layout(height, width, tile_height, tile_width)
    pixels = np.zeros([height, width], int)
    latents = np.zeros([-(-height // 64) * 4, -(-width // 64) * 4], int)
    for covered, boxes in ((pixels, layout.core), (latents, layout.coded)):
        for top, left, h, w in boxes.numpy():
            covered[top : top + h, left : left + w] += 1
        assert np.all(covered == 1)
    assert len(layout.core) == count(height, width, tile_height, tile_width)


def test_windows_reach_as_far_as_the_margin_and_no_farther_than_the_image():
    layout = tiling.layout(200, 400, 64, 128)
    window, seen = (dict(zip(map(tuple, layout.core.numpy()), x.numpy())) for x in layout[1::2])
    assert window[(0, 0, 64, 128)].tolist() == [0, 0, 128, 192]
    assert window[(64, 128, 64, 128)].tolist() == [0, 64, 192, 256]
    assert window[(192, 384, 8, 16)].tolist() == [128, 320, 72, 80]
    assert seen[(64, 128, 64, 128)].tolist() == [0, 4, 12, 16]
    assert seen[(192, 384, 8, 16)].tolist() == [8, 20, 8, 8], "of the image extended to 256x448"


def test_tiles_of_unequal_size_are_assembled():
    whole = np.arange(7 * 10).reshape([7, 10, 1])
    parts = [whole[top : top + 4, left : left + 4] for top in (0, 4) for left in (0, 4, 8)]
    padded = [np.pad(p, [(0, 4 - p.shape[0]), (0, 4 - p.shape[1]), (0, 0)]) for p in parts]
    np.testing.assert_array_equal(tiling.assemble(np.stack(padded), 7, 10, 2), whole)
