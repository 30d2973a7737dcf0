"""What the tests share: a toy model that is exported like a real one, and small made images."""

import fcntl
import functools
import gc
import importlib.util
import json
import os
import pathlib
import random
import shutil
import struct
import sys

import numpy as np
import pytest
from absl import logging
from PIL import Image

# jax would choose a louder one for this process and all that tests start
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

BENCHMARKS = pathlib.Path(__file__).parents[1] / "benchmarks"
TOY_FINGERPRINT = "00ff10ab"


def pytest_collection_finish():
    """Spares the collector what TensorFlow has made already, and most of its rounds."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 10, 10)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Each test, its fixtures included, begins with the same random numbers."""
    if "tensorflow" in sys.modules:
        begin_anew()


def begin_anew():
    """As `tf.keras.utils.set_random_seed(0)`, which forgets how to run every function there is.

    Where no operation has drawn since the last time, TensorFlow is left alone: making functions
    ready anew takes seconds, which was a good part of all tests.
    """
    from keras.src import backend
    from tensorflow.python.eager import context

    known, untouched = context.context(), random.Random(0).getstate()
    if known._seed != 0 or known._rng.getstate() != untouched:
        sys.modules["tensorflow"].keras.utils.set_random_seed(0)
    random.seed(0)
    np.random.seed(0)
    backend._SEED_GENERATOR.generator = random.Random(0)


def export_toy_model(folder):
    """Exports a codec whose latents are pixels, the coarser for a quality below 30, kept as PNG.

    The SavedModel's folder is `folder`/toy/1.
    """
    import tensorflow as tf

    from tfclic.export import saving, warm_up
    from tfclic.format import model

    path = folder / "toy" / "1"
    # a test that runs functions eagerly may be the first to ask for it
    eagerly = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(False)
    try:
        with saving.unoptimized():
            signatures = toy_signatures(bytes.fromhex(TOY_FINGERPRINT))
            tf.saved_model.save(tf.Module(), str(path), signatures)
    finally:
        tf.config.run_functions_eagerly(eagerly)
    card = model.Card(
        "toy", 1, TOY_FINGERPRINT, training={"objective": "mse"}, functions=saving.functions(path)
    )
    if warm_up.is_possible():
        warm_up.write(path, "toy", card.functions)
    (path / model.CARD).write_text(json.dumps(card.content()))


