"""Where tiles are, in Python's integers, numpy's arrays and TensorFlow's tensors."""

import numpy as np
import pytest
import tensorflow as tf

from tfclic.export import tiling
from tfclic.format import boxes
from tfclic.format.latents import MULTIPLE
from tfclic.runtime import canvas


def test_margins_are_whole_hyper_latents():
    assert boxes.MARGIN % MULTIPLE == 0


@pytest.mark.parametrize(
    "length, longest, side",
    [(1, 1024, 64), (1024, 1024, 1024), (1040, 1024, 576), (2049, 1024, 704)],
)
@pytest.mark.parametrize("kind", [int, np.int32, tf.constant])
def test_sides_are_cut_into_equal_parts(length, longest, side, kind):
    assert int(boxes.tile_side(kind(length), kind(longest))) == side


@pytest.mark.parametrize("length, tile", [(1, 64), (300, 128), (448, 448), (450, 192)])
def test_spans_are_the_same_of_every_kind(length, tile):
    starts = np.arange(0, length, tile, dtype=np.int32)
    single = [boxes.spans(int(start), length, tile) for start in starts]
    together = np.array(boxes.spans(starts, length, tile))
    np.testing.assert_array_equal(np.moveaxis(single, 0, -1), together)
    graph = tf.function(lambda start: boxes.spans(start, length, tile, tf))
    np.testing.assert_array_equal(np.array(graph(tf.constant(starts))), together)


@pytest.mark.parametrize("reach", [None, 40, 116])
@pytest.mark.parametrize("height, width", [(130, 300), (64, 65), (1, 1000)])
def test_a_decoder_looks_around_a_tile_as_the_graph_does(height, width, reach):
    layout = tiling.layout(height, width, 64, 128, reach)
    whole = canvas.hull(layout.coded.numpy())
    for core, seen in zip(layout.core.numpy(), layout.seen.numpy()):
        margin = boxes.MARGIN if reach is None else reach
        assert canvas.latents_around(core, whole, margin).tolist() == seen.tolist()


@pytest.mark.parametrize("convert", [np.array, tf.constant])
def test_boxes_lie_and_are_cut_in_others(convert):
    frame, box = convert([[8, 4, 20, 30]]), convert([[10, 9, 3, 2]])
    (inside,) = boxes.relative(box, frame)
    assert np.array(inside).tolist() == [2, 5, 3, 2]
    array = np.arange(600).reshape(20, 30, 1)
    expected = array[2:5, 5:7]
    np.testing.assert_array_equal(boxes.crop(convert(array), inside), expected)
