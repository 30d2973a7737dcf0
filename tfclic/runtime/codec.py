"""Runs exported models: arrays to `.tfclic` bytes and back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tfclic import errors
from tfclic.format import alpha, boxes, header, interface, picture
from tfclic.format.latents import STRIDE
from tfclic.format.picture import NO_METADATA, Metadata
from tfclic.places import CALLED
from tfclic.runtime import checks, graphs, qualities, statistics, targets, thumbnails, tiles
from tfclic.runtime import session as sessions
from tfclic.runtime.encoder import Encoder
from tfclic.runtime.qualities import Area, Qualities, Wanted

if TYPE_CHECKING:
    from PIL.Image import Image

    from tfclic.format.picture import Picture
    from tfclic.images import Pixels
    from tfclic.runtime.catalog import Model
    from tfclic.runtime.progress import Progress
    from tfclic.runtime.qualities import Quality
    from tfclic.runtime.tiles import Region

DEFAULT_QUALITY = 50
DEFAULT_EFFORT = 0
DEFAULT_TILE = boxes.DEFAULT_SIDE  # pixels, the longest side


class Received(NamedTuple):
    """What there is of a file.

    Attributes:
      share: float, of the bytes of its strings.
      slices: int, how many slices its latents have.
      least: int, how many of them there are in the tile that has the fewest; -1: it is missing.
      tiles: int, how many tiles have all of them.
    """

    share: float
    slices: int
    least: int
    tiles: int


class Codec:
    """An exported model, loaded.

    Its methods may be called from several threads at once. One that is pickled is loaded again
    where it is read, from the same folder.

    Attributes:
      model: the `catalog.Model` it was loaded from.
      coder: the name of that which writes its files, one of `tfclic.format.header.CODERS`.
    """

    def __init__(
        self, model: Model, coder: str | None = None, session: sessions.Session | None = None
    ) -> None:
        """Loads `model`, a `catalog.Model`; raises errors.ModelError if that fails.

        `coder` is what its files are to be written with; None: the range coder, where the model and
        this machine have it. `session` is that of the coder's graph, where it is loaded already.
        """
        self._graphs = graphs.Graphs(model, coder, session)
        self.model, self.coder = model, self._graphs.coder
        self._thumbnails: dict[int, thumbnails.Map] | None = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<tfclic codec {self.model} ({self.model.fingerprint})>"

    def __reduce__(self) -> tuple[type[Codec], tuple[Model, str]]:
        return Codec, (self.model, self.coder)

    def compress(
        self,
        image: Pixels | Image,
        quality: Quality | None = None,
        *,
        areas: Sequence[Area] = (),
        file_bytes: int | None = None,
        bpp: float | None = None,
        psnr: float | None = None,
        effort: int = DEFAULT_EFFORT,
        tile: int = DEFAULT_TILE,
        metadata: Metadata = NO_METADATA,
        progress: Progress | None = None,
    ) -> bytes:
        """Compresses an image.

        At most one of `quality`, `file_bytes`, `bpp` and `psnr` says how; the last three are
        targets, for which the image is analysed once and the quality is searched. A map of
        qualities may go with a target, for which it is moved up or down as a whole.

        Args:
          image: uint8 array [H, W, 3] (sRGB, or as the metadata's profile says), or [H, W] or
            [H, W, 1] (grayscale), 0..255; or [H, W, 4] or [H, W, 2], the last channel being alpha,
            0 (clear) to 255 (opaque), not multiplied with the others. It is kept without loss;
            colours where it is 0 are not kept. Or a Pillow image of any mode, of which `metadata`
            are not taken.
          quality: number, 0 (smallest) to 100 (best); 50 if nothing else is said. Or a map: an
            array [h, w] of such numbers, of any size, which is spread over the image.
          areas: list of `tfclic.runtime.Area`s, parts of the image with qualities of their own.
          file_bytes: int, the size of the file, which it will not exceed, nor fall short of by more
            than 2 % (unless sizes jump, as with very small images).
          bpp: number, the same in bits per pixel.
          psnr: number, dB, which the image will have, and at most 0.05 dB more.
          effort: int, 0 (fast) to 9 (smallest): how long better latents are looked for. Decoding
            takes no longer.
          tile: int, pixels, the longest side of a tile, 64 to 4096, a multiple of 64. Larger images
            are coded in several, which bounds the memory.
          metadata: `tfclic.Metadata` that go into the file beside the image. Sizes that are asked
            for are of the whole file; a PSNR is of the colours.
          progress: function of (steps done, steps in all), called now and then.

        Returns:
          bytes, the content of a `.tfclic` file.

        Raises:
          errors.ImageError: `image` is not such an array, or too large.
          errors.UsageError: an argument is not in its range; or a target is out of reach, with the
            nearest that can be had.
          errors.ModelError: the model knows no effort, or no qualities that differ from place to
            place.
        """
        pixels, plane = alpha.split(checks.checked_image(image))
        given = {"file_bytes": file_bytes, "bpp": bpp, "psnr": psnr}
        target = {name: value for name, value in given.items() if value is not None}
        if len(target) + (quality is not None and np.ndim(quality) == 0) > 1:
            raise errors.UsageError("Only one of quality, bytes, bpp and PSNR can be asked for.")
        wanted = self._wanted(pixels, quality, areas)

        def finish(image: Picture) -> bytes:
            return picture.pack(image._replace(metadata=metadata, alpha=plane))

        how = bool(target), progress, effort
        encoder = self._encoder(pixels, tile, *how, wanted, finish)
        for name, value in target.items():
            return targets.compress(encoder, name, value, pixels.shape[0] * pixels.shape[1])
        return encoder.file(wanted.middle)

    def decompress(
        self,
        data: bytes,
        region: Region | None = None,
        progress: Progress | None = None,
        max_pixels: int | None = header.DEFAULT_MAX_PIXELS,
        *,
        slices: int | None = None,
        scale: float = 1,
    ) -> Pixels:
        """Decompresses a file that this model made.

        Args:
          data: bytes of a `.tfclic` file.
          region: (x, y, width, height) in pixels: what to decompress. Of a large image, only the
            tiles around it are decoded. None: all.
          progress: function of (steps done, steps in all), called now and then.
          max_pixels: how many pixels may be asked for, which a file of a few bytes can say to have;
            as many as Pillow takes. None: any number.
          slices: int, how many slices of the latents are read; for the others the image has what is
            expected of them. None: all.
          scale: 1/2, 1/4, 1/8 or 1/16, for an image of this size, whose pixels are means of those
            that `region` has, or the image. Where the model has a map of its latents to such an
            image, and the region starts on its grid, it is made by that, which is much faster, and
            nearly the same. 1: all pixels.

        Returns:
          uint8 array [H, W, 3], or [H, W] if the image is grayscale; [H, W, 4], or [H, W, 2], if
          some of it is transparent. With a scale, H and W are rounded up.

        Raises:
          errors.FileFormatError: it is not a sound `.tfclic` file, or has too many pixels.
          errors.ModelError: another model made it; or it has no slices.
          errors.UsageError: the region is not inside of the image; or there are not so many slices;
            or there is no such scale.
        """
        by = thumbnails.reduction(scale)
        whole = picture.parse(data)
        found = self._own(whole.image)
        deviating = self._qualities(whole, found["quality"], found["height"], found["width"])
        if region is not None:
            region = checks.checked_region(region, found["width"], found["height"])
        width, height = region[2:] if region else (found["width"], found["height"])
        checks.check_pixels(width, height, max_pixels)
        reading = None
        if slices is not None:
            self._check_slices(slices, found["coder"])
            reading = tiles.Parts(slices)
        call = self._graphs.refusing(errors.FileFormatError)
        opacity = None
        if whole.alpha:
            opacity = alpha.decode(whole.alpha, found["height"], found["width"], region)
        mapped = self._thumbnail_map(by) if by > 1 and reading is None else None
        if mapped is not None and not any(side % by for side in (region or ())[:2]):
            pixels = tiles.decode_reduced(call, whole.image, mapped, region, progress, deviating)
            opacity = opacity if opacity is None else thumbnails.reduced(opacity, by)
            by = 1
        else:
            pixels = tiles.decode(call, whole.image, region, progress, reading, deviating)
        pixels = _plain(pixels) if opacity is None else alpha.joined(pixels, opacity)
        return thumbnails.reduced(pixels, by) if by > 1 else pixels

    def _thumbnail_map(self, by: int) -> thumbnails.Map | None:
        """The map of latents to thumbnails that divides sides by `by`; None: there is none."""
        with self._lock:
            if self._thumbnails is None:
                has_any = thumbnails.has_any(self.model.path, self.model.card.checksums)
                self._thumbnails = thumbnails.read(self.model.path) if has_any else {}
            return self._thumbnails.get(by)

    def decompress_beginning(
        self,
        data: bytes,
        progress: Progress | None = None,
        max_pixels: int | None = header.DEFAULT_MAX_PIXELS,
    ) -> tuple[Pixels, Received]:
        """The best image that the beginning of a file gives, without alpha.

        Nothing vouches for a beginning: what is not sound looks like anything.

        Args:
          data: bytes, the first of a `.tfclic` file with strings of the range coder.
          progress: as for `decompress`.
          max_pixels: as for `decompress`.

        Returns:
          uint8 array, as `decompress`; and a `Received`.

        Raises:
          errors.FileFormatError: it is not the beginning of one, or of too little.
          errors.ModelError: another model made it; or its latents have no slices.
        """
        there = picture.beginning(data)
        claimed, received = header.beginning(there.image)
        self._check_fingerprint(claimed.fingerprint.hex())
        self._check_slices(self.slices, claimed.coder)
        checks.check_pixels(claimed.width, claimed.height, max_pixels)
        sizes = claimed.width, claimed.height, claimed.tile_width, claimed.tile_height
        how = np.float32(header.quality_of(claimed.quality)), np.bool_(claimed.grayscale)
        deviating = self._qualities(there, float(how[0]), claimed.height, claimed.width)
        call = self._graphs.refusing(errors.FileFormatError)
        lengths = np.array(claimed.lengths, np.int32)
        whole = call(interface.PACK, claimed.payload, lengths, *map(np.int32, sizes), *how).file
        reading = tiles.Parts(self.slices, received)
        pixels = tiles.decode(call, whole, None, progress, reading, deviating)
        sound = [reading.sound[tile] for tile in range(len(claimed.lengths))]
        share = received / max(len(claimed.payload), 1)
        result = Received(share, self.slices, min(sound), sum(n == self.slices for n in sound))
        return _plain(pixels), result

    @property
    def has_maps(self) -> bool:
        """Whether qualities may differ from place to place; earlier exports know one for all."""
        return interface.SYNTHESISE_BY_MAP in self._graphs

    @property
    def slices(self) -> int:
        """How many slices of the latents can be had one after the other, int; 1: none but all."""
        return self.model.card.slices if interface.READ_PARTS in self._graphs else 1

    def _check_slices(self, slices: int, coder: str) -> None:
        known = self.slices
        if known < self.model.card.slices:
            raise errors.ModelError(
                f"The model {self.model} reads slices of latents with the range coder, which needs "
                "the package tensorflow-compression."
            )
        if known == 1:
            raise errors.ModelError(
                f"The model {self.model} does not read slices of latents one after the other."
            )
        if coder != header.RANGE:
            raise errors.ModelError("Slices are read of files that the range coder wrote.")
        if slices not in range(known + 1):
            raise errors.UsageError(f"There are 0 to {known} slices to read, not {slices}.")

    def info(self, data: bytes) -> dict[str, Any]:
        """Reads the header of a file, whichever model made it.

        Args:
          data: bytes of a `.tfclic` file.

        Returns:
          A dict: `fingerprint` (8 hex digits, of the model that made it), `width` and `height`
          (pixels), `grayscale` (bool), `quality` (float, 0..100), `tiles` (their number),
          `tile_width` and `tile_height` (pixels), `coder` (the name of that of its strings),
          `file_bytes`, `payload_bytes`, and what the file has beside the image, `alpha_bytes` (0:
          it is opaque), `map_bytes` (0: the quality is the same everywhere) and `metadata_bytes`
          (what the file would be smaller by without them).

        Raises:
          errors.FileFormatError: it is not a sound `.tfclic` file.
        """
        whole = picture.parse(data)
        image = whole.image
        found = self._graphs.header(bytes(image))._asdict()
        found = {name: getattr(value, "item", lambda v=value: v)() for name, value in found.items()}
        found["fingerprint"] = found["fingerprint"].decode()
        sizes = {"alpha_bytes": len(whole.alpha), "map_bytes": len(whole.quality_map)}
        bare = picture.pack(whole._replace(metadata=NO_METADATA))
        sizes["metadata_bytes"] = len(data) - len(bare)
        sizes["file_bytes"] = len(data)
        return {**found, "coder": header.parse(image).coder, **sizes}

    def qualities(self, data: bytes) -> np.ndarray:
        """The quality of each latent in a file, whichever model made it.

        Args:
          data: bytes of a `.tfclic` file.

        Returns:
          float32 array [h, w], 0..100, for 16x16 pixels each.

        Raises:
          errors.FileFormatError: it is not a sound `.tfclic` file.
        """
        whole, found = picture.parse(data), self.info(data)
        sides = found["height"], found["width"]
        said = qualities.of_file(whole.quality_map, found["quality"], *sides)
        rows, columns = (-(-side // STRIDE) for side in sides)
        codes = np.broadcast_to(said.codes((0, 0, rows, columns)), (rows, columns))
        return header.quality_of(codes.astype(np.float32))

    def evaluate(
        self,
        image: Pixels,
        quality: Quality = DEFAULT_QUALITY,
        tile: int = DEFAULT_TILE,
        effort: int = DEFAULT_EFFORT,
        areas: Sequence[Area] = (),
    ) -> dict[str, Any]:
        """Compresses a colour image and tells what the encoder knows, for evaluation.

        Args:
          image: uint8 array [H, W, 3], 0..255.
          quality: as for `compress`.
          tile: as for `compress`.
          effort: as for `compress`.
          areas: as for `compress`.

        Returns:
          A dict: `file` (bytes), `estimated_bits` (float, the model's own estimate of the file's
          payload), `reconstruction` (uint8 [H, W, 3], the encoder's), `latents` (int16 [h, w, N]).

        Raises:
          errors.TfclicError: as `compress`.
        """
        pixels = checks.checked_image(image)
        if pixels.shape[-1] in (2, 4):
            raise errors.ImageError("Only opaque images are evaluated.")
        wanted = self._wanted(pixels, quality, areas)
        encoder = self._encoder(pixels, tile, True, None, effort, wanted)
        names = ("file", "estimated_bits", "reconstruction", "latents")
        return {name: getattr(encoder, name)(wanted.middle) for name in names}

    def decode_latents(self, data: bytes) -> np.ndarray:
        """Decodes only the latents of a file: int16 array [h, w, N]; raises as `decompress`."""
        image = picture.parse(data).image
        self._own(image)
        return tiles.decode_latents(self._graphs.refusing(errors.FileFormatError), image)

    def _recode(self, data: bytes, reader: Codec, progress: Progress | None) -> bytes:
        """What `reader` reads in a file, as a file of this model's coder."""
        found = reader._own(data)
        call = reader._graphs.refusing(errors.FileFormatError)
        writing = self._graphs.refusing(errors.FileFormatError)
        names = "width", "height", "tile_width", "tile_height"
        sizes = (np.int32(found[name]) for name in names)
        how = np.float32(found["quality"]), np.bool_(found["grayscale"])
        return tiles.recode(call, writing, bytes(data), (*sizes, *how), progress)

    def statistics(self, data: bytes, progress: Progress | None = None) -> statistics.Statistics:
        """What everything in a file of this model costs, for inspection.

        Args:
          data: bytes of a `.tfclic` file.
          progress: function of (steps done, steps in all), called now and then.

        Returns:
          An `statistics.Statistics`.

        Raises:
          errors.TfclicError: as `decompress`.
          errors.ModelError: raised by what it returns, when asked for more than the sizes, if the
            model's export is older than these questions.
        """
        image = picture.parse(data).image
        self._own(image)
        call = self._graphs.refusing(errors.FileFormatError)
        return statistics.Statistics(call, image, progress)

    def _encoder(
        self,
        pixels: Pixels,
        tile: int,
        keeps: bool,
        progress: Progress | None,
        effort: int,
        wanted: Wanted,
        finish: Callable[[Picture], bytes] = picture.pack,
    ) -> Encoder:
        checks.check_tile(tile)
        checks.check_effort(effort, self.model)
        call = self._graphs.refusing(errors.ImageError)
        how = keeps, progress, checks.EFFORTS[int(effort)], wanted, finish
        return Encoder(call, pixels, tile, *how, interface.CHOOSE in self._graphs)

    def _wanted(self, pixels: Pixels, quality: Quality | None, areas: Sequence[Area]) -> Wanted:
        """The qualities of an image, checked."""
        quality = DEFAULT_QUALITY if quality is None else quality
        height, width = pixels.shape[:2]
        if areas or np.ndim(quality):
            self._check_maps()
        return Wanted(height, width, quality, areas)

    def _qualities(
        self, whole: Picture, quality: float, height: int, width: int
    ) -> Qualities | None:
        """What a file says of its qualities, beside that of its header; None: nothing."""
        if not whole.quality_map:
            return None
        self._check_maps()
        return qualities.of_file(whole.quality_map, quality, height, width)

    def _check_maps(self) -> None:
        if not self.has_maps:
            raise errors.ModelError(
                f"The model {self.model} has one quality for a whole image; `{CALLED}export "
                f"--from={self.model.name} --name={self.model.name}` makes one that has maps."
            )

    def _own(self, data: bytes) -> dict[str, Any]:
        """`info` of an image's file; raises errors.ModelError if it is another model's."""
        found = self.info(data)
        self._check_fingerprint(found["fingerprint"])
        if self.coder == header.INTERLEAVED != header.parse(data).coder:
            raise errors.ModelError(header.RANGE_CODED)
        return found

    def _check_fingerprint(self, fingerprint: str) -> None:
        if fingerprint != self.model.fingerprint:
            raise errors.ModelError(
                f"The file was made by the model with fingerprint {fingerprint}; this is "
                f"{self.model} ({self.model.fingerprint})."
            )


def _plain(pixels: Pixels) -> Pixels:
    """Pixels [H, W, 3], or [H, W] of [H, W, 1]."""
    return pixels[..., 0] if pixels.shape[-1] == 1 else pixels
