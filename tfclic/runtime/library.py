"""Models by their names, and by the files that they made."""

from __future__ import annotations

import os
import pathlib
from typing import TYPE_CHECKING

from tfclic import errors
from tfclic.format import header, picture
from tfclic.runtime import catalog
from tfclic.runtime.codec import Codec

if TYPE_CHECKING:
    from tfclic.runtime.catalog import Model
    from tfclic.runtime.progress import Progress

DEFAULT_MODEL = "gmm_attention_small"


def load(name_or_path: str | os.PathLike[str] = DEFAULT_MODEL, coder: str | None = None) -> Codec:
    """Loads a model by name, NAME/VERSION or path; see `tfclic.load`.

    Returns:
      A `Codec`.

    Raises:
      errors.ModelError: there is no such model, or it cannot be loaded.
    """
    return Codec(catalog.find(name_or_path), coder)


class Library:
    """The models of files, found by their fingerprints and loaded once each."""

    def __init__(self) -> None:
        self._codecs: dict[pathlib.Path, list[Codec]] = {}

    def codec_of(self, data: bytes) -> Codec:
        """Returns the `Codec` of the model that made a file.

        Args:
          data: bytes of a `.tfclic` file.

        Raises:
          errors.FileFormatError: it is not a sound `.tfclic` file.
          errors.ModelError: there is no such model, or it cannot be loaded.
        """
        data = picture.parse(data).image
        claimed = header.parse(data)
        known = catalog.with_fingerprint(claimed.fingerprint.hex(), claimed.coder)
        # Whether the file is damaged or its model missing, every model can tell.
        judge = self._load(known[0] if known else catalog.find_any(DEFAULT_MODEL))
        made_by = judge.info(data)["fingerprint"]
        if made_by == judge.model.fingerprint:
            return judge
        return self._load(catalog.find_fingerprint(made_by))

    def codec_of_beginning(self, data: bytes) -> Codec:
        """As `codec_of`, of the beginning of a file, which nothing but its header is known of.

        Raises:
          errors.FileFormatError: it is not the beginning of a `.tfclic` file, or of too little.
          errors.ModelError: as `codec_of`.
        """
        claimed, _ = header.beginning(picture.beginning(data).image)
        return self._load(catalog.find_fingerprint(claimed.fingerprint.hex()))

    def recode(self, data: bytes, coder: str, progress: Progress | None = None) -> bytes:
        """A file with the same latents, written by another coder.

        Args:
          data: bytes of a `.tfclic` file.
          coder: the name of that which writes, one of `tfclic.format.header.CODERS`.
          progress: function of (steps done, steps in all), called now and then.

        Returns:
          bytes of a `.tfclic` file; `data` if that is of this coder.

        Raises:
          errors.FileFormatError: it is not a sound `.tfclic` file.
          errors.ModelError: there is no such model, or none that has this coder.
        """
        whole = picture.parse(data)
        reader = self.codec_of(whole.image)
        if header.parse(whole.image).coder == coder:
            return data
        known = catalog.with_fingerprint(reader.model.fingerprint, coder)
        if not known or coder not in known[0].card.coders:
            raise errors.ModelError(
                f"No model here with fingerprint {reader.model.fingerprint} writes with the "
                f"{coder} coder; export it with --coder={coder}."
            )
        image = self._load(known[0], coder)._recode(whole.image, reader, progress)
        return picture.pack(whole._replace(image=image))

    def _load(self, model: Model, coder: str | None = None) -> Codec:
        codecs = self._codecs.setdefault(model.path, [])
        for codec in codecs:
            if coder in (None, codec.coder):
                return codec
        codecs.append(Codec(model, coder))
        return codecs[-1]
