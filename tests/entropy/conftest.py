"""What the tests of entropy models share."""

import pytest
import tensorflow as tf

from tfclic.entropy import mixture


@pytest.fixture(scope="session")
def likelihood():
    """`mixture.likelihood` of logits, means and log scales `[..., K]`."""

    def of_kinds(y, *parameters):
        y = tf.convert_to_tensor(y)
        kinds = [tf.broadcast_to(x, [*y.shape, x.shape[-1]]) for x in parameters]
        return mixture.likelihood(y[..., None], tf.concat(kinds, -1), kinds[0].shape[-1])[..., 0]

    return of_kinds
