"""Turning a trained codec into a SavedModel that is the codec: image in, file out, and back."""

import contextlib
import hashlib
import json
import os
import pathlib
import shutil
import tempfile

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from tfclic import errors
from tfclic.codec import catalog, container
from tfclic.models import base

STRIDE = 16  # image pixels per latent, each way
# Transforms need not repeat bit for bit, so their weights are stored with half the bits.
STORED_DTYPE = tf.float16

IMAGE = tf.TensorSpec([None, None, None], tf.uint8, "image")
QUALITY = tf.TensorSpec([], tf.float32, "quality")
DATA = tf.TensorSpec([], tf.string, "data")


@contextlib.contextmanager
def substituted(modules, stored):
    """Makes layers read their weights from other variables, cast to the weights' own type.

    Args:
      modules: tf.Modules, layers among them, whose variables are to be replaced.
      stored: dict from the id of each variable to the tf.Variable that stands for it.
    """
    replaced = []
    for module in {id(m): m for top in modules for m in (top, *top.submodules)}.values():
        for name, value in list(vars(module).items()):
            if isinstance(value, tf.Variable) and id(value) in stored:
                replaced.append((module, name, value))
                # past the tracking of attributes, which would see a new dependency
                vars(module)[name] = tf.cast(stored[id(value)], value.dtype)
    try:
        yield
    finally:
        for module, name, value in replaced:
            vars(module)[name] = value


def info(data):
    """The header of a file (string) as a dict; the fingerprint is in hexadecimal digits."""
    header = container.check(container.parse(data))
    fields = ("width", "height", "grayscale")
    found = {name: getattr(header, name) for name in fields}
    found["quality"] = container.quality_of(header.quality)
    found["payload_bytes"] = tf.strings.length(header.payload)
    return {**found, "fingerprint": container.hexadecimal(header.fingerprint)}


@contextlib.contextmanager
def unoptimized():
    """Makes functions that are traced here run as they are.

    A process that compresses one photograph would spend longer optimizing graphs than running them,
    and they run no faster afterwards.
    """
    before = tf.config.optimizer.get_experimental_options()
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False, **before})


