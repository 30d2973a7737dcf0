"""An exported model: it codes like the codec it was made from, and needs nothing of it."""

import json
import math
import pathlib
import random
import resource
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from tfclic import errors, runtime
from tfclic.entropy.coding import NOT_OF_THIS_SIZE, TOO_SHORT
from tfclic.evaluation import metrics
from tfclic.export import compact, container, saving, stored

BENCHMARKS = pathlib.Path(__file__).parents[2] / "benchmarks"
SIZES = [(1, 1), (1, 70), (64, 64), (65, 3), (90, 130)]


def image(height, width, channels=3):
    """A smooth image."""
    rows, columns = np.mgrid[:height, :width] / 40
    waves = [np.sin(rows + shift) + np.cos(columns) for shift in range(channels)]
    return np.clip(128 + 20 * np.stack(waves, -1), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def exported(tiny_model):
    """Path of the exported tiny codec."""
    return tiny_model


@pytest.fixture(scope="module")
def loaded(exported):
    return runtime.load(exported)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [1, 3])
def test_sizes_and_colours_come_back(loaded, size, channels):
    pixels = image(*size, channels)
    data = loaded.compress(pixels, quality=70)
    decoded = loaded.decompress(data)
    assert decoded.shape == (size if channels == 1 else pixels.shape)
    assert decoded.dtype == np.uint8


def test_file_equals_what_the_encoder_knows(loaded):
    pixels = image(90, 130)
    for quality in (0, 37.5, 100):
        known = loaded.evaluate(pixels, quality)
        data = loaded.compress(pixels, quality)
        assert known["file"] == data
        np.testing.assert_array_equal(loaded.decode_latents(data), known["latents"])
        np.testing.assert_array_equal(loaded.decompress(data), known["reconstruction"])
        payload = len(container.parse(data).payload.numpy())
        assert len(data) - payload <= 24
        assert 8 * payload == pytest.approx(known["estimated_bits"], rel=0.01, abs=64)


def test_fidelity_is_that_of_the_codec(codec, loaded):
    pixels = image(64, 128)
    want = codec(tf.constant(pixels[None] / 255.0, tf.float32), tf.constant([100.0])).reconstruction
    want = np.clip(want[0] * 255, 0, 255)
    got = loaded.decompress(loaded.compress(pixels, quality=100)).astype(float)
    assert np.abs(got - want).mean() < 1, "weights of half the bits change little"


def test_hyper_latents_follow_from_what_can_be_coded(codec, exported):
    quantise = tf.saved_model.load(str(exported)).signatures["quantise"]
    latents = 1000 * tf.random.stateless_normal([8, 8, 6], [1, 2])
    box, quality = tf.constant([0, 0, 8, 8]), tf.constant(100.0)
    found = quantise(latents=latents, quality=quality, box=box)["hyper_latents"].numpy()
    within = codec.hyper_latents(codec.gained(latents[None], quality[None]))[0]
    beyond = codec.hyper_latents(codec.gain(latents[None], quality[None]))[0]
    # weights of half the bits
    np.testing.assert_allclose(found, within, atol=0.6 + 0.01 * np.abs(within).max())
    assert np.abs(found - beyond).max() > 5


def test_graph_is_without_idle_notes(exported):
    data = (pathlib.Path(exported) / saving.GRAPH).read_bytes()
    (proto,) = saved_model_pb2.SavedModel.FromString(data).meta_graphs
    functions = proto.graph_def.library.function
    noted = [part.attr for each in functions for part in (*each.node_def, *each.arg_attr.values())]
    assert not any(name in attr for attr in noted for name in compact.IDLE_NOTES)
    assert any("_XlaCompile" in attr for attr in noted), "XLA has to leave loops alone"


def test_size_rises_with_quality(loaded):
    pixels = image(90, 130)
    sizes = [len(loaded.compress(pixels, q)) for q in (0, 25, 50, 75, 100)]
    assert sizes == sorted(sizes) and sizes[0] < sizes[-1]


def test_another_model_is_refused_by_its_fingerprint(loaded, toy_codec):
    with pytest.raises(errors.ModelError, match=toy_codec.model.fingerprint):
        loaded.decompress(toy_codec.compress(image(64, 64)))


def test_another_model_has_another_fingerprint(codec, make_codec):
    other = make_codec(mixtures=2)
    assert stored.StoredCodec(other).digest() != stored.StoredCodec(codec).digest()


def test_the_graph_itself_refuses_damaged_files(loaded, exported):
    functions = tf.saved_model.load(str(exported))
    data = bytearray(loaded.compress(image(64, 64)))
    data[-6] ^= 1
    with pytest.raises(tf.errors.InvalidArgumentError, match="corrupted"):
        functions.decompress(tf.constant(bytes(data)))


