"""Running exported models, without TensorFlow's Python package."""

from tfclic.runtime.checks import check_effort, check_tile
from tfclic.runtime.codec import DEFAULT_EFFORT, DEFAULT_QUALITY, DEFAULT_TILE, Codec
from tfclic.runtime.library import DEFAULT_MODEL, Library, load
from tfclic.runtime.qualities import Area

__all__ = [
    "Area",
    "DEFAULT_EFFORT",
    "DEFAULT_MODEL",
    "DEFAULT_QUALITY",
    "DEFAULT_TILE",
    "Codec",
    "Library",
    "check_effort",
    "check_tile",
    "load",
]
