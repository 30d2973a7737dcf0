"""tfclic: learned image compression with TensorFlow.

    import tfclic

    codec = tfclic.load("gmm_attention_small")
    data = codec.compress(array, quality=50)  # uint8 [H, W, 3 or 4] or [H, W] -> bytes of a file
    array = codec.decompress(data)

Importing this package does not import TensorFlow; loading a model does.

A file may have metadata beside its image, which models are not asked for:

    data = codec.compress(array, metadata=tfclic.Metadata(icc_profile=profile))
    profile = tfclic.metadata_of(data).icc_profile
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfclic.format.picture import Metadata

if TYPE_CHECKING:
    import os

    from tfclic.runtime import Codec

__version__ = "0.1.0"
__all__ = ["Metadata", "load", "metadata_of"]


def load(name_or_path: str | os.PathLike[str], coder: str | None = None) -> Codec:
    """Loads an exported model, ready to compress and decompress.

    Args:
      name_or_path: the name of a model in saved_models/ or in a folder of the environment variable
        TFCLIC_MODELS (its latest version, or NAME/VERSION), or the path of a model's folder.
      coder: what its files are to be written with, "range" or "interleaved", which needs nothing
        but TensorFlow; None: the range coder, where the model and this machine have it.

    Returns:
      A `tfclic.runtime.Codec`.

    Raises:
      errors.ModelError: there is no such model, or it cannot be loaded.
    """
    from tfclic import runtime

    return runtime.load(name_or_path, coder)


def metadata_of(data: bytes) -> Metadata:
    """What is beside the image in a `.tfclic` file.

    Args:
      data: bytes of the file. Of its image nothing but the header is looked at.

    Returns:
      A `Metadata`: `icc_profile`, `exif` and `xmp`, bytes each, empty if there is none.

    Raises:
      errors.FileFormatError: it is damaged, or no `.tfclic` file.
    """
    from tfclic.format import header, picture

    whole = picture.parse(data)
    header.parse(whole.image)
    return whole.metadata
