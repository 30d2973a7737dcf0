"""Metadata of image files: what they have, what a format can hold, and which side is up.

`tfclic.format.picture.Metadata` says what the fields are. Exif stays byte by byte what it was, but
for the orientation: whoever writes it anew loses previews and what cameras put in on their own.
"""

from __future__ import annotations

import io
import re
import struct
from typing import Any, NamedTuple

from PIL import ExifTags, Image, ImageFile, PngImagePlugin

from tfclic.format.picture import MAX_METADATA_BYTES, Metadata

UPRIGHT = 1
_ORIENTATION = ExifTags.Base.Orientation
# In JPEG files.
_EXIF_START = b"Exif\0\0"
_XMP_START = b"http://ns.adobe.com/xap/1.0/\0"
_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
_INTEGERS = {1: "B", 3: "H", 4: "I"}  # TIFF's types of them
# In quotes of both kinds, and as an element.
_XMP_ORIENTATION = re.compile(rb"""(tiff:Orientation(?:\s*=\s*["']|>))[1-8](?=["'<])""")
_NAMES = "colour profile", "Exif", "XMP"  # in the order of `Metadata`
# What of a TIFF file's own tags is about the picture: who made it, when and with what.
_DESCRIPTIVE = (
    ExifTags.Base.ImageDescription,
    ExifTags.Base.Make,
    ExifTags.Base.Model,
    ExifTags.Base.Software,
    ExifTags.Base.DateTime,
    ExifTags.Base.Artist,
    ExifTags.Base.Copyright,
)
_SUBFOLDERS = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
_JPEG_SEGMENT = 65533  # bytes
_ICC_SPACES = {"RGB": b"RGB ", "L": b"GRAY"}


class Formats(NamedTuple):
    """Which formats hold what, by Pillow's names."""

    icc_profile: tuple[str, ...] = ("PNG", "JPEG", "WEBP", "AVIF", "TIFF")
    exif: tuple[str, ...] = ("PNG", "JPEG", "WEBP", "AVIF", "TIFF")
    xmp: tuple[str, ...] = ("PNG", "JPEG", "WEBP", "AVIF", "TIFF")


def of_file(file: ImageFile.ImageFile) -> tuple[Metadata, list[str]]:
    """What a file has, opened with Pillow and loaded.

    Returns:
      `(Metadata, notes)`; the latter are sentences about what had to be left out.
    """
    notes = []
    found = Metadata(
        bytes(file.info.get("icc_profile") or b""), _exif_of(file), _bytes_of(file.info.get("xmp"))
    )
    if found.exif and found.exif[:4] not in _ORDERS:
        notes.append("Its Exif is damaged and left out.")
        found = found._replace(exif=b"")
    for name, title, content in zip(Metadata._fields, _NAMES, found):
        if len(content) > MAX_METADATA_BYTES:
            notes.append(f"Its {title} of {len(content):,} bytes is too large and left out.")
            found = found._replace(**{name: b""})
    return found, notes


def _exif_of(file: ImageFile.ImageFile) -> bytes:
    content = file.info.get("exif")
    try:
        if content is None and "Raw profile type exif" in file.info:
            content = bytes.fromhex("".join(file.info["Raw profile type exif"].split("\n")[3:]))
        elif content is None and file.format == "TIFF":
            content = _exif_of_tiff(file)
    # whatever damaged tags make Pillow stumble over
    except Exception:
        content = b""
    return without_start(content or b"")


def without_start(exif: bytes) -> bytes:
    """Exif from its TIFF header on, whether it began with "Exif" and two zeros or not."""
    return exif[len(_EXIF_START) :] if exif.startswith(_EXIF_START) else exif


def with_start(exif: bytes) -> bytes:
    """The same beginning with these, as Pillow has it in `info` and JPEG in its files."""
    return _EXIF_START + exif if exif else b""


def _exif_of_tiff(file: ImageFile.ImageFile) -> bytes:
    """Exif of a TIFF file without the tags that say how it keeps its pixels."""
    tags, kept = file.getexif(), Image.Exif()
    for tag in _DESCRIPTIVE:
        if tag in tags:
            kept[tag] = tags[tag]
    for folder in _SUBFOLDERS:
        below = tags.get_ifd(folder)
        if below:
            kept[folder] = dict(below)
    return kept.tobytes() if len(kept) else b""


