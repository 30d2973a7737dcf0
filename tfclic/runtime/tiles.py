"""Images of any size through an exported codec's functions, tile by tile, on all cores.

The functions are those of `tfclic.export.exported.ExportedCodec`; boxes, (top, left, height,
width), are explained in `tfclic.export.tiling`. Nothing here needs TensorFlow's Python package.
"""

import concurrent.futures
import math
import os
import threading

import numpy as np

# as in tfclic.export.tiling, which needs TensorFlow
STRIDE = 16  # image pixels per latent, each way
HYPER_STRIDE = 4  # latents per hyper latent, each way
MARGIN = 64  # pixels around what is synthesised that are taken into account
# Transforms use all cores, and most of the memory: one at a time. Range coding uses one core.
_TRANSFORM = threading.Lock()


class Encoder:
    """An image on its way to a file: analysed once, written at any quality.

    Args:
      call: calls a function of the model, `call(name, **arguments) -> dict`.
      pixels: uint8 array [H, W, 1] or [H, W, 3].
      longest: int, pixels, the longest side of a tile.
      keeps: whether several things will be asked for, so that the analysis is kept in memory (for
        192 channels, as many bytes as the image has samples), and what was quantised last (half of
        that).
      progress: function of (steps done, steps in all), or None; a tile is a step.
    """

    def __init__(self, call, pixels, longest, keeps=False, progress=None):
        self._call, self._pixels, self._keeps, self._progress = call, pixels, keeps, progress
        height, width = pixels.shape[:2]
        self._sides = {"height": np.int32(height), "width": np.int32(width)}
        self._plan = call("plan", **self._sides, longest=np.int32(longest))
        self._grayscale = np.bool_(pixels.shape[2] == 1)
        self._analysed, self._latest = {}, {}

    def file(self, quality):
        """The file, bytes, at `quality` (0..100)."""
        strings = self._each("write", quality, "payload")
        return self._call(
            "pack",
            payload=b"".join(strings),
            lengths=np.array([len(string) for string in strings], np.int32),
            quality=np.float32(quality),
            grayscale=self._grayscale,
            **self._sides,
            **{name: self._plan[name] for name in ("tile_width", "tile_height")},
        )["file"]

    def estimated_bits(self, quality):
        """What the strings should take by the model's own probabilities, float."""
        return float(sum(self._each("estimate", quality, "bits")))

    def latents(self, quality):
        """Latents as coded, int16 [h, w, C]."""
        return self._coded(quality).latents

    def reconstruction(self, quality):
        """The image that the file at `quality` gives, uint8 [H, W, 1] or [H, W, 3]."""
        canvas = Canvas((0, 0, *self._pixels.shape[:2]))
        for image, core in self._synthesised(quality):
            canvas.paste(image, core)
        return canvas.array

    def psnr(self, quality):
        """Its peak signal-to-noise ratio, dB; infinite if nothing is lost."""
        error = 0
        for image, core in self._synthesised(quality):
            difference = _cut(self._pixels, core).astype(np.int32) - image
            error += int(np.sum(np.square(difference), dtype=np.int64))
        return 10 * math.log10(255**2 * self._pixels.size / error) if error else math.inf

    def _synthesised(self, quality):
        settings = np.float32(quality), self._grayscale
        coded = self._coded(quality)
        steps = Steps(len(self._plan["core"]), self._progress)
        for core in self._plan["core"]:
            seen = _around(core, coded.box)
            yield _synthesised(self._call, coded.cut(seen), seen, core, *settings), core
            steps.add()

    def _coded(self, quality):
        boxes = self._plan["coded"]
        coded = Coded(hull(boxes))
        for tile, box in enumerate(boxes):
            coded.paste(self._quantised(tile, quality), box)
        return coded

    def _quantised(self, tile, quality):
        before, coded = self._latest.get(tile, (None, None))
        if before != quality:
            coded = self._quantise(tile, quality)
            if self._keeps:
                self._latest[tile] = quality, coded
        return coded

    def _quantise(self, tile, quality):
        window, coded, seen = (self._plan[name][tile] for name in ("window", "coded", "seen"))
        latents = self._analysed.get(tile)
        if latents is None:
            with _TRANSFORM:
                latents = self._call("analyse", image=_cut(self._pixels, window))["latents"]
            if self._keeps:
                self._analysed[tile] = latents
        box = _relative(coded, seen)
        return self._call("quantise", latents=latents, quality=np.float32(quality), box=box)

    def _each(self, function, quality, result):
        def work(tile):
            return self._call(function, **self._quantised(tile, quality))[result]

        steps = Steps(len(self._plan["core"]), self._progress)
        return list(in_parallel(work, range(steps.total), steps))


def decode_latents(call, data):
    """Decodes the latents of a file (bytes): int16 [h, w, C]; `call` as for `Encoder`."""
    header = call("open", data=data)
    tiles = range(len(header["coded"]))
    return _read(call, data, header, tiles, Steps(len(tiles), None)).latents


