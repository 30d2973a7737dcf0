"""Runs exported models: arrays to `.tfclic` bytes and back.

TensorFlow is imported when it is first needed. Of TensorFlow Compression only the ops library is
loaded, not its Python package: that is faster, and all that an exported model needs.
"""

import importlib.util
import os
import re
import sys
import threading

import numpy as np

from tfclic import errors
from tfclic.codec import catalog

DEFAULT_MODEL = "gmm_attention_small"
DEFAULT_QUALITY = 50

_OPS_LOCK = threading.Lock()
# Under TensorFlow 2.15 and later the ops come in a package of their own.
_OPS_PACKAGES = {
    # The very spelling with which TFC itself loads it: TensorFlow tells libraries apart by
    # spelling, and under another one TFC could not be imported later in this process.
    "tensorflow_compression": "python/ops/../../cc/libtensorflow_compression.so",
    "tensorflow_compression_ops": "cc/libtensorflow_compression.so",
}


def load(name_or_path=DEFAULT_MODEL):
    """Loads a model by name, NAME/VERSION or path; see `tfclic.load`.

    Returns:
      A `Codec`.

    Raises:
      errors.ModelError: there is no such model, or it cannot be loaded.
    """
    return Codec(catalog.find(name_or_path))


def info(data):
    """Reads the header of a file, without any model.

    Args:
      data: bytes of a `.tfclic` file.

    Returns:
      A dict: `fingerprint` (8 hex digits, of the model that made it), `width` and `height`
      (pixels), `grayscale` (bool), `quality` (float, 0..100), `file_bytes` and `payload_bytes`.

    Raises:
      errors.FileFormatError: it is not a sound `.tfclic` file.
    """
    import tensorflow as tf

    from tfclic.codec import container

    # On the CPU, where strings are anyway: a GPU would be set up for nothing.
    with tf.device("CPU"):
        header = container.check(container.parse(tf.constant(bytes(data))))
        return {
            "fingerprint": header.fingerprint.numpy().hex(),
            "width": int(header.width),
            "height": int(header.height),
            "grayscale": bool(header.grayscale),
            "quality": float(container.quality_of(header.quality)),
            "file_bytes": len(data),
            "payload_bytes": len(header.payload.numpy()),
        }


