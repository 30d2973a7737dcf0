"""Measures many codecs on many images in several processes, and goes on where it was stopped."""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import hashlib
import itertools
import json
import math
import multiprocessing
import os
import pathlib
import signal
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tfclic import errors, images
from tfclic.evaluation import codecs, curves, evaluate
from tfclic.format import header

if TYPE_CHECKING:
    from tfclic.images import Pixels

Record = dict[str, Any]
ByImage = Mapping[str, list[Record]]
_Key = tuple[Any, ...]  # identity of a codec, digest of an image, setting, target

# What the numbers of one file may differ by to be called equal: in the logarithm, 3 %.
EQUAL_BITS = math.log(1.03)
_TRIES = 8
_WARM_UP = np.zeros([512, 768, 3], np.uint8)


class Work(NamedTuple):
    """What one process does at a time: one image with one codec at one setting.

    Attributes:
      source: what `codecs.load` takes.
      qualities: likewise.
      path: of the image.
      digest: of the image's file.
      setting: None: the one whose file has about `target` bytes.
      target: bytes.
      known: tuple of (setting, bytes) that have been measured, for the search.
      is_verifying: whether a model's file is compared with what the encoder knew.
      more: names of `perceptual.KNOWN` that are measured as well.
      max_pixels: of an image; one with more is refused before it is decoded.
    """

    source: str
    qualities: tuple[float, ...]
    path: str
    digest: str
    setting: float | None
    target: int | None = None
    known: tuple[tuple[float, int], ...] = ()
    is_verifying: bool = False
    more: tuple[str, ...] = ()
    max_pixels: int = header.DEFAULT_MAX_PIXELS


class _Done(NamedTuple):
    record: Record
    data: bytes