def decode(call, data, region=None, progress=None):
    """Decodes a file.

    Args:
      call: as for `Encoder`.
      data: bytes.
      region: (x, y, width, height), pixels, inside of the image; None: the image. Only the tiles in
        which it and its margin lie are read. Its pixels are those of the image, some of them
        rounded to the other side. Where a pixel depends on all of its tile, all of the tile is
        made.
      progress: function of (steps done, steps in all), or None; reading a tile and making its
        pixels are a step each.

    Returns:
      uint8 array [h, w, 1] or [h, w, 3].
    """
    header = call("open", data=data)
    x, y, width, height = region or (0, 0, header["width"], header["height"])
    canvas = Canvas((y, x, height, width))
    shown = header["core"][_touching(header["core"], canvas.box)]
    if header.get("is_local", True):
        shown = [_common(core, canvas.box) for core in shown]
    whole = hull(header["coded"])
    seen = np.stack([_around(box, whole) for box in shown])
    needed = _touching(header["coded"], hull(seen))
    steps = Steps(len(shown) + len(needed), progress)
    coded = _read(call, data, header, needed, steps)
    settings = header["quality"], header["grayscale"]
    for box, around in zip(shown, seen):
        canvas.paste(_synthesised(call, coded.cut(around), around, box, *settings), box)
        steps.add()
    return canvas.array


def _read(call, data, header, tiles, steps):
    """What some tiles hold, as `Coded` that they just fill."""

    def work(tile):
        return read_tile(call, data, header, tile)

    coded = Coded(hull(header["coded"][tiles]))
    for tile, found in zip(tiles, in_parallel(work, tiles, steps)):
        coded.paste(found, header["coded"][tile])
    return coded


def read_tile(call, data, header, tile):
    """Everything that one string of a file holds: the model's `read`, a dict of arrays.

    Args:
      call: as for `Encoder`.
      data: bytes.
      header: what the model's `open` says of the file.
      tile: int, its index.
    """
    start, length = header["starts"][tile], header["lengths"][tile]
    height, width = header["coded"][tile][2:]
    payload = data[start : start + length]
    return call("read", payload=payload, height=height, width=width)


def _synthesised(call, coded, seen, box, quality, grayscale):
    """The pixels of `box`, from what is coded, `Coded.cut`, of the box `seen`."""
    box = _relative(box, STRIDE * seen)
    settings = {"quality": quality, "grayscale": grayscale, "box": box}
    with _TRANSFORM:
        return call("synthesise", **coded, **settings)["image"]


class Steps:
    """Counts what is done and tells it."""

    def __init__(self, total, progress):
        self.total, self._done, self._progress = total, 0, progress

    def add(self):
        self._done += 1
        if self._progress:
            self._progress(self._done, self.total)


class Canvas:
    """A part of a larger array, filled by pieces that may reach beyond it."""

    def __init__(self, box):
        self.box, self.array = np.array(box), None

    def paste(self, piece, box):
        """Puts in what of `piece`, which fills `box`, belongs here."""
        if self.array is None:
            # without touching the memory: a forged file may claim much and hold nothing
            self.array = np.zeros([*self.box[2:], piece.shape[2]], piece.dtype)
        common = _common(box, self.box)
        _cut(self.array, _relative(common, self.box))[...] = _cut(piece, _relative(common, box))


class Coded:
    """Latents and hyper latents of a part of an image, put together from those of its tiles.

    Attributes:
      box: the part, in latents, as the boxes of tiles are; on the grid of hyper latents.
    """

    def __init__(self, box):
        self.box = box
        self._canvases = {"latents": Canvas(box), "hyper_latents": Canvas(box // HYPER_STRIDE)}

    @property
    def latents(self):
        """int16 `[h, w, C]`."""
        return self._canvases["latents"].array

    def paste(self, pieces, box):
        """Puts in `pieces`, a dict of what a tile holds in the box `box`."""
        for name, canvas in self._canvases.items():
            stride = HYPER_STRIDE if name == "hyper_latents" else 1
            canvas.paste(pieces[name], box // stride)

    def cut(self, box):
        """What lies in a box inside of this one, a dict."""
        inside = _relative(box, self.box)
        return {
            "latents": _cut(self._canvases["latents"].array, inside),
            "hyper_latents": _cut(self._canvases["hyper_latents"].array, inside // HYPER_STRIDE),
        }


def in_parallel(work, items, steps):
    """Yields `work(item)` of each item, in order, as cores get free."""
    pool = concurrent.futures.ThreadPoolExecutor(min(os.cpu_count() or 1, len(items)))
    try:
        for result in pool.map(work, items):
            steps.add()
            yield result
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _cut(array, box):
    top, left, height, width = box
    return array[top : top + height, left : left + width]


def _relative(box, frame):
    """A box as it lies inside of another one."""
    return np.concatenate([box[:2] - np.asarray(frame[:2], np.int32), box[2:]])


def _around(box, latents):
    """The box of the latents that a box of pixels is made from, of those there are."""
    start, end = box[:2] - MARGIN, box[:2] + box[2:] + MARGIN
    # with whole hyper latents
    step = STRIDE * HYPER_STRIDE
    start, end = start // step * HYPER_STRIDE, -(-end // step) * HYPER_STRIDE
    return _common(np.concatenate([start, end - start]), latents)


def _common(box, other):
    """What two boxes have in common."""
    box, other = (np.asarray(each, np.int32) for each in (box, other))
    start = np.maximum(box[:2], other[:2])
    end = np.minimum(box[:2] + box[2:], other[:2] + other[2:])
    return np.concatenate([start, end - start])


def hull(boxes):
    """The smallest box around some."""
    start, end = boxes[:, :2].min(0), (boxes[:, :2] + boxes[:, 2:]).max(0)
    return np.concatenate([start, end - start])


def _touching(boxes, box):
    """Indices of the boxes that have something in common with `box`."""
    after = boxes[:, :2] + boxes[:, 2:] > box[:2]
    before = boxes[:, :2] < np.asarray(box[:2]) + box[2:]
    return np.flatnonzero((after & before).all(1))