def _bytes_of(xmp: bytes | str | tuple[int, ...] | None) -> bytes:
    if isinstance(xmp, str):
        return xmp.encode()
    return bytes(xmp) if xmp else b""


def orientation(metadata: Metadata) -> int:
    """How pixels have to be turned to be upright, 1..8 as Exif counts; 1: not at all."""
    file = Image.new("1", (1, 1))
    file.info.update(exif=metadata.exif, xmp=metadata.xmp)
    try:
        found = file.getexif().get(_ORIENTATION, UPRIGHT)
    except Exception:
        return UPRIGHT
    return found if found in range(1, 9) else UPRIGHT


def upright(metadata: Metadata) -> Metadata:
    """The same for pixels that have been turned: no reader turns them again."""
    if orientation(metadata) == UPRIGHT:
        return metadata
    exif = bytearray(metadata.exif)
    for order, kind, place in _orientations(metadata.exif):
        struct.pack_into(order + kind, exif, place, UPRIGHT)
    xmp = _XMP_ORIENTATION.sub(rb"\g<1>1", metadata.xmp)
    turned = metadata._replace(exif=bytes(exif), xmp=xmp)
    if orientation(turned) != UPRIGHT:
        # Pillow found one elsewhere; what it writes, it understands
        rewritten = Image.Exif()
        rewritten.load(metadata.exif)
        rewritten[_ORIENTATION] = UPRIGHT
        turned = turned._replace(exif=without_start(rewritten.tobytes()))
    return turned


def _orientations(exif: bytes) -> list[tuple[str, str, int]]:
    """(byte order, type, place) of each orientation in the first folder of some Exif."""
    order = _ORDERS.get(exif[:4], "")
    found = []
    try:
        (start,) = struct.unpack_from(order + "I", exif, 4)
        (count,) = struct.unpack_from(order + "H", exif, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, _ = struct.unpack_from(order + "HHI", exif, entry)
            if tag == _ORIENTATION and kind in _INTEGERS:
                found.append((order, _INTEGERS[kind], entry + 8))
    # it is cut off; what comes before counts all the same
    except struct.error:
        pass
    return found


def describes(profile: bytes, mode: str) -> bool:
    """Whether an ICC profile, bytes, is sound and of images of Pillow's `mode`, RGB or L."""
    if profile[16:20] != _ICC_SPACES.get(mode):
        return False
    try:
        from PIL import ImageCms

        ImageCms.ImageCmsProfile(io.BytesIO(profile))
    except Exception:
        return False
    return True


def fitting(metadata: Metadata, kind: str, mode: str) -> tuple[Metadata, list[str]]:
    """What a format can hold of metadata.

    Args:
      metadata: a `Metadata`.
      kind: Pillow's name of the format.
      mode: Pillow's mode of the image.

    Returns:
      `(Metadata, notes)`; the latter are sentences about what it cannot hold.
    """
    notes = []
    limits = {"exif": _JPEG_SEGMENT - len(_EXIF_START), "xmp": _JPEG_SEGMENT - len(_XMP_START)}
    held = metadata
    for name, title, kinds in zip(Metadata._fields, _NAMES, Formats()):
        content = getattr(metadata, name)
        too_long = kind == "JPEG" and len(content) > limits.get(name, MAX_METADATA_BYTES)
        if content and (kind not in kinds or too_long):
            notes.append(f"{kind} cannot hold its {title} of {len(content):,} bytes.")
            held = held._replace(**{name: b""})
    # these are made of colour alone
    if kind == "WEBP" and mode in ("L", "LA"):
        held = held._replace(icc_profile=b"")
    return held, notes


def options(metadata: Metadata, kind: str) -> dict[str, Any]:
    """The arguments of `Image.save` with which a format (Pillow's name) gets its metadata."""
    icc_profile, exif, xmp = metadata
    found: dict[str, Any] = {"icc_profile": icc_profile} if icc_profile else {}
    if exif:
        found["exif"] = with_start(exif) if kind == "JPEG" else exif
    if xmp and kind == "PNG":
        text = PngImagePlugin.PngInfo()
        text.add_itxt("XML:com.adobe.xmp", xmp.decode(errors="replace"))
        found["pnginfo"] = text
    elif xmp and kind == "TIFF":
        tags = Image.Exif()
        if exif:
            tags.load(exif)
        tags[700] = xmp  # where TIFF has it
        found["exif"] = tags
    elif xmp:
        found["xmp"] = xmp
    return found
