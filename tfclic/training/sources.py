"""Where training images come from: a folder of image files, or a TensorFlow Datasets name.

A source is a list of encoded images with known sizes. `open_source` finds them, and an `ImageStore`
decodes them, keeping the decoded pixels in memory where they fit: training and decoding share the
same few cores.
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import io
import os
import pathlib
import threading
import types
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Union

import numpy as np
import numpy.typing as npt
from absl import logging
from PIL import Image, ImageFile

from tfclic import errors
from tfclic.images.conversion import to_8_bits
from tfclic.images.reading import largest_sample

Encoded = Union[bytes, pathlib.Path]

TFDS_PREFIX = "tfds:"
DECODED_LIMIT = 3 * 10**9
ENCODED_LIMIT = 6 * 10**9


class ImageStore:
    """Encoded images of known size, decoded on demand or kept decoded.

    Attributes:
      names: list of n strings, unique; what the validation rule and messages call each image.
      sizes: int64 [n, 2], height and width in pixels.
      description: one line for people: where the images are from, how many, how large.
    """

    def __init__(
        self,
        encoded: Iterable[Encoded],
        names: Iterable[str],
        sizes: npt.ArrayLike,
        origin: str,
        decoded: Sequence[npt.NDArray[np.uint8]] | None = None,
    ) -> None:
        """Makes the store.

        Args:
          encoded: list of n paths or bytes.
          names, sizes: as the attributes.
          origin: what the description calls their source.
          decoded: list of n uint8 [H, W, 3], or None to decode at each use.
        """
        self._encoded = list(encoded)
        self._decoded = decoded
        self._warned = threading.Event()
        self.names = list(names)
        self.sizes = np.asarray(sizes, np.int64).reshape([-1, 2])
        megapixels = np.sum(np.prod(self.sizes, axis=1)) / 1e6
        self.description = f"{origin}: {len(self.names)} images, {megapixels:.1f} megapixels"

    def __len__(self) -> int:
        return len(self.names)

    def fingerprint(self) -> str:
        """Returns 8 hex digits that change when the images' names or sizes do."""
        listing = "\n".join(f"{n} {h} {w}" for n, (h, w) in zip(self.names, self.sizes.tolist()))
        return hashlib.sha256(listing.encode()).hexdigest()[:8]

    def load(self, index: int) -> npt.NDArray[np.uint8] | None:
        """Returns image `index` as uint8 [H, W, 3], or None if its pixels cannot be decoded."""
        if self._decoded is not None:
            return self._decoded[index]
        image = _decode(self._encoded[index])
        if image is None and not self._warned.is_set():
            self._warned.set()
            logging.warning("%s cannot be decoded; others are used instead.", self.names[index])
        return image


def check(data: str) -> None:
    """Raises errors.UsageError if `data`, as for `open_source`, is a folder that is not there."""
    if not data.startswith(TFDS_PREFIX) and not pathlib.Path(data).is_dir():
        raise errors.UsageError(f"{data} is not a folder.")


def open_source(data: str, shortest: int, decoded_limit: int = DECODED_LIMIT) -> ImageStore:
    """Finds the images of `data`: a folder (searched recursively) or `tfds:NAME`.

    Args:
      data: the folder's path, or "tfds:" and a TensorFlow Datasets name ("tfds:clic").
      shortest: least length of the shorter side, in pixels; smaller images are left out.
      decoded_limit: bytes of decoded pixels to keep in memory; a larger set is decoded at each use,
        and an image with a good header but damaged pixels is then only noticed when it is drawn.

    Returns:
      An `ImageStore`. Images left out are counted in one warning.

    Raises:
      errors.UsageError: no such folder, no usable image, or TensorFlow Datasets is missing.
    """
    check(data)
    if data.startswith(TFDS_PREFIX):
        origin = data
        encoded, names = _read_tfds(data[len(TFDS_PREFIX) :])
    else:
        origin = pathlib.Path(data).resolve().name
        encoded, names = _list_folder(pathlib.Path(data))
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        read = list(pool.map(_read_size, encoded))
        sizes = {i: size for i, size in enumerate(read) if size and min(size) >= shortest}
        usable = list(sizes)
        unreadable = sum(size is None for size in read)
        small = len(read) - unreadable - len(usable)
        decoded = None
        if 3 * sum(height * width for height, width in sizes.values()) <= decoded_limit:
            pixels = zip(usable, pool.map(_decode, [encoded[i] for i in usable]))
            whole = {i: image for i, image in pixels if image is not None}
            unreadable += len(usable) - len(whole)
            usable, decoded = list(whole), list(whole.values())
    if unreadable or small:
        logging.warning(
            f"{unreadable + small} of the {len(read)} images in {data} are left out: "
            f"{unreadable} unreadable, {small} smaller than {shortest} pixels."
        )
    if not usable:
        raise errors.UsageError(
            f"{data} holds no readable image whose sides are at least {shortest} pixels."
        )
    kept = [encoded[i] for i in usable]
    kept_names, kept_sizes = [names[i] for i in usable], [sizes[i] for i in usable]
    return ImageStore(kept, kept_names, kept_sizes, origin, decoded)


