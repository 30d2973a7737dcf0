import numpy as np

from tfclic.format import interface
from tfclic.runtime import canvas

SIDE, ACROSS, DOWN = 8, 5, 12  # latents, tiles


def _boxes():
    corners = np.stack(np.meshgrid(range(DOWN), range(ACROSS), indexing="ij"), -1).reshape(-1, 2)
    return np.concatenate([SIDE * corners, np.full_like(corners, SIDE)], 1)


def _latents():
    """As many as there are pixels, each another one."""
    return np.arange(SIDE * DOWN * SIDE * ACROSS).reshape(SIDE * DOWN, SIDE * ACROSS, 1)


def _cut(array, box):
    top, left, height, width = box
    return array[top : top + height, left : left + width]


class Source:
    """What a shelf reads, and how far it went."""

    def __init__(self):
        self.read, self.latents, self.hyper_latents = [], _latents(), -_latents()[::4, ::4]

    def __call__(self, several):
        for tile in several:
            self.read.append(tile)
            box = _boxes()[tile]
            yield interface.Coded(_cut(self.latents, box), _cut(self.hyper_latents, box // 4))


def _around(box, margin=4):
    start = np.maximum(box[:2] - margin, 0)
    end = np.minimum(box[:2] + box[2:] + margin, [SIDE * DOWN, SIDE * ACROSS])
    return np.concatenate([start, end - start])


def test_a_shelf_has_what_lies_in_boxes_and_reads_each_tile_once():
    source = Source()
    shelf = canvas.Shelf(_boxes(), range(ACROSS * DOWN), source)
    for box in _boxes():
        seen = _around(box)
        taken = shelf.take(seen)
        np.testing.assert_array_equal(taken.latents, _cut(source.latents, seen))
        np.testing.assert_array_equal(taken.hyper_latents, _cut(source.hyper_latents, seen // 4))
    assert source.read == list(range(ACROSS * DOWN))


def test_a_shelf_reads_little_ahead_and_keeps_little(monkeypatch):
    monkeypatch.setattr(canvas.machine, "cores", lambda: 2)
    source = Source()
    shelf = canvas.Shelf(_boxes(), range(ACROSS * DOWN), source)
    for tile, box in enumerate(_boxes()):
        shelf.take(_around(box))
        # the neighbour below and to the right, and two for each core
        assert len(source.read) <= tile + ACROSS + 2 + 4
        assert min(shelf._held) // ACROSS >= tile // ACROSS - 1


def test_a_shelf_of_a_part_reads_no_other_tile():
    source = Source()
    part = np.array([2 * SIDE, SIDE, 3 * SIDE, 2 * SIDE])
    tiles_there = [row * ACROSS + column for row in (2, 3, 4) for column in (1, 2)]
    taken = canvas.Shelf(_boxes(), tiles_there, source).take(part)
    np.testing.assert_array_equal(taken.latents, _cut(source.latents, part))
    assert source.read == tiles_there
