"""Alpha and metadata, which models do not know: taken off before one runs, put back after it.

Files of format version 5 (`tfclic.format.picture`) are decoded to the image with both, and of
transparent PNG files such files are made, their colours in sRGB. Files whose quality differs from
place to place, of version 6, are decoded by other functions than those that are served. All else
goes to the model as it is, what is damaged included, of which it tells.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Union

import numpy as np
from PIL import Image

from tfclic import errors, images
from tfclic.format import alpha, header, picture
from tfclic.format.picture import Picture
from tfclic.format.served import COMPRESS, DECOMPRESS, GOOD, SERVED
from tfclic.images.reading import NOTHING, at_most
from tfclic.serving import limits

if TYPE_CHECKING:
    from tfclic.serving.servable import Servable

Arrays = Mapping[str, np.ndarray]
# What an element had: beside the image in it, or the sentence that refuses it; by its index.
Taken = dict[int, Union[Picture, str]]

_BYTES, _STATUSES = {COMPRESS.name: "files_bytes", DECOMPRESS.name: "images_bytes"}, "statuses"
_NAME = "x.png"  # an extension is needed


def run(
    servable: Servable, signature: str, inputs: Arrays, wanted: Collection[str], max_pixels: int
) -> dict[str, np.ndarray]:
    """Calls a signature, as `Servable.run`, after a look at what its images and files have.

    Args:
      servable: of a codec, or of any other model, which is called and nothing else.
      signature, inputs, wanted: as there.
      max_pixels: of one image.

    Raises:
      Refusal: as there, or an image or a file has more pixels.
    """
    if not servable.is_codec or signature not in {function.name for function in SERVED}:
        limits.check_pixels(inputs, max_pixels)
        return servable.run(signature, inputs, wanted)
    inputs, taken = _each(inputs, "files", _of_file)
    limits.check_pixels(inputs, max_pixels)
    if signature == DECOMPRESS.name:
        for index, found in taken.items():
            if isinstance(found, Picture) and found.quality_map:
                inputs["files"][index] = b""
    inputs, taken_off_images = _each(inputs, "images", _of_image)
    taken.update(taken_off_images)
    if not taken:
        return servable.run(signature, inputs, wanted)
    changed = {_STATUSES, _BYTES.get(signature, _STATUSES)}
    outputs = servable.run(signature, inputs, {*wanted, *changed} if wanted else ())
    _put_back(servable, signature, outputs, taken)
    return {name: value for name, value in outputs.items() if not wanted or name in wanted}


def _each(
    inputs: Arrays, name: str, take: Callable[[bytes], tuple[bytes, Picture | str | None]]
) -> tuple[Arrays, Taken]:
    """The inputs with what `take` leaves of each string in one of them, and what it took."""
    strings = inputs.get(name)
    if strings is None or strings.dtype != object or strings.ndim != 1:
        return inputs, {}
    left, taken = strings.copy(), {}
    for index, data in enumerate(strings):
        left[index], found = take(data)
        if found is not None:
            taken[index] = found
    return {**inputs, name: left}, taken


def _of_file(data: bytes) -> tuple[bytes, Picture | str | None]:
    try:
        whole = picture.parse(data)
    except errors.FileFormatError as error:
        return b"", str(error)
    return whole.image, whole if len(whole.image) < len(data) else None


def _of_image(data: bytes) -> tuple[bytes, Picture | str | None]:
    if not _may_be_transparent(data):
        return data, None
    try:
        pixels = _decoded(data, images.Keeps(alpha=True))
    except errors.ImageError:
        return data, None
    colours, plane = alpha.split(pixels)
    if not plane:
        return data, None
    colours = colours[..., 0] if colours.shape[-1] == 1 else colours
    return images.encode(colours, _NAME), Picture(b"", alpha=plane)


def _may_be_transparent(data: bytes) -> bool:
    try:
        with at_most(header.MAX_PIXELS), Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            return image.mode in ("LA", "RGBA") or "transparency" in image.info
    # headers can be damaged in any way
    except Exception:
        return False


def _put_back(
    servable: Servable, signature: str, outputs: dict[str, np.ndarray], taken: Taken
) -> None:
    statuses = outputs[_STATUSES] = outputs[_STATUSES].astype(object)
    name = _BYTES.get(signature)
    results = outputs[name].astype(object) if name else None
    for index, found in taken.items():
        if isinstance(found, str):
            statuses[index] = found.encode()
            continue
        has_map = signature == DECOMPRESS.name and bool(found.quality_map)
        if results is not None and (has_map or statuses[index] == GOOD.encode()):
            try:
                if has_map:
                    results[index] = _by_map(servable, found)
                else:
                    results[index] = _PUT_BACK[signature](results[index], found)
                statuses[index] = GOOD.encode()
            except errors.TfclicError as error:
                results[index], statuses[index] = b"", str(error).encode()
    if name and results is not None:
        outputs[name] = results


def _around(image: bytes, beside: Picture) -> bytes:
    return picture.pack(beside._replace(image=image))


def _by_map(servable: Servable, whole: Picture) -> bytes:
    if servable.codec is None:
        raise errors.ModelError("The model has one quality for a whole image.")
    pixels = servable.codec.decompress(picture.pack(whole), max_pixels=None)
    return images.encode(pixels, _NAME, whole.metadata)


def _onto(png: bytes, beside: Picture) -> bytes:
    return _dressed(_decoded(png), beside)


def _decoded(png: bytes, keeps: images.Keeps = NOTHING) -> np.ndarray:
    """The pixels of an image that is not larger than the server takes."""
    return images.decode(png, "The image", keeps=keeps, max_pixels=header.MAX_PIXELS).pixels


def _dressed(pixels: np.ndarray, beside: Picture) -> bytes:
    if beside.alpha:
        height, width = pixels.shape[:2]
        pixels = alpha.joined(pixels, alpha.decode(beside.alpha, height, width))
    return images.encode(pixels, _NAME, beside.metadata)


_PUT_BACK = {COMPRESS.name: _around, DECOMPRESS.name: _onto}
