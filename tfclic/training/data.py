"""Batches of random crops, and held-out images for validation.

Batch number `step` is a pure function of (seed, step), so a run that resumes at a step sees what an
uninterrupted one would have seen: the stream simply starts there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from absl import logging
from PIL import Image

from tfclic import errors
from tfclic.images import drawing

if TYPE_CHECKING:
    from tfclic.training.sources import ImageStore

VALIDATION_SIDE = 512


def split_validation(store: ImageStore, count: int) -> tuple[list[int], list[int]]:
    """Holds out `count` images by a fixed rule: those whose names have the smallest SHA-256.

    The rule looks at the file name alone, so the same images are held out wherever the folder lies,
    and adding images moves few. A small set gives at most a fifth of its images.

    Args:
      store: `sources.ImageStore` of n images.
      count: how many to hold out; 0 holds out none.

    Returns:
      (training, validation): two sorted lists of indices into the store, disjoint.

    Raises:
      errors.UsageError: nothing would be left to train on.
    """
    n = len(store)
    if count and n < 2:
        raise errors.UsageError("One image is not enough: one is held out for validation.")
    held = min(count, max(1, n // 5))
    if held < count:
        images = "1 image is" if held == 1 else f"{held} images are"
        logging.warning("%s held out for validation, not %d, of %d.", images, count, n)
    names = [name.rsplit("/", 1)[-1] for name in store.names]
    ranked = sorted(range(n), key=lambda i: hashlib.sha256(names[i].encode()).digest())
    return sorted(ranked[held:]), sorted(ranked[:held])


class RandomCrops:
    """Random square crops of a store's images, each a pure function of (seed, number of the crop).

    Images are drawn in proportion to their area, so every pixel of the set is equally likely to be
    seen; drawn evenly, a set of mixed sizes would repeat the few crops of its small images. Each
    crop is flipped left to right at random and first scaled down, antialiased, by a random factor.
    Some may be no crops of images, but drawn (`drawing.drawn`).
    """

    def __init__(
        self,
        store: ImageStore,
        indices: Sequence[int],
        crop_size: int,
        downscale_min: float = 1.0,
        seed: int = 0,
        ahead: int = 0,
        drawn_share: float = 0.0,
    ) -> None:
        """Makes the stream.

        Args:
          store: `sources.ImageStore`.
          indices: the images to draw from.
          crop_size: side of the crops, in pixels.
          downscale_min: the factor is uniform between this and 1, and never so small that the
            image's shorter side would become less than the crop's; 1 scales nothing.
          seed: of all random numbers.
          ahead: added to the numbers of the crops of all batches: a run whose batches had
            another size before goes on in the stream where it was.
          drawn_share: of the crops, which are drawn.
        """
        self._store = store
        self._indices = np.asarray(indices)
        self._crop = crop_size
        self._downscale_min = downscale_min
        self._seed, self._ahead, self._drawn_share = seed, ahead, drawn_share
        areas = np.cumsum(np.prod(store.sizes[self._indices], axis=1))
        self._shares = areas / areas[-1]

    def crop(self, number: int) -> npt.NDArray[np.uint8]:
        """Returns crop `number` of the stream, uint8 [crop_size, crop_size, 3]."""
        random = np.random.Generator(np.random.Philox(key=[self._seed % 2**64, number]))
        # one number more, so that streams without drawn crops stay what they were
        if self._drawn_share and random.random() < self._drawn_share:
            return drawing.drawn(random, self._crop)
        for _ in range(100):
            drawn = int(np.searchsorted(self._shares, random.random(), side="right"))
            image = self._store.load(int(self._indices[min(drawn, len(self._indices) - 1)]))
            if image is not None and min(image.shape[:2]) >= self._crop:
                return self._cut(image, random)
        raise errors.ImageError("The training images cannot be decoded.")

    def _cut(
        self, image: npt.NDArray[np.uint8], random: np.random.Generator
    ) -> npt.NDArray[np.uint8]:
        height, width = image.shape[:2]
        smallest = max(self._downscale_min, self._crop / min(height, width))
        factor = 1.0 if smallest >= 1 else random.uniform(smallest, 1.0)
        side = min(self._crop / factor, height, width)
        top, left = random.random(2) * (height - side, width - side)
        flip = random.random() < 0.5
        if self._downscale_min < 1:
            crop = _resized(image, top, left, side, self._crop)
        else:
            top, left = round(top), round(left)
            crop = image[top : top + self._crop, left : left + self._crop]
        return crop[:, ::-1] if flip else crop

    def batch(self, step: int, batch_size: int, rows: range | None = None) -> npt.NDArray[np.uint8]:
        """Returns crops ahead + step * batch_size onwards, a batch of them.

        That is uint8 [batch_size, crop_size, crop_size, 3].

        rows: range; only these of the batch are made and returned.
        """
        first = self._ahead + int(step) * batch_size
        return np.stack([self.crop(first + i) for i in rows or range(batch_size)])

    def dataset(
        self, batch_size: int, first_step: int, last_step: int, rows: range | None = None
    ) -> tf.data.Dataset:
        """Returns a tf.data.Dataset of the batches first_step .. last_step - 1, made ahead.

        rows: range; the part of each batch that this process is to have, all of it if None.
        """
        shape = [len(rows or range(batch_size)), self._crop, self._crop, 3]

        def make(step: tf.Tensor) -> tf.Tensor:
            batch = tf.numpy_function(
                lambda s: self.batch(s, batch_size, rows), [step], tf.uint8, stateful=False
            )
            return tf.ensure_shape(batch, shape)

        steps = tf.data.Dataset.range(first_step, last_step)
        return steps.map(make, num_parallel_calls=2, deterministic=True).prefetch(4)


def readable(batches: Iterable[tf.Tensor]) -> Iterator[tf.Tensor]:
    """Yields what `RandomCrops.dataset` makes, uint8 [B, crop_size, crop_size, 3] each.

    Raises:
      errors.ImageError: no more can be made (the disk is gone).
    """
    batches = iter(batches)
    while True:
        try:
            images = next(batches)
        except StopIteration:
            return
        except tf.errors.OpError:
            raise errors.ImageError("The training images can no longer be read.") from None
        yield images


def _resized(
    image: npt.NDArray[np.uint8], top: float, left: float, side: float, size: int
) -> npt.NDArray[np.uint8]:
    """Scales the square of `side` pixels at (top, left), all floats, to uint8 [size, size, 3]."""
    row, column = int(top), int(left)
    region = image[row : int(np.ceil(top + side)), column : int(np.ceil(left + side))]
    top, left = top - row, left - column
    bottom, right = min(top + side, region.shape[0]), min(left + side, region.shape[1])
    picture = Image.fromarray(np.ascontiguousarray(region))
    box = (left, top, right, bottom)
    return np.asarray(picture.resize((size, size), Image.Resampling.LANCZOS, box=box))


def validation_images(store: ImageStore, indices: Iterable[int]) -> list[npt.NDArray[np.uint8]]:
    """Cuts the middles out of the given images.

    Returns:
      List of uint8 [H, W, 3], H and W multiples of 64 up to 512; smaller images are left out.
    """
    images = []
    for index in indices:
        image = store.load(index)
        if image is None or min(image.shape[:2]) < 64:
            continue
        height, width = (min(VALIDATION_SIDE, s // 64 * 64) for s in image.shape[:2])
        top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
        images.append(image[top : top + height, left : left + width].copy())
    return images
