"""Wavefronts visit every position once, after all that its context sees."""

import numpy as np
import pytest

from tfclic.entropy import wavefront
from tfclic.layers.masked import causal_mask


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 1), (4, 9), (32, 48)])
def test_visits_every_position_after_its_context(size):
    mask = causal_mask(5)
    move = wavefront.slope(mask)
    when = np.full(size, -1)
    for step in range(wavefront.steps(*size, move)):
        rows, columns = wavefront.positions(step, *size, move)
        assert np.all(when[rows, columns] == -1)
        when[rows, columns] = step
    assert when.min() >= 0
    padded = np.pad(when, 2, constant_values=-1)
    for row, column in np.ndindex(size):
        assert padded[row : row + 5, column : column + 5][mask].max() < when[row, column]


def test_a_landscape_image_takes_141_steps():
    assert wavefront.steps(32, 48, wavefront.slope(causal_mask(5))) == 141