class Store:
    """What has been measured: one line of JSON each in `measurements.jsonl`, and the files.

    Args:
      folder: made if it does not exist.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._path = self.folder / "measurements.jsonl"
        self._records: dict[_Key, Record] = {}
        # by name of a file whose record it is: images of one name, and other bits, share none
        self._owners: dict[str, _Key] = {}
        # a process that was killed may have left half a line
        lines = self._path.read_bytes().split(b"\n") if self._path.exists() else []
        for line in lines:
            with contextlib.suppress(ValueError, KeyError, TypeError):
                self._remember(json.loads(line))
        self._file = open(self._path, "a", encoding="utf-8")
        if lines and lines[-1]:
            self._file.write("\n")

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def find(self, codec: codecs.Codec, work: Work) -> Record | None:
        """The record of a piece of work, a dict; None if it is not done, or its file is gone."""
        key = _key(codec, work)
        record = self._records.get(key)
        if record is None or self._owners[record["file"]] != key:
            return None
        if not (self.folder / record["file"]).is_file():
            return None
        verifies = work.is_verifying and codec.is_verifiable
        if verifies and not record.get("verification"):
            return None
        return record if set(work.more) <= set(measurement(record).more) else None

    def add(self, codec: codecs.Codec, work: Work, record: Record, data: bytes) -> Record:
        """Keeps what was measured and the file (bytes)."""
        stem = pathlib.Path(work.path).stem
        at = f"{record['used']:g}" if work.target is None else "equal"
        key = _key(codec, work)
        start = pathlib.Path("files", codec.name, f"{stem}-{at}")
        names = (f"{start}{more}{codec.suffix}" for more in _distinctions())
        file = next(name for name in names if self._owners.get(name, key) == key)
        (self.folder / file).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / file).write_bytes(data)
        record = {
            "codec": codec.name,
            "identity": codec.identity,
            "image": os.path.basename(work.path),
            "digest": work.digest,
            "setting": work.setting,
            "target": work.target,
            "file": file,
            **record,
        }
        self._remember(record)
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()
        return record

    def _remember(self, record: Record) -> None:
        key: _Key = tuple(record[name] for name in ("identity", "digest", "setting", "target"))
        self._owners[record["file"]] = key
        self._records[key] = record


def _key(codec: codecs.Codec, work: Work) -> _Key:
    return codec.identity, work.digest, work.setting, work.target


def _distinctions() -> Iterator[str]:
    """What tells files apart that would have the same name, none first."""
    yield ""
    yield from (f"-{number}" for number in itertools.count(2))


def measurement(record: Record) -> evaluate.Measurement:
    """The `evaluate.Measurement` of a record."""
    return evaluate.Measurement(*record["measured"])


def verification(record: Record) -> evaluate.Verification | None:
    """The `evaluate.Verification` of a record; None if it was not verified."""
    found = record.get("verification")
    return evaluate.Verification(*found) if found else None


def each(records: Mapping[str, ByImage]) -> list[Record]:
    """All records of a dict from a codec's name to a dict from an image's name to its records."""
    return [
        record for images_ in records.values() for found in images_.values() for record in found
    ]


def curve(codec: codecs.Codec, dataset: str, by_image: ByImage, threads: int) -> curves.Curve:
    """The curve of a codec's records, as `curves.from_measurements` makes it.

    Args:
      by_image: dict from an image's name to its records, one per setting.
    """
    measured = {name: [measurement(r) for r in found] for name, found in by_image.items()}
    return curves.from_measurements(codec, dataset, measured, threads)


def equal_works(
    loaded: Sequence[codecs.Codec],
    paths: Iterable[str],
    records: Mapping[str, ByImage],
    max_pixels: int = header.DEFAULT_MAX_PIXELS,
) -> list[Work]:
    """The work of coding images to nearly equal bits with all codecs.

    The bits are those of the first codec at its middle setting.

    Args:
      loaded: list of `codecs.Codec`.
      paths: list of str.
      records: dict from a codec's name to a dict from an image's name to its records.
      max_pixels: as `Work` has it.

    Returns:
      A list of `Work`.
    """
    works = []
    for path in paths:
        name = os.path.basename(path)
        found = [records[codec.name].get(name) for codec in loaded]
        if not found[0]:
            continue
        target = found[0][len(found[0]) // 2]["bytes"]
        for codec, of_codec in zip(loaded, found):
            if of_codec:
                known = tuple((record["used"], record["bytes"]) for record in of_codec)
                of_image = path, of_codec[0]["digest"]
                what = codec.source, codec.options, *of_image, None, target, known
                works.append(Work(*what, max_pixels=max_pixels))
    return works


def digest(path: str) -> str:
    """Tells one image file from another, str.

    Raises:
      errors.ImageError: it cannot be read.
    """
    try:
        return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()[:16]
    except OSError as error:
        raise errors.ImageError(f"{path} cannot be read: {error.strerror}.") from error


def run(
    works: Iterable[Work],
    loaded: Iterable[codecs.Codec],
    store: Store,
    processes: int,
    threads: int,
) -> Iterator[tuple[Work, Record | errors.TfclicError]]:
    """Does what is not done yet.

    Args:
      works: list of `Work`.
      loaded: list of the `codecs.Codec`s of these works.
      store: `Store`.
      processes: with 1, the work is done here.
      threads: processor cores of each process.

    Yields:
      (work, record or TfclicError) for each of `works`, in no particular order.

    Raises:
      errors.TfclicError: a process died.
    """
    by_source = {codec.source: codec for codec in loaded}
    missing = []
    for work in works:
        record = store.find(by_source[work.source], work)
        if record is None:
            missing.append(work)
        else:
            yield work, record
    here = processes == 1 or len(missing) < 2
    results = _here(missing, by_source) if here else _in_pool(missing, processes, threads)
    for work, done in results:
        if isinstance(done, errors.TfclicError):
            yield work, done
        else:
            yield work, store.add(by_source[work.source], work, *done)


def _here(
    works: Sequence[Work], by_source: Mapping[str, codecs.Codec]
) -> Iterator[tuple[Work, _Done | errors.TfclicError]]:
    for codec in {by_source[work.source] for work in works}:
        _warm(codec)
    for work in works:
        yield work, _do(work, by_source[work.source])


def _in_pool(
    works: Sequence[Work], processes: int, threads: int
) -> Iterator[tuple[Work, _Done | errors.TfclicError]]:
    context = multiprocessing.get_context("spawn")
    pool = concurrent.futures.ProcessPoolExecutor(processes, context, _initialise, (threads,))
    futures = {pool.submit(_in_process, work): work for work in works}
    try:
        for future in concurrent.futures.as_completed(futures):
            yield futures[future], future.result()
    except concurrent.futures.process.BrokenProcessPool as error:
        raise errors.TfclicError(
            "A measuring process died, perhaps for want of memory; fewer --jobs need less."
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _initialise(threads: int) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # the parent tells when to end
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"):
        os.environ[name] = str(threads)
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"


def _end_with_parent() -> None:
    """A parent that was killed takes its processes along."""
    parent = multiprocessing.parent_process()
    assert parent
    parent.join()
    os._exit(1)


def _in_process(work: Work) -> _Done | errors.TfclicError:
    return _do(work, _codec(work.source, work.qualities))


def _do(work: Work, codec: codecs.Codec) -> _Done | errors.TfclicError:
    try:
        pixels = _pixels(work.path, work.max_pixels)
    except errors.ImageError as error:
        return error
    try:
        setting = _setting_for(codec, pixels, work) if work.setting is None else work.setting
        measured, data = evaluate.measure(codec, pixels, setting, work.more)
        record: Record = {"measured": list(measured), "used": setting, "bytes": len(data)}
        if work.is_verifying and codec.is_verifiable:
            record["verification"] = list(
                evaluate.verify(codec.runtime, pixels, setting, codec.effort)
            )
        return _Done(record, data)
    except errors.ImageError as error:
        # which does not say of which image
        return errors.ImageError(f"{work.path}: {error}")
    except errors.TfclicError as error:
        return error


@functools.cache
def _codec(source: str, qualities: tuple[float, ...]) -> codecs.Codec:
    codec = codecs.load(source, qualities)
    _warm(codec)
    return codec


def _warm(codec: codecs.Codec) -> None:
    """The first calls of a model do what no image should pay for."""
    if isinstance(codec, codecs.Model):
        codec.decode(codec.encode(_WARM_UP, codec.settings[0]))


@functools.lru_cache(maxsize=2)
def _pixels(path: str, max_pixels: int) -> Pixels:
    pixels = images.read(path, keeps=images.Keeps(alpha=True), max_pixels=max_pixels).pixels
    if pixels.shape[2:] in ((2,), (4,)):
        raise errors.ImageError(f"{path} is transparent; what is measured has to be opaque.")
    return pixels


def _setting_for(codec: codecs.Codec, pixels: Pixels, work: Work) -> float:
    """The setting whose file comes nearest to the target (Brent's method on log sizes)."""
    from scipy import optimize

    sizes, target = dict(work.known), work.target
    assert target

    def excess(setting: float) -> float:
        setting = round(setting) if codec.integral else setting
        if setting not in sizes:
            sizes[setting] = len(codec.encode(pixels, setting))
        found = math.log(sizes[setting] / target)
        return found if abs(found) > EQUAL_BITS else 0.0

    smaller = [setting for setting, size in sizes.items() if size <= target]
    larger = [setting for setting, size in sizes.items() if size > target]
    first = max(smaller, key=sizes.__getitem__, default=codec.limits[0])
    last = min(larger, key=sizes.__getitem__, default=codec.limits[1])
    if excess(first) < 0 < excess(last):
        step = 0.5 if codec.integral else abs(last - first) / 1000
        optimize.brentq(excess, first, last, xtol=step, maxiter=_TRIES, disp=False)
    return min(sizes, key=lambda setting: abs(math.log(sizes[setting] / target)))
