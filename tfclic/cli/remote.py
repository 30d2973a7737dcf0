"""What `bin/compress` and `bin/decompress` do with --server: the same files, made elsewhere."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tfclic import errors, images, runtime
from tfclic.format import alpha, header, picture
from tfclic.format.picture import NO_METADATA, Metadata
from tfclic.runtime import catalog

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

AHEAD = 4  # files on their way to the server or back


def add_argument(parser: argparse.ArgumentParser) -> None:
    """Adds --server to an argparse parser."""
    parser.add_argument(
        "--server", metavar="HOST:PORT",
        help="let this server do the work, by gRPC (serve, TensorFlow Serving)",
    )  # fmt: skip


def refuse(**given: object) -> None:
    """Raises errors.UsageError if an option is given that a server cannot do.

    Args:
      **given: whether each option is, by its name.
    """
    for name, is_given in given.items():
        if is_given:
            raise errors.UsageError(f"--{name} works without --server only.")


class Coder:
    """A server's codec as the programs use it, for images as they have them.

    Args:
      address: HOST:PORT.
      model: its name there; None: for each file that which made it, or else the default.

    Raises:
      errors.UsageError: the packages for that are not installed.
    """

    def __init__(self, address: str, model: str | None = None) -> None:
        # it imports grpc, which takes longer than everything else here
        from tfclic.serving import client

        self._client, self._model = client.Client(address), model

    def compress(
        self,
        pixels: npt.NDArray[np.uint8],
        quality: float | None,
        metadata: Metadata = NO_METADATA,
        effort: int = 0,
        areas: Sequence[runtime.Area] = (),
    ) -> bytes:
        """The file, bytes, of an array as `runtime.Codec.compress` has; raises as `client.Client`.

        Alpha and metadata stay here: the server codes the image. TensorFlow Serving has one quality
        for it, and no effort.
        """
        colours, plane = alpha.split(pixels)
        colours = colours[..., 0] if colours.shape[-1] == 1 else colours
        quality = runtime.DEFAULT_QUALITY if quality is None else quality
        model = self._model or runtime.DEFAULT_MODEL
        png, places = images.encode(colours, "image.png"), " ".join(map(str, areas))
        coded = picture.parse(self._client.compress(model, png, quality, effort, places))
        return picture.pack(coded._replace(metadata=metadata, alpha=plane))

    def decompress(
        self, data: bytes, max_pixels: int = header.DEFAULT_MAX_PIXELS, scale: float = 1
    ) -> npt.NDArray[np.uint8]:
        """The image of a file, as `runtime.Codec.decompress`; raises as `client.Client`."""
        whole = picture.parse(data)
        image, plane = whole.image, whole.alpha
        # which stays where it is: a server decodes by it, or says that it cannot
        kept = picture.Picture(image, quality_map=whole.quality_map)
        if scale != 1:
            # the alpha is to become smaller, too
            kept, plane = kept._replace(alpha=plane), b""
        file = picture.pack(kept)
        png = self._client.decompress(self._model or _model_of(image), file, scale)
        keeps = images.Keeps(alpha=scale != 1)
        pixels = images.decode(png, "The server's image", keeps=keeps, max_pixels=max_pixels).pixels
        height, width = pixels.shape[:2]
        return alpha.joined(pixels, alpha.decode(plane, height, width)) if plane else pixels


def _model_of(data: bytes) -> str:
    fingerprint = header.parse(data).fingerprint.hex()
    try:
        return catalog.find_fingerprint(fingerprint).name
    except errors.ModelError:
        return runtime.DEFAULT_MODEL
