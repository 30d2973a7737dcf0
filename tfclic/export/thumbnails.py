"""Maps of an exported model's latents to thumbnails, fitted to what it decodes.

A linear block transform and a nonlinear one make pixels of latents; of means over squares of pixels
the linear part is nearly all. So images are coded and decoded with the model as it is, and the
convolution of latents that comes nearest to the means is the solution of a least-squares problem.
Neither the graph nor the fingerprint knows.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tfclic import errors, runtime
from tfclic.format.latents import MULTIPLE, STRIDE
from tfclic.format.model import THUMBNAILS
from tfclic.runtime import catalog, checksums, thumbnails
from tfclic.runtime.thumbnails import Map

if TYPE_CHECKING:
    from tfclic.images import Pixels
    from tfclic.models.base import ImageCodec
    from tfclic.runtime.catalog import Model

IMAGES = 40  # whose middles are enough
QUALITIES = 0.0, 25.0, 50.0, 75.0, 100.0  # at which images are coded
# By what sides are divided: how many channels of the latents are taken, those that matter most.
CHANNELS: Mapping[int, int] = {4: 128, 8: 64, 16: 32}
SIZE = 3  # of the kernel
RIDGE = 1e-4  # of the variance of what is seen, which keeps what is hardly seen small
_LEAST_ERROR = 1e-3  # of a mean square, where means of decibels are taken


class Seen(NamedTuple):
    """An image as it was coded.

    Attributes:
      latents: int16 [h, w, N], as coded.
      pixels: uint8 [16 h, 16 w, 3], as decoded.
      quality: 0..100.
    """

    latents: np.ndarray
    pixels: Pixels
    quality: float


def add(model: Model, codec: ImageCodec, images: Iterable[Pixels]) -> dict[int, float]:
    """Fits the maps of an exported model, and puts them into its folder and its card.

    Args:
      model: the exported model.
      codec: what it was made of, for its gains.
      images: uint8 [H, W, 3], like those that will be coded; what lies beyond multiples of 64
        pixels is cut off.

    Returns:
      How near they come to the means of what was seen, the mean PSNR, dB, by what they divide sides
      by.

    Raises:
      errors.ModelError: the synthesis does not take latents times gains; or the folder cannot be
        written.
      errors.UsageError: no image has 64 pixels each way.
    """
    if not codec.scales_latents:
        raise errors.ModelError(f"{model} has no thumbnails: its latents are more than scaled.")
    logarithms = np.asarray(codec.gain.correction - codec.gain.log_gains(), np.float32)
    running = runtime.load(model.path)
    seen = [each for pixels in images for each in coded(running, pixels)]
    if not seen:
        raise errors.UsageError("Thumbnails are learned of images with 64 pixels each way or more.")
    maps = {by: fitted(seen, by, logarithms, count) for by, count in CHANNELS.items()}
    write(model, thumbnails.packed(maps))
    return {by: decibels(seen, by, found) for by, found in maps.items()}


def write(model: Model, content: bytes) -> None:
    """Puts the content of a file of maps into a model's folder, and its checksum into the card.

    Raises:
      errors.ModelError: they cannot be written.
    """
    target = model.path / THUMBNAILS
    temporary = target.with_suffix(".tmp")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, target)
    except OSError as error:
        raise errors.ModelError(f"{target} cannot be written: {error.strerror}.") from error
    if model.card.checksums is not None:
        digest = checksums.of_files(model.path)[THUMBNAILS]
        known = {**model.card.checksums, THUMBNAILS: digest}
        catalog.update(model, lambda card: {**card, "checksums": known})


def coded(codec: runtime.Codec, pixels: Pixels) -> list[Seen]:
    """An image at all of `QUALITIES`; of one that is too small, nothing."""
    height, width = (side // MULTIPLE * MULTIPLE for side in pixels.shape[:2])
    if not (height and width):
        return []
    found = []
    for quality in QUALITIES:
        data = codec.compress(pixels[:height, :width], quality)
        latents, decoded = codec.decode_latents(data), codec.decompress(data)
        found.append(Seen(latents, decoded, codec.info(data)["quality"]))
    return found


def fitted(seen: Sequence[Seen], by: int, logarithms: np.ndarray, count: int) -> Map:
    """The map that comes nearest to what was seen.

    Args:
      seen: images as they were coded.
      by: what sides are divided by.
      logarithms: float32 [L, N], of the inverse gains, as `Map` has them.
      count: how many channels it takes at most.

    Returns:
      A `Map`.
    """
    everything = np.arange(logarithms.shape[1], dtype=np.int32)
    pointwise = _solved(seen, by, everything, logarithms, 1)
    kept = np.sort(np.argsort(-_weights(seen, pointwise), kind="stable")[:count])
    return _solved(seen, by, kept.astype(np.int32), logarithms, SIZE)


def _weights(seen: Sequence[Seen], pointwise: Map) -> np.ndarray:
    """How much each channel of a map of all moves pixels, float [N]."""
    values = [(each.latents * pointwise.gains(each.quality)).var((0, 1)) for each in seen]
    return np.mean(values, 0) * np.square(pointwise.kernel[0, 0]).sum(-1)


def _solved(
    seen: Sequence[Seen],
    by: int,
    channels: np.ndarray,
    logarithms: np.ndarray,
    size: int,
) -> Map:
    """The best of all maps that take these channels, with a kernel of that size."""
    outputs = 3 * (STRIDE // by) ** 2
    kernel = np.zeros([size, size, len(channels), outputs], np.float32)
    bias = np.zeros(outputs, np.float32)
    empty = Map(channels, logarithms[:, channels], kernel, bias)
    unknowns = kernel[..., 0].size + 1
    squares, products = np.zeros([unknowns, unknowns]), np.zeros([unknowns, outputs])
    for each in seen:
        columns = empty.columns(each.latents[..., channels], each.quality)
        columns = columns.reshape(-1, unknowns - 1)
        columns = np.pad(columns, [(0, 0), (0, 1)], constant_values=1)
        wanted = _blocks(_means(each.pixels, by), STRIDE // by)
        squares += columns.T @ columns
        products += columns.T @ wanted
    # of columns with a variance of 1, or 0
    scales = np.sqrt(np.maximum(np.diag(squares) / squares[-1, -1], 1e-12))
    squares /= np.outer(scales, scales)
    ridge = np.full(unknowns, RIDGE * squares[-1, -1])
    ridge[-1] = 0
    solution = np.linalg.solve(squares + np.diag(ridge), products / scales[:, None])
    solution = (solution / scales[:, None]).astype(np.float32)
    return empty._replace(kernel=solution[:-1].reshape(kernel.shape), bias=solution[-1])


def decibels(seen: Sequence[Seen], by: int, found: Map) -> float:
    """The mean PSNR of thumbnails against means of what was decoded, dB."""
    errors_ = [
        np.square(
            found.image(each.latents[..., found.channels], each.quality) - _means(each.pixels, by)
        ).mean()
        for each in seen
    ]
    return float(np.mean(-10 * np.log10(np.maximum(errors_, _LEAST_ERROR) / 255**2)))


def _means(pixels: Pixels, by: int) -> np.ndarray:
    """float32 [H / by, W / by, 3]."""
    height, width = (side // by for side in pixels.shape[:2])
    return pixels.reshape(height, by, width, by, 3).mean((1, 3), dtype=np.float32)


def _blocks(image: np.ndarray, side: int) -> np.ndarray:
    """An image [side * h, side * w, 3] as [h * w, 3 * side**2], as `Map` has its outputs."""
    height, width = (each // side for each in image.shape[:2])
    blocks = image.reshape(height, side, width, side, 3).transpose(0, 2, 1, 3, 4)
    return blocks.reshape(height * width, -1)
