import pytest
import tensorflow as tf

from tfclic.training.state import State


def test_it_holds_every_variable_by_its_path(fake, config):
    codec = fake.FakeCodec(config.model.lmbdas)
    state = State(codec, config.training)
    assert list(state.weights) == [
        "analysis/bias",
        "analysis/kernel",
        "synthesis/bias",
        "synthesis/kernel",
    ]
    assert state.weights["synthesis/kernel"] is codec.synthesis.kernel
    assert list(state.ema) == list(state.first_moment) == list(state.weights)


def test_a_variable_out_of_reach_is_an_error(fake, config):
    class Hiding(fake.FakeCodec):
        @property
        def variables(self):
            return [*super().variables, hidden]

    hidden = tf.Variable(0.0)
    with pytest.raises(ValueError, match="not reached"):
        State(Hiding(), config.training)
