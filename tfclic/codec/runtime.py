"""Runs exported models: arrays to `.tfclic` bytes and back."""

import re

import numpy as np

from tfclic import errors
from tfclic.codec import catalog
from tfclic.codec import session as sessions

DEFAULT_MODEL = "gmm_attention_small"
DEFAULT_QUALITY = 50


def load(name_or_path=DEFAULT_MODEL):
    """Loads a model by name, NAME/VERSION or path; see `tfclic.load`.

    Returns:
      A `Codec`.

    Raises:
      errors.ModelError: there is no such model, or it cannot be loaded.
    """
    return Codec(catalog.find(name_or_path))


def claimed_fingerprint(data):
    """The fingerprint at its place in a file, 8 hex digits, however damaged the file may be.

    A hint which model to try first. What is in a file is decided by the functions of a model.
    """
    length_end = 4  # after the magic and the version; then comes a varint
    while data[length_end : length_end + 1] >= b"\x80":
        length_end += 1
    return data[length_end + 1 : length_end + 5].hex()


class Library:
    """The models of files, found by their fingerprints and loaded once each."""

    def __init__(self):
        self._codecs = {}

    def codec_of(self, data):
        """Returns the `Codec` of the model that made a file.

        Args:
          data: bytes of a `.tfclic` file.

        Raises:
          errors.FileFormatError: it is not a sound `.tfclic` file.
          errors.ModelError: there is no such model, or it cannot be loaded.
        """
        known = {model.fingerprint: model for model in reversed(catalog.models())}
        claimed = claimed_fingerprint(data)
        # Whether the file is damaged or its model missing, every model can tell.
        judge = self._load(known.get(claimed) or catalog.find_any(DEFAULT_MODEL))
        made_by = judge.info(data)["fingerprint"]
        if made_by == judge.model.fingerprint:
            return judge
        return self._load(catalog.find_fingerprint(made_by))

    def _load(self, model):
        if model.path not in self._codecs:
            self._codecs[model.path] = Codec(model)
        return self._codecs[model.path]


class Codec:
    """An exported model, loaded.

    Its methods may be called from several threads at once.

    Attributes:
      model: the `catalog.Model` it was loaded from.
    """

    def __init__(self, model):
        """Loads `model`, a `catalog.Model`; raises errors.ModelError if that fails."""
        self.model = model
        self._session = _start(model)

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
        return self._call(
            "compress_array", errors.ImageError, "file", image=pixels, quality=quality
        )

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
        pixels = self._decode("decompress_array", data, "image")
        return pixels[..., 0] if pixels.shape[-1] == 1 else pixels

    def info(self, data):
        """Reads the header of a file, whichever model made it.

        Args:
          data: bytes of a `.tfclic` file.

        Returns:
          A dict: `fingerprint` (8 hex digits, of the model that made it), `width` and `height`
          (pixels), `grayscale` (bool), `quality` (float, 0..100), `file_bytes` and `payload_bytes`.

        Raises:
          errors.FileFormatError: it is not a sound `.tfclic` file.
        """
        try:
            found = self._session.run("info", data=bytes(data))
        except sessions.SessionError as error:
            raise errors.FileFormatError(_cause(error)) from error
        found = {name: getattr(value, "item", lambda v=value: v)() for name, value in found.items()}
        return {**found, "fingerprint": found["fingerprint"].decode(), "file_bytes": len(data)}

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
        found = self._call("evaluate", errors.ImageError, image=pixels, quality=quality)
        return {**found, "estimated_bits": float(found["estimated_bits"])}

    def decode_latents(self, data):
        """Decodes only the latents of a file: int32 array [h, w, N]; raises as `decompress`."""
        return self._decode("decode_latents", data, "latents")

    def _decode(self, function, data, result):
        made_by = self.info(data)["fingerprint"]
        if made_by != self.model.fingerprint:
            raise errors.ModelError(
                f"The file was made by the model with fingerprint {made_by}; this is {self.model} "
                f"({self.model.fingerprint})."
            )
        return self._call(function, errors.FileFormatError, result, data=bytes(data))

    def _call(self, name, refusal, result=None, **arguments):
        """Calls a function of the model; raises `refusal` where the model refuses its arguments.

        Returns:
          Its result called `result`, or a dict of all results.
        """
        if name not in self._session:
            raise errors.ModelError(f"The model {self.model} has no function {name}.")
        try:
            results = self._session.run(name, **arguments)
        except sessions.SessionError as error:
            if error.code == sessions.RESOURCE_EXHAUSTED:
                sentence = "The image is too large for this machine's memory."
                raise errors.TfclicError(sentence) from error
            if error.code in (sessions.INVALID_ARGUMENT, sessions.DATA_LOSS):
                what = "image" if refusal is errors.ImageError else "file"
                sentence = f"The model {self.model} refuses this {what}: {_cause(error)}"
                raise refusal(sentence) from error
            raise
        return results if result is None else results[result]


def _start(model):
    try:
        return sessions.Session(model.path, model.card["functions"])
    except (sessions.SessionError, KeyError, ValueError) as error:
        reason = "its card lists no functions" if isinstance(error, KeyError) else _cause(error)
        raise errors.ModelError(f"The model {model.path} cannot be loaded: {reason}.") from error


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
    text = str(error)
    refused = re.search(r"assertion failed: \[(.*?)\]", text)
    if refused:
        return refused.group(1)
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    return lines[0] if lines else type(error).__name__
