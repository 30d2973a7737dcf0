"""What the server does beyond the signatures of a codec, asked for by inputs that these lack.

- `areas` of `compress`, string `[N]`: parts of an image with qualities of their own, each X,Y,W,H
  or X,Y,W,H:QUALITY, as `Area.parse` takes them, with blanks between.
- `efforts` of `compress`, int32 `[N]`, 0 to 9: how long smaller files are looked for; 0 says
  nothing.
- `scales` of `decompress`, float32 `[N]`: 1/2, 1/4, 1/8 or 1/16, for images of this size; 1 says
  nothing.
- `beginnings` of `decompress`, bool `[N]`: whether a file may lack its end, as `bin/decompress
  --partial` has it. There is a further output then, `shares`, float32 `[N]`: how much of a file's
  strings was there, 1 being all of it.

They may be left out. An element whose values say nothing, as an empty string does, is left to the
signature; the others are coded by the model's functions that are not served.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from absl import logging

from tfclic import errors, images
from tfclic.format import header, picture
from tfclic.format.served import COMPRESS, DECOMPRESS, GOOD
from tfclic.places import CALLED
from tfclic.runtime import c_api
from tfclic.runtime.qualities import Area
from tfclic.serving import limits, pictures, tensors
from tfclic.serving.refusals import invalid

if TYPE_CHECKING:
    from tfclic.runtime.codec import Codec
    from tfclic.serving.limits import Most
    from tfclic.serving.servable import Servable

Arrays = Mapping[str, np.ndarray]

MOST_AREAS = 1000  # of an image
# A beginning is no longer than a request, what it claims to be the beginning of may be: bytes.
MOST_CLAIMED = 1 << 27
_WARMING = np.zeros([64, 64, 3], np.uint8)
_NAME = "x.png"  # an extension is needed
_STATUSES, _SHARES, _BEGINNINGS = "statuses", "shares", "beginnings"
# By signature: what its own inputs with the data are called, and its outputs.
_DATA = {
    COMPRESS.name: ("images", "files_bytes"),
    DECOMPRESS.name: ("files", "images_bytes"),
}
# By signature and name: the number of the type, and the value that says nothing.
_INPUTS: dict[str, dict[str, tuple[int, Any]]] = {
    COMPRESS.name: {"areas": (tensors.STRING, b""), "efforts": (tensors.INT32, 0)},
    DECOMPRESS.name: {"scales": (tensors.FLOAT, 1), _BEGINNINGS: (tensors.BOOL, False)},
}


class _Done(NamedTuple):
    """What became of an element: its data, how much of it was there, and its status."""

    data: bytes
    share: float = 1.0
    status: str = GOOD


def inputs(servable: Servable, signature: str) -> dict[str, int]:
    """The inputs that a signature may be given beside its own: numbers of their types by name."""
    known = _INPUTS.get(signature, {}) if servable.codec else {}
    return {name: number for name, (number, _) in known.items()}


def says_something(signature: str, name: str, array: np.ndarray) -> bool:
    """Whether any element of such an input asks for what the signature does not do."""
    found = _INPUTS.get(signature, {}).get(name)
    return found is not None and bool(np.any(array != found[1]))


def run(
    servable: Servable, signature: str, given: Arrays, wanted: Collection[str], most: Most
) -> dict[str, np.ndarray]:
    """Calls a signature, as `pictures.run`, whose inputs may have `inputs` among them.

    `most` is what an element may ask for.

    Raises:
      Refusal: as there, or such an input is not an array `[N]` of its type.
    """
    kinds = inputs(servable, signature)
    more = {name: array for name, array in given.items() if name in kinds}
    own = {name: array for name, array in given.items() if name not in kinds}
    name, result = _DATA.get(signature, ("", ""))
    strings = own.get(name)
    if not more or strings is None or strings.ndim != 1 or strings.dtype != np.object_:
        # without the data there is nothing to do, and the signature says so
        return pictures.run(servable, signature, own, wanted, most.pixels)
    asking = _asking(signature, more, len(strings))
    limits.check_pixels(_looked_into(own), most.pixels)
    left = strings.copy()
    left[asking] = b""
    changed = {result, _STATUSES}
    own = {**own, name: left}
    shares = np.ones(len(strings), np.float32)
    has_shares = _BEGINNINGS in more
    some = {*wanted, *changed} - ({_SHARES} if has_shares else set()) if wanted else ()
    outputs = pictures.run(servable, signature, own, some, most.pixels)
    outputs.update({name: outputs[name].astype(object) for name in changed})
    for index in np.flatnonzero(asking):
        element = {name: array[index] for name, array in given.items()}
        done = _each(servable, signature, element, most)
        outputs[result][index], shares[index] = done.data, done.share
        outputs[_STATUSES][index] = done.status.encode()
    if has_shares:
        outputs[_SHARES] = shares * (outputs[_STATUSES] == GOOD.encode())
    return {name: array for name, array in outputs.items() if not wanted or name in wanted}


def warm_up(servable: Servable) -> None:
    """Does once what `inputs` ask for, as far as the model can; the first time takes seconds."""
    codec = servable.codec
    if codec is None:
        return
    areas = [Area(0, 0, 1, 1)] if codec.has_maps else []
    try:
        data = codec.compress(_WARMING, areas=areas)
        codec.decompress(data, scale=1 / 8)
        if codec.slices > 1 and codec.coder == header.RANGE:
            codec.decompress(data, slices=codec.slices)
    except (errors.TfclicError, c_api.SessionError) as error:
        # the signatures may do all the same
        logging.error("%s/%d: %s", servable.name, servable.version, error)


def _looked_into(own: Arrays) -> Arrays:
    """Inputs with the file of the image alone in the place of each file, as far as it is one."""
    if "files" not in own:
        return own
    images_alone = np.empty_like(own["files"])
    for index, data in enumerate(own["files"]):
        try:
            images_alone[index] = picture.beginning(data).image
        except errors.FileFormatError:
            images_alone[index] = b""
    return {**own, "files": images_alone}


def _asking(signature: str, more: Arrays, count: int) -> np.ndarray:
    """Which elements ask for something, bool [N]."""
    asking = np.zeros(count, bool)
    for name, array in more.items():
        number, nothing = _INPUTS[signature][name]
        if tensors.number_of(array) != number:
            raise invalid(f"The input {name!r} has to be of type {tensors.type_name(number)}.")
        if array.shape != (count,):
            raise invalid(f"The input {name!r} has to be of shape [{count}].")
        asking |= array != nothing
    return asking


def _each(servable: Servable, signature: str, element: Mapping[str, Any], most: Most) -> _Done:
    assert servable.codec
    try:
        return _DOES[signature](servable.codec, element, most)
    except errors.TfclicError as error:
        return _Done(b"", status=str(error))
    except c_api.SessionError as error:
        # TensorFlow's words have names of the graph, and sometimes paths, in them
        logging.error("%s/%d %s: %s", servable.name, servable.version, signature, error)
        return _Done(b"", status="The model failed.")


def _compress(codec: Codec, element: Mapping[str, Any], most: Most) -> _Done:
    texts = element.get("areas", b"").decode(errors="replace").split()
    if len(texts) > MOST_AREAS:
        raise errors.UsageError(f"There are more than {MOST_AREAS} areas.")
    areas = [Area.parse(text) for text in texts]
    effort = int(element.get("efforts", 0))
    if effort > most.effort:
        raise errors.UsageError(
            f"The server takes efforts up to {most.effort}, not {effort} "
            f"({CALLED}serve --max_effort)."
        )
    data = element["images"]
    if limits.image_size(data) is None:
        raise errors.ImageError("It is not a PNG, JPEG, GIF or BMP image.")
    photo = images.decode(data, "It", keeps=images.Keeps(alpha=True), max_pixels=most.pixels)
    quality = float(element["qualities"])
    return _Done(codec.compress(photo.pixels, quality, areas=areas, effort=effort))


def _decompress(codec: Codec, element: Mapping[str, Any], most: Most) -> _Done:
    data, scale = element["files"], float(element.get("scales", 1))
    try:
        codec.info(data)
    except errors.FileFormatError:
        if not element.get(_BEGINNINGS, False):
            raise
        return _beginning(codec, data, scale, most.pixels)
    pixels = codec.decompress(data, max_pixels=most.pixels, scale=scale)
    return _Done(images.encode(pixels, _NAME, picture.parse(data).metadata))


def _beginning(codec: Codec, data: bytes, scale: float, max_pixels: int) -> _Done:
    if scale != 1:
        raise errors.UsageError("The beginning of a file is shown at scale 1 only.")
    image = picture.beginning(data).image
    length, _ = header.read_varint(image, header.START)
    if (length or 0) > MOST_CLAIMED:
        raise errors.FileFormatError(f"The whole file would have more than {MOST_CLAIMED:,} bytes.")
    pixels, received = codec.decompress_beginning(data, max_pixels=max_pixels)
    has_one_tile = len(header.beginning(image)[0].lengths) == 1
    if not received.tiles and received.least <= 0 and (has_one_tile or received.least == 0):
        raise errors.FileFormatError("Not a slice of it is there, so that all would be gray.")
    return _Done(images.encode(pixels, _NAME), received.share)


_DOES: dict[str, Callable[[Codec, Mapping[str, Any], Most], _Done]] = {
    COMPRESS.name: _compress,
    DECOMPRESS.name: _decompress,
}
