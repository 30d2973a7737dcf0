"""The files of a portable training folder: its state, in pieces, and its packs of images.

Needs numpy and Pillow alone: it travels to machines without TensorFlow.

    portable.json          the step's inputs and results, the configuration, the record so far
    step.hlo               the train step (see `tfclic.portable.folder`)
    state.json             progress; names, types and shapes of the arrays; names of the pieces
    state-STEP-N.bin       the arrays' bytes one after the other, cut into pieces
    pack-FIRST.zip         images, named by their number; FIRST is the number of its first
    portable_run.py        the program to start, whose modules are in runner/
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import io
import json
import os
import pathlib
import zipfile
from collections.abc import Iterable, Mapping
from typing import Any, Union

import numpy as np
from PIL import Image

Path = Union[str, os.PathLike[str]]
Arrays = dict[str, np.ndarray]

MIB = 1 << 20
FORMAT = 1
META, STEP, STATE = "portable.json", "step.hlo", "state.json"
PROGRAM, MODULES = "portable_run.py", "runner"
INPUTS = ("images", "seed", "levels", "rate")  # of the step, before its state


class PortableError(Exception):
    """What a user can act on, in one sentence."""


def write_json(path: Path, content: object) -> None:
    """Writes `content` as JSON so that a reader finds the old file or the new one, never a part."""
    write_bytes(path, (json.dumps(content, indent=1) + "\n").encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Writes `data`, in a way that leaves no part of a file under this name."""
    path = pathlib.Path(path)
    temporary = path.with_name(path.name + ".new")
    with open(temporary, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def read_json(path: Path) -> Any:
    """Returns the content of a JSON file; raises PortableError, naming it, if there is none."""
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except OSError as error:
        raise PortableError(f"{path} cannot be read: {error.strerror}.") from None
    except ValueError:
        raise PortableError(f"{path} is damaged.") from None


def read_meta(folder: Path) -> dict[str, Any]:
    """Returns portable.json; raises PortableError where it is missing, damaged or newer."""
    meta = read_json(pathlib.Path(folder) / META)
    if meta.get("format") != FORMAT:
        raise PortableError(f"{folder} was written by another version of this program.")
    return meta


def write_state(
    folder: Path,
    arrays: Arrays,
    progress: Mapping[str, Any],
    limit: int = 16 * MIB,
    compact: bool = False,
) -> None:
    """Writes a checkpoint in place of the last one, which stays whole until this one is.

    Args:
      folder: where state.json and the pieces go.
      arrays: dict from name to numpy array, weights before what belongs to them.
      progress: JSON content with the integer "step".
      limit: bytes per piece at most.
      compact: whether to write half as much: averages (as differences to the weights) and second
        moments in bfloat16, and no first moments, which a run has again after a few steps.
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    old = {path.name for path in folder.glob("state-*.bin*")}
    tag = f"state-{progress['step']:08d}"
    while any(name.startswith(tag + "-") for name in old):
        tag += "x"
    tensors, parts = [], []
    for name, array in arrays.items():
        stored, part = _store(name, array, arrays, compact)
        shape = list(array.shape)
        tensors.append({"name": name, "dtype": str(array.dtype), "shape": shape, "stored": stored})
        parts.append(part)
    data = b"".join(parts)
    pieces: list[dict[str, str]] = []
    for start in range(0, len(data), limit):
        piece = data[start : start + limit]
        name = f"{tag}-{len(pieces)}.bin"
        write_bytes(folder / name, piece)
        pieces.append({"name": name, "sha256": hashlib.sha256(piece).hexdigest()})
    content = {"progress": progress, "pieces": pieces, "tensors": tensors}
    write_json(folder / STATE, content)
    for name in old:
        (folder / name).unlink()


def _store(name: str, array: np.ndarray, arrays: Arrays, compact: bool) -> tuple[str, bytes]:
    """Returns how an array is stored, and its bytes."""
    kind, _, path = name.partition("/")
    if (compact and kind == "first_moment") or not array.any():
        return "zeros", b""
    if kind == "ema" and np.array_equal(array, arrays[f"weights/{path}"]):
        return "weights", b""
    if compact and kind == "ema":
        return "bfloat16 + weights", _to_bfloat16(array - arrays[f"weights/{path}"])
    if compact and kind == "second_moment":
        return "bfloat16", _to_bfloat16(array)
    return "whole", np.ascontiguousarray(array).tobytes()


def _to_bfloat16(array: np.ndarray) -> bytes:
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
    # to nearest, ties to even, as hardware does; not a number does not come here
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16).tobytes()


def read_state(folder: Path) -> tuple[Arrays, dict[str, Any]]:
    """Returns `(arrays, progress)` of the folder's checkpoint; see `write_state`.

    Raises:
      PortableError: a piece is missing or damaged.
    """
    folder = pathlib.Path(folder)
    content, parts = read_json(folder / STATE), []
    for piece in content["pieces"]:
        path = folder / piece["name"]
        if not path.is_file():
            raise PortableError(f"{path} is missing: state.json needs all of its pieces beside it.")
        parts.append(path.read_bytes())
        if hashlib.sha256(parts[-1]).hexdigest() != piece["sha256"]:
            raise PortableError(f"{path} is damaged.")
    arrays: Arrays = {}
    data, start = b"".join(parts), 0
    for tensor in content["tensors"]:
        name, dtype, stored = tensor["name"], np.dtype(tensor["dtype"]), tensor["stored"]
        shape, count = tensor["shape"], int(np.prod(tensor["shape"], dtype=np.int64))
        weights = "weights/" + name.partition("/")[2]
        if stored == "zeros":
            arrays[name] = np.zeros(shape, dtype)
        elif stored == "weights":
            arrays[name] = arrays[weights].copy()
        else:
            half = stored.startswith("bfloat16")
            values = np.frombuffer(data, np.uint16 if half else dtype, count, start).reshape(shape)
            start += values.nbytes
            if half:
                values = (values.astype(np.uint32) << 16).view(np.float32)
            arrays[name] = values + arrays[weights] if stored.endswith("weights") else values
    return arrays, content["progress"]


class PackWriter:
    """Writes encoded images into pack-FIRST.zip files, each closed before it outgrows its limit."""

    ENTRY_BYTES = 200  # more than a zip file needs for an entry's two headers

    def __init__(self, folder: Path, limit: int = 16 * MIB) -> None:
        """folder: where they go; limit: bytes per file at most."""
        self._folder, self._limit = pathlib.Path(folder), limit
        self._file: zipfile.ZipFile | None = None
        self._size = self.total = 0

    def add(self, number: int, image: bytes, ending: str) -> None:
        """Adds image `number`, as encoded bytes; `ending` is its file name's, such as ".jpg"."""
        size = len(image) + self.ENTRY_BYTES
        if self._file is not None and self._size + size > self._limit:
            self.close()
        if self._file is None:
            path = self._folder / f"pack-{number:08d}.zip"
            self._file, self._size = zipfile.ZipFile(path, "w", zipfile.ZIP_STORED), 1000
        # The same images give the same bytes: no time of writing.
        self._file.writestr(zipfile.ZipInfo(f"{number:08d}{ending}"), image)
        self._size += size
        self.total += size

    def close(self) -> None:
        """Ends the present file."""
        if self._file is not None:
            self._file.close()
            self._file = None


def read_packs(paths: Iterable[Path], shortest: int) -> list[np.ndarray]:
    """Decodes the images of packs.

    Args:
      paths: list of the packs' paths.
      shortest: least length of the shorter side, in pixels; smaller images are left out.

    Returns:
      List of uint8 [H, W, 3], in the order of their numbers, whatever that of `paths` is.

    Raises:
      PortableError: no pack, a damaged one, or none of the images is large enough.
    """
    encoded: dict[str, bytes] = {}
    for path in paths:
        try:
            with zipfile.ZipFile(path) as pack:
                encoded.update((name, pack.read(name)) for name in pack.namelist())
        except (OSError, zipfile.BadZipFile):
            raise PortableError(f"{path} is damaged or cannot be read.") from None
    with concurrent.futures.ThreadPoolExecutor() as pool:
        images = list(pool.map(_decode, (encoded[name] for name in sorted(encoded))))
    images = [image for image in images if min(image.shape[:2]) >= shortest]
    if not images:
        raise PortableError(f"There is no pack with images of at least {shortest} pixels.")
    return images


def _decode(encoded: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"))