class Codec:
    """An exported model, loaded.

    Its methods may be called from several threads at once.

    Attributes:
      model: the `catalog.Model` it was loaded from.
    """

    def __init__(self, model):
        """Loads `model`, a `catalog.Model`; raises errors.ModelError if that fails."""
        self.model = model
        self._functions = _load_saved_model(model)

    def __repr__(self):
        return f"<tfclic codec {self.model} ({self.model.fingerprint})>"

    def compress(self, image, quality=DEFAULT_QUALITY):
        """Compresses an image.

        Args:
          image: uint8 array [H, W, 3] (sRGB), or [H, W] or [H, W, 1] (grayscale), 0..255.
          quality: number, 0 (smallest) to 100 (best).

        Returns:
          bytes, the content of a `.tfclic` file.

        Raises:
          errors.ImageError: `image` is not such an array, or too large.
          errors.UsageError: `quality` is not in 0..100.
        """
        pixels, quality = _checked_image(image), _checked_quality(quality)
        return self._call("compress", errors.ImageError, pixels, quality).numpy()

    def decompress(self, data):
        """Decompresses a file that this model made.

        Args:
          data: bytes of a `.tfclic` file.

        Returns:
          uint8 array [H, W, 3], or [H, W] if the image is grayscale.

        Raises:
          errors.FileFormatError: it is not a sound `.tfclic` file.
          errors.ModelError: another model made it.
        """
        pixels = self._decode("decompress", data)
        return pixels[..., 0] if pixels.shape[-1] == 1 else pixels

    def info(self, data):
        """Reads the header of a file; see `info` of this module."""
        return info(data)

    def evaluate(self, image, quality=DEFAULT_QUALITY):
        """Compresses a colour image and tells what the encoder knows, for evaluation.

        Args:
          image: uint8 array [H, W, 3], 0..255.
          quality: number, 0..100.

        Returns:
          A dict: `file` (bytes), `estimated_bits` (float, the model's own estimate of the file's
          payload), `reconstruction` (uint8 [H, W, 3], the encoder's), `latents` (int32 [h, w, N]).

        Raises:
          As `compress`; errors.ModelError if the model was exported without this function.
        """
        pixels, quality = _checked_image(image), _checked_quality(quality)
        found = self._call("evaluate", errors.ImageError, pixels, quality)
        found = {name: value.numpy() for name, value in found.items()}
        return {**found, "estimated_bits": float(found["estimated_bits"])}

    def decode_latents(self, data):
        """Decodes only the latents of a file: int32 array [h, w, N]; raises as `decompress`."""
        return self._decode("decode_latents", data)

    def _decode(self, function, data):
        made_by = info(data)["fingerprint"]
        if made_by != self.model.fingerprint:
            raise errors.ModelError(
                f"The file was made by the model with fingerprint {made_by}; this is {self.model} "
                f"({self.model.fingerprint})."
            )
        return self._call(function, errors.FileFormatError, bytes(data)).numpy()

    def _call(self, name, refusal, *arguments):
        """Calls a function of the model; raises `refusal` where the model refuses its arguments."""
        import tensorflow as tf

        function = getattr(self._functions, name, None)
        if function is None:
            raise errors.ModelError(f"The model {self.model} has no function {name}.")
        try:
            return function(*(tf.constant(argument) for argument in arguments))
        except tf.errors.ResourceExhaustedError as error:
            raise errors.TfclicError("The image is too large for this machine's memory.") from error
        except (tf.errors.InvalidArgumentError, tf.errors.DataLossError) as error:
            what = "image" if refusal is errors.ImageError else "file"
            raise refusal(f"The model {self.model} refuses this {what}: {_cause(error)}") from error


def _load_saved_model(model):
    import tensorflow as tf

    try:
        _load_ops()
        return tf.saved_model.load(os.fspath(model.path))
    # A damaged SavedModel fails in many ways (protobuf, file system, missing ops, ...).
    except Exception as error:
        raise errors.ModelError(
            f"The model {model.path} cannot be loaded: {_cause(error)}"
        ) from error


def _load_ops():
    """Makes TensorFlow Compression's ops known, without importing its Python package."""
    with _OPS_LOCK:
        if any(package in sys.modules for package in _OPS_PACKAGES):
            return
        import tensorflow as tf

        for package, library in _OPS_PACKAGES.items():
            spec = importlib.util.find_spec(package)
            if spec is not None and spec.submodule_search_locations:
                tf.load_op_library(os.path.join(spec.submodule_search_locations[0], library))
                return
    raise errors.ModelError("The package tensorflow-compression is not installed.")


def _checked_image(image):
    pixels = np.asarray(image)
    if pixels.dtype != np.uint8:
        raise errors.ImageError(f"The image has to be an array of uint8, not of {pixels.dtype}.")
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.ndim != 3 or pixels.shape[-1] not in (1, 3):
        raise errors.ImageError(
            f"The image has to be [H, W, 3], [H, W, 1] or [H, W], not {list(pixels.shape)}."
        )
    if not pixels.size:
        raise errors.ImageError("The image has no pixels.")
    return pixels


def _checked_quality(quality):
    if not 0 <= quality <= 100:
        raise errors.UsageError(f"The quality has to be a number from 0 to 100, not {quality}.")
    return np.float32(quality)


def _cause(error):
    """Returns the one line of a TensorFlow error that says what happened."""
    text = getattr(error, "message", None) or str(error)
    refused = re.search(r"assertion failed: \[(.*?)\]", text)
    if refused:
        return refused.group(1)
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    return lines[0] if lines else type(error).__name__
