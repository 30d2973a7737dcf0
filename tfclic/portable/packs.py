"""Packs of training images for a portable folder: crops, made once, small enough to travel.

Crops are drawn as the ordinary loop draws its own (`data.RandomCrops`: in proportion to the images'
areas, scaled down at random), but larger than a step's, which the run cuts out of them at random.
Held-out images stay out.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import io
from typing import TYPE_CHECKING, Any

import numpy as np
import tqdm
from PIL import Image

from tfclic import errors
from tfclic.portable.runner import files
from tfclic.training import data

if TYPE_CHECKING:
    import pathlib

    from ml_collections import ConfigDict

    from tfclic.training.sources import ImageStore


@dataclasses.dataclass
class Options:
    """What a portable folder is to hold besides the step and its state.

    Attributes:
      side: of the packed crops, in pixels.
      first: number of the first crop; another export that starts behind the last one of this gives
        new crops of the same images.
      image_format: "jpeg" (quality 95, full colour resolution) or "webp" (lossless).
      pack_bytes: of all packs together, at most.
      file_bytes: of each file, at most.
      steps_per_call: steps per launch, unless the run is told otherwise.
      compact_state: whether the state is written in its compact form.
    """

    side: int
    first: int = 0
    image_format: str = "jpeg"
    pack_bytes: int = 40 * files.MIB
    file_bytes: int = 16 * files.MIB
    steps_per_call: int = 10
    compact_state: bool = False


def encode(crop: np.ndarray, image_format: str) -> bytes:
    """Returns uint8 [H, W, 3] as the bytes of a file; see `Options.image_format`."""
    settings: dict[str, Any] = {
        "jpeg": {"quality": 95, "subsampling": 0},
        "webp": {"lossless": True, "quality": 100, "method": 4},
    }[image_format]
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(crop)).save(file, image_format, **settings)
    return file.getvalue()


def write_packs(
    folder: pathlib.Path, store: ImageStore, training: ConfigDict, options: Options
) -> int:
    """Writes as many crops as fit into pack-*.zip files.

    A crop does not come twice for nothing: there are no more than would show every pixel of the
    images about four times.

    Args:
      folder: of the packs.
      store: `sources.ImageStore`.
      training: configuration.
      options: `Options`.

    Returns:
      The number of crops.

    Raises:
      errors.UsageError: no image is large enough, or not even one crop fits.
    """
    chosen, _ = data.split_validation(store, training.validation_images)
    chosen = [i for i in chosen if store.sizes[i].min() >= options.side]
    if not chosen:
        raise errors.UsageError(
            f"No training image has sides of at least {options.side} pixels, as the packs' crops."
        )
    crops = data.RandomCrops(
        store,
        chosen,
        options.side,
        training.downscale_min,
        training.seed,
        drawn_share=training.drawn_share,
    )
    most = max(64, int(4 * np.prod(store.sizes[chosen], axis=1).sum() / options.side**2))
    writer = files.PackWriter(folder, options.file_bytes)
    count, ending = 0, f".{options.image_format}"

    def make(number: int) -> bytes:
        return encode(crops.crop(number), options.image_format)

    bar = tqdm.tqdm(total=options.pack_bytes, unit="B", unit_scale=True, desc="packs", disable=None)
    with bar, concurrent.futures.ThreadPoolExecutor(2) as pool:
        while count < most:
            numbers = range(options.first + count, options.first + min(count + 32, most))
            for number, image in zip(numbers, pool.map(make, numbers)):
                if writer.total + len(image) + writer.ENTRY_BYTES > options.pack_bytes:
                    most = count
                    break
                writer.add(number, image, ending)
                bar.update(len(image))
                count += 1
    writer.close()
    if not count:
        raise errors.UsageError("The packs' size is too small for a single crop.")
    return count
