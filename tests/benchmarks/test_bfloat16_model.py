"""The copy of a model in bfloat16 computes the same, to fewer bits."""

import pathlib

import numpy as np
import pytest
import tensorflow as tf

import tfclic

BENCHMARKS = pathlib.Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def folder(tmp_path):
    """A SavedModel with a chain of two convolutions, the second of which is the result."""
    rng = np.random.default_rng(0)
    kernels = [tf.constant(rng.normal(size=(3, 3, 4, 4)), tf.float32) for _ in range(2)]

    @tf.function(input_signature=[tf.TensorSpec([1, 8, 8, 4])], autograph=False)
    def chain(x):
        x = tf.nn.conv2d(x, kernels[0], 1, "SAME")
        return {"sum": x + 1, "result": tf.nn.conv2d(x, kernels[1], 1, "SAME")}

    tf.saved_model.save(tf.Module(), str(tmp_path / "model"), {"chain": chain})
    return tmp_path / "model"


def test_convolutions_lose_bits_and_nothing_else(folder, monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import bfloat16_model

    copy = folder.parent / "copy"
    assert bfloat16_model.convert(folder, copy) == 2
    x = tf.constant(np.random.default_rng(1).normal(size=(1, 8, 8, 4)), tf.float32)
    want, got = (tf.saved_model.load(str(path)).signatures["chain"](x=x) for path in (folder, copy))
    for name in ("sum", "result"):
        assert got[name].dtype == tf.float32
        error = np.abs(got[name] - want[name])
        # bfloat16 has 8 bits; two roundings of operands and one of the result, twice
        assert 0 < error.max() < 0.05 * np.abs(want[name]).max()
    product = got["sum"].numpy() - 1
    assert np.abs(product - tf.cast(tf.cast(product, tf.bfloat16), tf.float32)).max() < 1e-5


def test_a_codec_in_bfloat16_is_loaded_and_reads_the_files_of_its_model(
    tiny_model, tmp_path, make_pixels, monkeypatch
):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import bfloat16_model

    assert bfloat16_model.convert(tiny_model, tmp_path / "copy") > 0
    model, copy = tfclic.load(tiny_model), tfclic.load(tmp_path / "copy")
    data = model.compress(make_pixels(64, 64), quality=50)
    np.testing.assert_array_equal(copy.decode_latents(data), model.decode_latents(data))
