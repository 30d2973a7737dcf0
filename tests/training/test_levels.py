import numpy as np
import pytest
import tensorflow as tf

from tfclic.training.levels import draw_levels, targets_of
from tfclic.training.state import State


@pytest.mark.parametrize("batch", [1, 2, 4, 6, 9])
def test_stratified_levels_are_spread_over_each_batch(batch):
    drawn = [
        draw_levels(tf.constant([1, i]), 6, tf.constant([batch]), "stratified").numpy()
        for i in range(300)
    ]
    for place, levels in enumerate(np.transpose(drawn)):
        part = {n for n in range(6) if place * 6 < (n + 1) * batch and n * batch < (place + 1) * 6}
        assert set(levels.tolist()) == part
    shares = np.bincount(np.concatenate(drawn), minlength=6) / (300 * batch)
    np.testing.assert_allclose(shares, 1 / 6, atol=0.06)


def test_in_the_first_phase_all_images_have_its_lambda(fake, config):
    codec = fake.FakeCodec(config.model.lmbdas)
    state = State(codec, config.training)
    levels = tf.constant([0, 1, 0])
    wanted = targets_of(codec, state, config.training, levels)
    np.testing.assert_allclose(wanted, [[0, 100, 0], [0.001, 0.01, 0.001]])
    config.training.update(first_share=0.5, first_lmbda=0.008)
    # of six steps three
    for number, phase in [(0, 1), (2, 1), (3, 2)]:
        state.step.assign(number)
        found = targets_of(codec, state, config.training, levels)
        expected = [[100] * 3, [0.008] * 3] if phase == 1 else wanted
        np.testing.assert_allclose(found, expected)
