"""What tests of exact arithmetic share."""

import pytest


@pytest.fixture(scope="session")
def has_bytes():
    """Whether this machine has products of bytes that are exact."""
    import tensorflow as tf

    from tfclic.exact import octets
    from tfclic.export import saving

    with saving.unoptimized():
        try:
            return bool(tf.function(octets.sound, autograph=False)())
        except tf.errors.OpError:
            return False