class ExportedCodec(tf.Module):
    """The functions of an exported codec.

    | function | takes | gives |
    |---|---|---|
    | `compress` | uint8 `[H, W, 3]` or `[H, W, 1]`, quality float32 | the file, string |
    | `decompress` | the file | uint8 `[H, W, 3]` or `[H, W, 1]` |
    | `info` | the file | header fields by name |
    | `evaluate` | as `compress` | dict: file, estimated_bits, reconstruction, latents |
    | `decode_latents` | the file | int32 `[H / 16, W / 16, C]` |

    Args:
      codec: a trained `tfclic.models.base.ImageCodec` with all its variables made.

    Raises:
      errors.ModelError: an entropy network cannot be made exact; names the layer.
    """

    def __init__(self, codec):
        super().__init__(name="tfclic")
        try:
            self.coding = codec.coding()
        except ValueError as error:
            raise errors.ModelError(f"The model cannot be exported: {error}.") from error
        transforms = codec.transforms()
        variables = {id(v): v for module in transforms for v in module.variables}
        stored = {
            key: tf.Variable(tf.cast(v, STORED_DTYPE), trainable=False, name="weight")
            for key, v in variables.items()
        }
        self.weights = list(stored.values())
        self.fingerprint = _fingerprint(self.variables)
        self._define(codec, lambda: substituted(transforms, stored))

    def _define(self, codec, weights):
        coding, fingerprint = self.coding, self.fingerprint
        size = tf.TensorSpec([], tf.int32)
        latents_ = tf.TensorSpec([None, None, codec.config.latent_channels], tf.float32)
        hyper_latents_ = tf.TensorSpec([None, None, codec.config.hyper_channels], tf.float32)

        # signatures, so that all functions share one trace of each part
        @tf.function(input_signature=[IMAGE, QUALITY])
        def analyse(image, quality):
            code = container.quality_code(quality)
            shape = tf.shape(image)
            pixels = tf.cast(tf.broadcast_to(image, [shape[0], shape[1], 3]), tf.float32) / 255.0
            with weights():
                padded = base.pad_image(pixels[None])
                latents = codec.analyse(padded, container.quality_of(code)[None])
                hyper_latents = codec.hyper_analysis(latents)
            return code, *coding.round(latents[0], hyper_latents[0])

        @tf.function(input_signature=[IMAGE, size, latents_, hyper_latents_])
        def write(image, code, latents, hyper_latents):
            shape = tf.shape(image)
            payload = coding.compress(hyper_latents, latents)
            gray = tf.equal(shape[2], 1)
            return container.pack(fingerprint, shape[1], shape[0], code, gray, payload)

        @tf.function(input_signature=[latents_, size, size, size])
        def synthesise(latents, code, height, width):
            with weights():
                quality = container.quality_of(code)[None]
                pixels = codec.synthesise(latents[None], quality)[0, :height, :width]
            return tf.cast(tf.round(tf.clip_by_value(pixels, 0.0, 1.0) * 255.0), tf.uint8)

        @tf.function(input_signature=[DATA])
        def read(data):
            header = container.check(container.parse(data), fingerprint)
            multiple = base.MULTIPLE
            height, width = (
                -(-size // multiple) * (multiple // STRIDE)
                for size in (header.height, header.width)
            )
            return header, coding.decompress(header.payload, height, width)

        def compress(image, quality):
            return write(image, *analyse(image, quality))

        def decompress(data):
            header, latents = read(data)
            pixels = synthesise(latents, header.quality, header.height, header.width)
            gray = tf.round(tf.reduce_mean(tf.cast(pixels, tf.float32), -1, keepdims=True))
            return tf.cond(header.grayscale, lambda: tf.cast(gray, tf.uint8), lambda: pixels)

        def evaluate(image, quality):
            code, latents, hyper_latents = analyse(image, quality)
            shape = tf.shape(image)
            return {
                "file": write(image, code, latents, hyper_latents),
                "estimated_bits": coding.estimate(hyper_latents, latents),
                "reconstruction": synthesise(latents, code, shape[0], shape[1]),
                "latents": tf.cast(latents, tf.int32),
            }

        def decode_latents(data):
            return tf.cast(read(data)[1], tf.int32)

        # traced here: while a model is saved, each would trace the shared parts once more
        self.compress = tf.function(compress, [IMAGE, QUALITY]).get_concrete_function()
        self.decompress = tf.function(decompress, [DATA]).get_concrete_function()
        self.info = tf.function(info, [DATA]).get_concrete_function()
        self.evaluate = tf.function(evaluate, [IMAGE, QUALITY]).get_concrete_function()
        self.decode_latents = tf.function(decode_latents, [DATA]).get_concrete_function()

    def signatures(self):
        """The functions as they are called from outside of TensorFlow, by name.

        Servers call `compress` and `decompress` on batches of encoded images and of files; one
        array or file at a time is what `tfclic.codec.runtime` uses.
        """

        def compress(images, qualities):
            def one(pair):
                image = tf.io.decode_image(pair[0], channels=3, expand_animations=False)
                return self.compress(image, pair[1])

            return {"files": tf.map_fn(one, (images, qualities), fn_output_signature=tf.string)}

        def decompress(files):
            def one(data):
                return tf.io.encode_png(self.decompress(data))

            return {"images": tf.map_fn(one, files, fn_output_signature=tf.string)}

        def compress_array(image, quality):
            return {"file": self.compress(image, quality)}

        def decompress_array(data):
            return {"image": self.decompress(data)}

        def decode_latents(data):
            return {"latents": self.decode_latents(data)}

        images = tf.TensorSpec([None], tf.string, "images")
        qualities = tf.TensorSpec([None], tf.float32, "qualities")
        files = tf.TensorSpec([None], tf.string, "files")
        return {
            "compress": tf.function(compress, [images, qualities]),
            "decompress": tf.function(decompress, [files]),
            "compress_array": tf.function(compress_array, [IMAGE, QUALITY]),
            "decompress_array": tf.function(decompress_array, [DATA]),
            "decode_latents": tf.function(decode_latents, [DATA]),
            "evaluate": self.evaluate,
            "info": self.info,
        }


def _fingerprint(variables):
    digest = hashlib.sha256()
    for variable in variables:
        digest.update(np.ascontiguousarray(variable.numpy()).tobytes())
    return digest.digest()[:4]


def functions(path):
    """What a reader of the graph has to know of a SavedModel: where its functions begin and end.

    Args:
      path: folder of the SavedModel.

    Returns:
      JSON-compatible, as `tfclic.codec.session.Session` takes it.
    """
    proto = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    (graph,) = proto.meta_graphs
    return {
        name: {
            side: {key: info.name for key, info in sorted(getattr(signature, side).items())}
            for side in ("inputs", "outputs")
        }
        for name, signature in sorted(graph.signature_def.items())
        if not name.startswith("__")
    }


def save(codec, folder, name, config=None, training=None):
    """Writes `folder/name/VERSION/`, a SavedModel with its card; the version is the next free one.

    Args:
      codec: a trained codec.
      folder: where models are, such as saved_models/.
      name: of the model.
      config: JSON-compatible description of the configuration, for the card.
      training: JSON-compatible description of the training run, for the card.

    Returns:
      The path of the version's folder.

    Raises:
      errors.ModelError: the model cannot be made exact.
    """
    with unoptimized():
        exported = ExportedCodec(codec)
    parent = pathlib.Path(folder) / name
    parent.mkdir(parents=True, exist_ok=True)
    version = 1 + max((int(p.name) for p in parent.iterdir() if p.name.isdigit()), default=0)
    target = parent / str(version)
    card = {
        "name": name,
        "version": version,
        "fingerprint": exported.fingerprint.hex(),
        "format_version": container.VERSION,
        "config": config or {},
        "training": training or {},
    }
    work = pathlib.Path(tempfile.mkdtemp(prefix=".export-", dir=parent))
    try:
        # gradients would double the functions that every start has to read
        options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
        with unoptimized():
            tf.saved_model.save(exported, str(work), exported.signatures(), options)
        card["functions"] = functions(work)
        (work / catalog.CARD).write_text(json.dumps(card, indent=1) + "\n")
        work.chmod(0o755)
        os.replace(work, target)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    return target
