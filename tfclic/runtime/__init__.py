"""Running exported models, without TensorFlow's Python package."""

from tfclic.runtime.codec import (
    DEFAULT_EFFORT,
    DEFAULT_MODEL,
    DEFAULT_QUALITY,
    DEFAULT_TILE,
    Codec,
    Library,
    check_effort,
    check_tile,
    load,
)

__all__ = [
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