def test_each_small_damage_is_refused(loaded, monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import damage

    data = loaded.compress(image(1, 1), quality=0)
    for _, what, copy in damage.damaged(data):
        with pytest.raises(errors.FileFormatError):
            loaded.decompress(copy)
            raise AssertionError(what)


def test_forged_files_are_refused_or_are_images_of_their_size(loaded, monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    from forging import Mutator

    sound = [loaded.compress(image(*size), quality) for size in SIZES[:3] for quality in (0, 90)]
    mutator, refused = Mutator(sound, random.Random(5)), set()
    for _ in range(200):
        data, done = mutator.next()
        try:
            pixels = loaded.decompress(data)
        except (errors.FileFormatError, errors.ModelError) as error:
            refused.add(str(error).split(" file: ")[-1])
            continue
        known = loaded.info(data)
        assert pixels.shape[:2] == (known["height"], known["width"]), done
    assert {TOO_SHORT, NOT_OF_THIS_SIZE, container.SENTENCES[container.CORRUPTED]} <= refused


@pytest.mark.parametrize("tiles", [None, 1, 64])
@pytest.mark.parametrize("side", [2**31, 2**21 - 1, 46_340, 10_000, 4096])
def test_huge_claims_are_refused_before_memory_is_taken(loaded, monkeypatch, side, tiles):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import forging

    parts = forging.take_apart(loaded.compress(image(64, 64), quality=50))
    parts = parts._replace(sizes=2 * forging.varint(side))
    if tiles:
        count = min(math.ceil(side / (64 * tiles)) ** 2, 10_000)
        index = bytes([tiles, tiles]) + len(parts.payload).to_bytes(4, "little") + bytes(4 * count)
        parts = parts._replace(flags=b"\2", payload=index[:-4] + parts.payload)
    data = forging.put_together(parts)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(errors.FileFormatError):
        loaded.decompress(data)
    # kibibytes on Linux, where an image of 10,000 x 10,000 has 300,000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


def test_versions_count_up_and_cards_tell(codec, exported):
    card = json.loads((exported / "model_card.json").read_text())
    assert exported.name == "10" and card["version"] == 10
    assert card["name"] == "tiny" and card["training"] == {"steps": 0}
    assert card["fingerprint"] == stored.StoredCodec(codec).digest().hex()


def test_loading_does_not_need_the_compression_package(exported):
    program = """if True:
        import sys
        import numpy as np
        import tfclic
        codec = tfclic.load(sys.argv[1])
        pixels = np.full([20, 30, 3], 130, np.uint8)
        assert codec.decompress(codec.compress(pixels, quality=50)).shape == pixels.shape
        found = {"tensorflow_compression", "tensorflow_probability", "tfclic.models"}
        print(sorted(found & set(sys.modules)))
    """
    run = [sys.executable, "-c", program, str(exported)]
    result = subprocess.run(run, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_signatures_work_on_batches(loaded, exported):
    functions = tf.saved_model.load(str(exported)).signatures
    pngs = [tf.io.encode_png(image(*size)).numpy() for size in [(30, 40), (64, 20)]]
    qualities = tf.constant([20.0, 80.0])
    files = functions["compress"](images=tf.constant(pngs), qualities=qualities)["files_bytes"]
    pixels = image(64, 20)
    assert files[1].numpy() == loaded.compress(pixels, quality=80)
    decoded = functions["decompress"](files=files)["images_bytes"]
    assert tf.io.decode_png(decoded[0]).shape == (30, 40, 3)


def test_tiles_decode_to_what_the_encoder_knows(loaded):
    pixels = image(140, 200)
    known = loaded.evaluate(pixels, 60, tile=64)
    assert loaded.info(known["file"])["tiles"] == 12
    assert known["file"] == loaded.compress(pixels, 60, tile=64)
    np.testing.assert_array_equal(loaded.decode_latents(known["file"]), known["latents"])
    np.testing.assert_array_equal(loaded.decompress(known["file"]), known["reconstruction"])
    region = loaded.decompress(known["file"], region=(50, 60, 100, 30)).astype(int)
    assert np.abs(region - known["reconstruction"][60:90, 50:150]).max() <= 1


def test_tiles_leave_no_seams(loaded):
    pixels = image(256, 256)
    whole, tiled = (loaded.evaluate(pixels, 60, tile=tile) for tile in (256, 128))
    # the tiny model's transforms see no farther than the margin; rounding looks at probabilities,
    # which end at the edge of a tile, so a few latents there are a step from those without tiles
    steps = np.abs(tiled["latents"].astype(int) - whole["latents"]).max(-1)
    assert steps.max() <= 1 and np.mean(steps) < 0.05
    touched = np.zeros(steps.shape, bool)
    for row, column in np.argwhere(steps):
        touched[max(row - 4, 0) : row + 5, max(column - 4, 0) : column + 5] = True
    assert not touched.all()
    difference = np.abs(tiled["reconstruction"].astype(int) - whole["reconstruction"]).max(-1)
    assert difference[~np.kron(touched, np.ones([16, 16], bool))].max() <= 1
    assert difference.max() <= 16
    assert len(tiled["file"]) < 1.1 * len(whole["file"]) + 100


def test_the_graph_alone_gives_the_same_files_and_images(loaded, exported):
    functions = tf.saved_model.load(str(exported))
    pixels = image(40, 1100)
    data = functions.compress(tf.constant(pixels), tf.constant(60.0)).numpy()
    assert loaded.info(data)["tiles"] == 2
    assert data == loaded.compress(pixels, 60)
    decoded = functions.decompress(tf.constant(data)).numpy()
    np.testing.assert_array_equal(decoded, loaded.decompress(data))


@pytest.mark.parametrize("channels", [1, 3])
def test_targets_are_met_by_real_files(loaded, channels):
    pixels = image(150, 260, channels)
    smallest, largest = (len(loaded.compress(pixels, q)) for q in (0, 100))
    wanted = (smallest + largest) // 2
    for tile in (64, 1024):
        size = len(loaded.compress(pixels, file_bytes=wanted, tile=tile))
        assert 0.98 * wanted <= size <= wanted
    wanted = metrics.psnr(pixels, decoded(loaded, loaded.compress(pixels, 60), pixels))
    data = loaded.compress(pixels, psnr=wanted - 0.2)
    assert wanted - 0.2 <= metrics.psnr(pixels, decoded(loaded, data, pixels)) <= wanted - 0.15


def decoded(codec, data, pixels):
    """The image of a file, in the shape of the original."""
    return codec.decompress(data).reshape(pixels.shape)


def test_only_one_target_can_be_asked_for(loaded):
    with pytest.raises(errors.UsageError, match="Only one of"):
        loaded.compress(image(64, 64), 50, bpp=1.0)