def toy_signatures(identity):
    """The functions of a toy model with this fingerprint, by name."""
    import tensorflow as tf

    from tfclic.export import container, opening, served, tiling
    from tfclic.export.tracing import specs, traced
    from tfclic.export.transforming import everywhere
    from tfclic.export.whole import TRY_READ
    from tfclic.format import boxes, interface
    from tfclic.format.latents import STRIDE
    from tfclic.models import base

    channels = 3 * STRIDE**2
    floats = {"latents": tf.TensorSpec([None, None, channels], tf.float32)}
    coded = {
        "latents": tf.TensorSpec([None, None, channels], tf.int16),
        "hyper_latents": tf.TensorSpec([None, None, 0], tf.int16),
    }

    def analyse(image):
        shape = tf.shape(image)
        pixels = base.pad_image(tf.broadcast_to(image, [shape[0], shape[1], 3])[None])
        return {"latents": tf.cast(tf.nn.space_to_depth(pixels, STRIDE)[0], tf.float32)}

    def quantise_by_map(latents, codes, box):
        step = tf.where(container.quality_of(codes) < 30, 32.0, 1.0)[..., None]
        latents = boxes.crop(tf.floor(latents / step) * step, box)
        return with_hyper(tf.cast(latents, tf.int16))

    def quantise(latents, quality, box):
        return quantise_by_map(latents, everywhere(quality), box)

    def with_hyper(latents):
        return {"latents": latents, "hyper_latents": latents[::4, ::4, :0]}

    def pixels_of(latents):
        pixels = tf.nn.depth_to_space(tf.cast(latents[None], tf.float32), STRIDE)[0]
        return tf.cast(tf.clip_by_value(pixels, 0.0, 255.0), tf.uint8)

    def write(latents, hyper_latents):
        return {"payload": tf.io.encode_png(pixels_of(latents))}

    def estimate(latents, hyper_latents):
        payload = tf.io.encode_png(pixels_of(latents))
        return {"bits": 8.0 * tf.cast(tf.strings.length(payload), tf.float32)}

    def explain(latents, hyper_latents):
        share = estimate(latents, hyper_latents)["bits"] / tf.cast(tf.size(latents), tf.float32)
        bits = tf.fill(tf.shape(latents), share)
        return {"latents_bits": bits, "hyper_latents_bits": bits[..., :0]}

    def read(payload, height, width):
        pixels = tf.io.decode_png(payload, 3)
        pixels = tf.reshape(pixels, [1, STRIDE * height, STRIDE * width, 3])
        latents = tf.cast(tf.nn.space_to_depth(pixels, STRIDE)[0], tf.int16)
        return with_hyper(latents)

    def read_parts(payload, height, width, wanted):
        length = tf.strings.length(payload)
        is_whole = tf.cond(
            length > 12,
            lambda: tf.equal(tf.strings.substr(payload, length - 8, 4), "IEND"),
            lambda: False,
        )
        found = tf.cond(
            is_whole & (wanted > 0),
            lambda: read(payload, height, width)["latents"],
            lambda: tf.fill([height, width, channels], tf.constant(128, tf.int16)),
        )
        return {**with_hyper(found), "sound": tf.where(is_whole, wanted, 0)}

    def synthesise(latents, hyper_latents, quality_or_codes, grayscale, box):
        pixels = boxes.crop(pixels_of(latents), box)
        return {"image": tf.cond(grayscale, lambda: pixels[..., :1], lambda: pixels)}

    def pack(payload, lengths, width, height, tile_width, tile_height, quality, grayscale):
        code, tiles = container.quality_code(quality), (tile_height, tile_width, lengths)
        return {"file": container.pack(identity, width, height, code, grayscale, payload, tiles)}

    def plan(height, width, longest):
        return tiling.plan(height, width, longest)

    functions = {
        interface.ANALYSE: (analyse, {}),
        interface.QUANTISE: (quantise, floats),
        interface.QUANTISE_BY_MAP: (quantise_by_map, floats),
        interface.WRITE: (write, coded),
        interface.ESTIMATE: (estimate, coded),
        interface.STATISTICS: (explain, coded),
        interface.READ: (read, {}),
        interface.READ_PARTS: (read_parts, {}),
        interface.SYNTHESISE: (synthesise, coded),
        interface.SYNTHESISE_BY_MAP: (synthesise, coded),
        interface.PACK: (pack, {}),
        interface.PLAN: (plan, {}),
    }
    made = {
        each.name: traced(*specs(each, **of_codec))(function)
        for each, (function, of_codec) in functions.items()
    }
    data = specs(interface.OPEN)
    parse = traced(*data)(container.parse)
    on_files = traced(*data, autograph=True)
    made["header"] = on_files(lambda data: opening.info(data, parse))
    made["open"] = on_files(lambda data: opening.opened(data, identity, parse=parse))

    def try_read(payload, height, width, strict):
        return {"sound": tf.constant(True), **made["read"](payload, height, width)}

    inside = {**made, TRY_READ.name: try_read, "parse": parse}
    inside["possible"] = lambda data: tf.constant(True)
    return {**made, **served.signatures(inside, identity)}


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
def tiff_of_12_bits():
    """A function of an even number of grays, 0..4095: bytes of a TIFF file of one row of them."""

    def made(samples):
        content = bytes.fromhex("".join(f"{sample:03x}" for sample in samples))
        content += bytes(len(content) % 2)
        tags = {256: len(samples), 257: 1, 258: 12, 259: 1, 262: 1, 273: 8, 277: 1, 278: 1}
        tags[279] = len(content)
        entries = (struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
        folder = struct.pack("<H", len(tags)) + b"".join(entries) + bytes(4)
        return b"II*\0" + struct.pack("<I", 8 + len(content)) + content + folder

    return made


@pytest.fixture(scope="session")
def once(tmp_path_factory):
    """A function that makes a folder, which all processes of the tests have and none may change.

    It takes its name and a function that fills it, which that process calls that is the first.
    """

    def once(name, fill):
        root = tmp_path_factory.getbasetemp()
        if "PYTEST_XDIST_WORKER" in os.environ:
            root = root.parent
        target, work = root / f"once-{name}", root / f"once-{name}.work"
        with open(root / f"once-{name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not target.exists():
                shutil.rmtree(work, ignore_errors=True)
                work.mkdir()
                fill(work)
                os.replace(work, target)
        return target

    return once


@pytest.fixture(scope="session")
def toy_model(once):
    """The folder of the toy model, exported once."""
    return once("models", export_toy_model) / "toy" / "1"


@pytest.fixture(scope="session")
def export_toy(toy_model):
    """A function that makes copies of the toy model, for tests that want their own.

    It returns the SavedModel's folder, `folder`/`name`/`version`. A copy of another fingerprint,
    which is somewhere in its graph, has no warm-up requests.
    """

    def export(folder, name="toy", version=1, fingerprint=TOY_FINGERPRINT):
        path = folder / name / str(version)
        shutil.copytree(toy_model, path)
        card = json.loads((path / "model_card.json").read_text())
        card.update(name=name, version=version, fingerprint=fingerprint)
        (path / "model_card.json").write_text(json.dumps(card))
        if fingerprint != TOY_FINGERPRINT:
            graph, words = path / "saved_model.pb", (TOY_FINGERPRINT, fingerprint)
            graph.write_bytes(graph.read_bytes().replace(*map(bytes.fromhex, words)))
            shutil.rmtree(path / "assets.extra", ignore_errors=True)
        return path

    return export


@pytest.fixture(scope="session")
def sliced_toy(export_toy, tmp_path_factory):
    """The folder of a toy model whose latents are a slice, which a tile has or has not."""
    path = export_toy(tmp_path_factory.mktemp("sliced"), "sliced")
    card = json.loads((path / "model_card.json").read_text())
    (path / "model_card.json").write_text(json.dumps({**card, "slices": 2}))
    return path


@pytest.fixture(scope="session")
def toy_codec(toy_model):
    """The toy model, loaded once."""
    from tfclic import runtime

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


# what is small beside widths and latents, by system
TINY_SYSTEMS = {
    "gmm_attention_small": dict(hyper_channels=4, feature_channels=8, parameter_channels=8),
    "cca_small": dict(
        latent_channels=12, hyper_channels=4, hyper_width=6, slices=3, support_channels=8,
        slice_widths=(8, 6),
    ),
    "coarse_to_fine_small": dict(
        fine_widths=(4, 4, 4), coarse_widths=(4, 4, 4), coarse_features=8,
        prediction_widths=(4, 4, 4),
    ),
    "elic_small": dict(
        latent_channels=12, hyper_channels=4, feature_channels=8, group_sizes=(4, 8),
        channel_widths=(6, 6), context_channels=4, parameter_channels=(8, 6),
    ),
    "hyperprior": dict(hyper_channels=4),
    "mean_scale": dict(hyper_channels=4),
    "factorized": {},
}  # fmt: skip


def tiny_config(**changes):
    """gmm_attention small enough for tests, as a ConfigDict of the model alone."""
    from tfclic import configuration

    _, config = configuration.load("gmm_attention_small")
    config.model.update(
        latent_channels=6,
        lmbdas=(0.0016, 0.0032, 0.0075, 0.015, 0.03, 0.045),
        widths=(4, 4, 4),
        hyper_channels=4,
        feature_channels=8,
        parameter_channels=10,
    )
    config.model.update(changes)
    return config.model


def tiny_codec(**changes):
    """A codec of `tiny_config` with all its variables made."""
    import tensorflow as tf

    from tfclic import models
    from tfclic.training import building

    tf.keras.utils.set_random_seed(0)
    codec = models.build(tiny_config(**changes))
    building.build_variables(codec)
    # priors have drawn; now there are few functions to forget, see `begin_anew`
    tf.keras.utils.set_random_seed(0)
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


@pytest.fixture(scope="session")
def load_benchmark():
    """A function that imports a program in benchmarks/ by its name, as a module of its own."""

    def load(name):
        spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        with pytest.MonkeyPatch.context() as patch:
            # what programs have in common lies beside them
            patch.syspath_prepend(BENCHMARKS)
            spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture(scope="session")
def write_weights():
    """A function of a codec and the folder of a model: writes what an export has beside its graph.

    It takes the card's `config` and `training`, and returns the `StoredCodec` of these weights.
    """
    import tensorflow as tf

    from tfclic.export import stored
    from tfclic.format import model

    def write(codec, folder, **of_card):
        made = stored.StoredCodec(codec)
        (folder / "variables").mkdir(parents=True)
        whole = tf.train.Checkpoint(coding=made.coding, weights=made.weights)
        whole.write(str(folder / model.VARIABLES))
        card = model.Card(folder.parent.name, 1, made.digest().hex(), **of_card)
        (folder / model.CARD).write_text(json.dumps(card.content()))
        (folder / model.GRAPH).touch()
        return made

    return write


@pytest.fixture(scope="session")
def exports(codec, export_for_reading, once):
    """A folder with exports of the tiny codec, of which each graph is traced once for all.

    `one` has it with the range coder, beside an earlier version; `two` with a graph for each coder;
    `coders` with each coder, under the coder's name.
    """
    from tfclic.export import exported, refining, saving
    from tfclic.format import header, model

    def export(folder):
        one, two, coders = (folder / name for name in ("one", "two", "coders"))
        (one / "tiny" / "9").mkdir(parents=True)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(exported, "ExportedCodec", functools.cache(exported.ExportedCodec))
            patch.setattr(refining, "Refinement", functools.cache(refining.Refinement))
            # first, since functions that are traced for reading are lighter
            saving.save(codec, two, "two", {"model": tiny_config().to_dict()}, {}, model.BOTH)
            path = saving.save(
                codec, one, "tiny", {"model": {"name": "gmm_attention"}}, {"steps": 0}
            )
            words = header.INTERLEAVED, {}, {}, header.INTERLEAVED
            export_for_reading(codec, coders, *words, is_whole=True)
        shutil.copytree(path, coders / header.RANGE / "1")

    return once("exports", export)


@pytest.fixture(scope="session")
def tiny_model(exports):
    """The folder of the exported tiny codec, beside an earlier version; an export takes seconds."""
    return exports / "one" / "tiny" / "10"


@pytest.fixture(scope="session")
def export_for_reading():
    """`saving.save` without what takes long: warm-up requests, and the graph of efforts.

    Unless the rest `is_whole`, it has no signatures for servers, and reads its own coder alone.
    TensorFlow leaves the shapes of results at what functions say, which it would find once more at
    every call, by all operations of the function and of those that it calls. Whoever wants to know
    what becomes of efforts passes a `refinement` in place of the class.
    """
    from tensorflow.core.framework.attr_value_pb2 import AttrValue
    from tensorflow.python.framework import ops

    from tfclic.export import compact, refining, saving, served, strings, warm_up
    from tfclic.format import header

    original = saving.save  # which a test may replace by this
    create = ops.Graph.create_op

    def own_readers(coding, coder):
        parts = strings.reader_of_parts(coding) if coder == header.RANGE else {}
        return {**strings.reader(coding, coder), **parts}

    def create_op(graph, kind, *arguments, attrs=None, **named):
        if kind.endswith("PartitionedCall"):
            attrs = {**attrs, compact.NOT_INFERRED: AttrValue(b=True)}
        return create(graph, kind, *arguments, attrs=attrs, **named)

    def save(*arguments, is_whole=False, refinement=lambda *_: None, **named):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(warm_up, "is_possible", lambda: False)
            patch.setattr(refining, "Refinement", refinement)
            patch.setattr(ops.Graph, "create_op", create_op)
            if not is_whole:
                patch.setattr(served, "signatures", lambda *_: {})
                patch.setattr(strings, "readers", own_readers)
            return original(*arguments, **named)

    return save


@pytest.fixture(scope="session")
def both_coders(exports):
    """A folder with the tiny codec, exported with each coder, under the coder's name."""
    return exports / "coders"


@pytest.fixture(scope="session")
def two_graphs(exports):
    """The folder of the tiny codec, exported with a graph for each coder."""
    return exports / "two" / "two" / "1"


@pytest.fixture(scope="session")
def tiny_system():
    """A function of a system's name to its configuration, the model small enough for tests."""
    from tfclic import configuration

    def configured(name):
        _, config = configuration.load(name)
        config.model.update({"latent_channels": 8, "widths": (4, 4, 4), **TINY_SYSTEMS[name]})
        return config

    return configured


@pytest.fixture(scope="session")
def soft():
    """A function that takes contrast from pixels: no untrained codec expects large latents."""
    return lambda pixels: pixels // 4 + 96


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
