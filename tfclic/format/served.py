"""The functions for servers that the graph of an exported model has.

They take and give batches, `[N]`. Each element has a status, string: GOOD, or one sentence that
says what is wrong with it; its other results are then empty or 0.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from tfclic.format.interface import Function

# Of an element that is well.
GOOD = "OK"
# TensorFlow Serving writes strings in base64 where a name ends so, and nowhere else.
BINARY = "_bytes"


class Images(NamedTuple):
    """Encoded images, string, and qualities."""

    images: Any
    qualities: Any


class Files(NamedTuple):
    """Files that are read."""

    files: Any


class CompressedImages(NamedTuple):
    """Files that were made."""

    files_bytes: Any
    statuses: Any


class DecompressedFiles(NamedTuple):
    """PNG files."""

    images_bytes: Any
    statuses: Any


class HeatMaps(NamedTuple):
    """Grayscale PNG files with a pixel for 16x16 of the image; bits per pixel that white is."""

    maps_bytes: Any
    scale: Any
    statuses: Any


class Infos(NamedTuple):
    """The fields of `Info`, and statuses."""

    width: Any
    height: Any
    tile_width: Any
    tile_height: Any
    grayscale: Any
    quality: Any
    tiles: Any
    payload_bytes: Any
    fingerprint: Any
    coder: Any
    statuses: Any


COMPRESS = Function("compress", Images, CompressedImages)
DECOMPRESS = Function("decompress", Files, DecompressedFiles)
INFO = Function("info", Files, Infos)
HEAT_MAP = Function("heat_map", Files, HeatMaps)
SERVED: tuple[Function[Any], ...] = (COMPRESS, DECOMPRESS, INFO, HEAT_MAP)
