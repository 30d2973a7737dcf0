"""What the tests share: a toy model that is exported like a real one, and small made images."""

import json
import os

import numpy as np
import pytest
from absl import logging
from PIL import Image

# jax would choose a louder one for this process and all that tests start
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

TOY_FINGERPRINT = "00ff10ab"


def export_toy_model(folder, name="toy", version=1, fingerprint=TOY_FINGERPRINT):
    """Exports a codec whose payload is a PNG of every second pixel (quality < 30) or of all.

    Returns:
      The SavedModel's folder: `folder`/`name`/`version`.
    """
    import tensorflow as tf

    from tfclic.codec import container, export

    identity = bytes.fromhex(fingerprint)

    def encode(image, quality):
        code = container.quality_code(quality)
        step = tf.where(container.quality_of(code) < 30, 2, 1)
        latents = image[::step, ::step]
        height, width, channels = tf.unstack(tf.shape(image))
        payload = tf.io.encode_png(latents)
        data = container.pack(identity, width, height, code, channels == 1, payload)
        return data, latents, payload

    def decode(data):
        header = container.check(container.parse(data), identity)
        return header, tf.io.decode_png(header.payload)

    def upsample(header, latents):
        step = tf.where(container.quality_of(header.quality) < 30, 2, 1)
        pixels = tf.repeat(tf.repeat(latents, step, axis=0), step, axis=1)
        return pixels[: header.height, : header.width]

    def compress(image, quality):
        return {"file": encode(image, quality)[0]}

    def decompress(data):
        return {"image": upsample(*decode(data))}

    def evaluate(image, quality):
        data, latents, payload = encode(image, quality)
        return {
            "file": data,
            "estimated_bits": 8.0 * tf.cast(tf.strings.length(payload), tf.float32),
            "reconstruction": upsample(container.parse(data), latents),
            "latents": tf.cast(latents, tf.int32),
        }

    def decode_latents(data):
        return {"latents": tf.cast(decode(data)[1], tf.int32)}

    signatures = {
        "compress_array": tf.function(compress, [export.IMAGE, export.QUALITY]),
        "decompress_array": tf.function(decompress, [export.DATA]),
        "evaluate": tf.function(evaluate, [export.IMAGE, export.QUALITY]),
        "decode_latents": tf.function(decode_latents, [export.DATA]),
        "info": tf.function(export.info, [export.DATA]),
    }
    path = folder / name / str(version)
    tf.saved_model.save(tf.Module(), str(path), signatures)
    card = {"name": name, "version": version, "fingerprint": fingerprint, "format_version": 1}
    card["training"] = {"objective": "mse"}
    card["functions"] = export.functions(path)
    (path / "model_card.json").write_text(json.dumps(card))
    return path


def make_pixels(height, width, channels=3, seed=0):
    """Returns a uint8 array of a smooth image with a little noise."""
    rows, columns = np.mgrid[:height, :width] / max(height, width)
    waves = [np.sin(4 * rows + shift) + np.cos(5 * columns - shift) for shift in range(channels)]
    noise = np.random.default_rng(seed).normal(0, 0.02, [height, width, channels])
    return np.clip(127.5 + 60 * (np.stack(waves, -1) + noise), 0, 255).astype(np.uint8)


@pytest.fixture(autouse=True)
def verbosity():
    """Programs that a test starts in this process make absl quiet; the next test may listen."""
    before = logging.get_verbosity()
    yield
    logging.set_verbosity(before)


@pytest.fixture(scope="session", name="make_pixels")
def make_pixels_fixture():
    """`make_pixels`, for tests that want images of their own."""
    return make_pixels


@pytest.fixture(scope="session")
def export_toy():
    """`export_toy_model`, for tests that want toy models of their own."""
    return export_toy_model


@pytest.fixture(scope="session")
def toy_model(tmp_path_factory):
    """The folder of the toy model, exported once."""
    return export_toy_model(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def toy_codec(toy_model):
    """The toy model, loaded once."""
    from tfclic.codec import runtime

    return runtime.load(toy_model)


@pytest.fixture
def toy_folder(toy_model, monkeypatch):
    """The folder with the toy model, made known through TFCLIC_MODELS."""
    monkeypatch.setenv("TFCLIC_MODELS", str(toy_model.parents[1]))
    return toy_model.parents[1]


@pytest.fixture
def photo(tmp_path):
    """Path of a 40x30 colour photograph, a PNG file."""
    path = tmp_path / "photo.png"
    Image.fromarray(make_pixels(30, 40)).save(path)
    return path


def tiny_config(**changes):
    """gmm_attention small enough for tests, as a ConfigDict of the model alone."""
    from tfclic import configuration

    _, config = configuration.load("gmm_attention_small")
    config.model.update(
        latent_channels=6,
        widths=(4, 4, 4),
        hyper_channels=4,
        feature_channels=8,
        parameter_channels=10,
    )
    config.model.update(changes)
    return config.model


def tiny_codec(**changes):
    """A codec of `tiny_config` with all its variables made."""
    from tfclic import models
    from tfclic.training import checkpoints

    codec = models.build(tiny_config(**changes))
    checkpoints.build_variables(codec)
    # an untrained entropy model expects smaller latents than the block transform gives
    bias = codec.parameter_network.layers[-1].bias
    wide = np.repeat([0, 0, np.log(5)], bias.shape[0] // 3)
    bias.assign(wide.astype(np.float32))
    return codec


@pytest.fixture(scope="session")
def make_codec():
    """`tiny_codec`, for tests that want a codec of their own."""
    return tiny_codec


@pytest.fixture(scope="session")
def codec():
    """One tiny codec for all tests that only read it."""
    return tiny_codec()