def _list_folder(folder: pathlib.Path) -> tuple[list[Encoded], list[str]]:
    extensions = set(Image.registered_extensions())
    found: list[pathlib.Path] = []
    above: dict[str, frozenset[str]] = {str(folder): frozenset()}
    for directory, folders, files in os.walk(folder, followlinks=True):
        # a link to a folder above would show the same images again, forty times over
        here = above.pop(directory) | {os.path.realpath(directory)}
        inner = {f: os.path.join(directory, f) for f in folders}
        folders[:] = [f for f, path in inner.items() if os.path.realpath(path) not in here]
        above.update((inner[f], here) for f in folders)
        paths = [pathlib.Path(directory) / f for f in files if not f.startswith(".")]
        found += [p for p in paths if p.suffix.lower() in extensions]
    names = {p.relative_to(folder).as_posix(): p for p in found}
    return [names[n] for n in sorted(names)], sorted(names)


def _read_tfds(name: str) -> tuple[list[Encoded], list[str]]:
    try:
        import tensorflow_datasets as tfds
    except ImportError:
        raise errors.UsageError(
            f"{TFDS_PREFIX}{name} needs TensorFlow Datasets: pip install tensorflow-datasets."
        ) from None
    try:
        builder = tfds.builder(name)
        builder.download_and_prepare()
        key = _image_feature(tfds, builder.info.features)
        decoders = {key: tfds.decode.SkipDecoding()}
        dataset = builder.as_dataset(split="train", shuffle_files=False, decoders=decoders)
    except Exception as error:  # noqa: BLE001 - the builders' own errors have no common class
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise errors.UsageError(f"{TFDS_PREFIX}{name} cannot be loaded: {reason}") from None
    encoded: list[Encoded] = []
    total = 0
    for example in dataset.as_numpy_iterator():
        total += len(example[key])
        if total > ENCODED_LIMIT:
            logging.warning("Only the first %d images of %s fit in memory.", len(encoded), name)
            break
        encoded.append(example[key])
    return encoded, [f"{name}/{i:08d}" for i in range(len(encoded))]


def _image_feature(tfds: types.ModuleType, features: Mapping[str, Any]) -> str:
    keys = [k for k, f in features.items() if isinstance(f, tfds.features.Image)]
    for preferred in ("image", "hr"):
        if preferred in keys:
            return preferred
    if not keys:
        raise ValueError("it has no image feature")
    return keys[0]


def _open(encoded: Encoded) -> ImageFile.ImageFile:
    return Image.open(io.BytesIO(encoded) if isinstance(encoded, bytes) else encoded)


def _read_size(encoded: Encoded) -> tuple[int, int] | None:
    try:
        with _open(encoded) as image:
            return image.height, image.width
    except MemoryError:
        raise
    # damaged files raise whatever the decoder stumbles over
    except Exception:
        return None


def _decode(encoded: Encoded) -> npt.NDArray[np.uint8] | None:
    try:
        with _open(encoded) as image:
            most = largest_sample(image)
            return np.asarray(to_8_bits(image, most).convert("RGB"))
    except MemoryError:
        raise
    except Exception:
        return None
