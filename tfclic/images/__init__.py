"""Image files to arrays and back, with Pillow.

What an image file says is brought to what a `.tfclic` file holds: colour or grayscale, 8 bits, with
alpha or without. The orientation in Exif is applied, and metadata that are kept say that it is.
Colours stay those of the file's profile where this is kept, and are converted to sRGB where not.
"""

from tfclic.images.conversion import Colour, Pixels, on, parse_color, pixels_of, resolved
from tfclic.images.reading import Keeps, Photo, decode, read
from tfclic.images.writing import encode, output_format, save, unkept

__all__ = [
    "Colour",
    "Keeps",
    "Photo",
    "Pixels",
    "decode",
    "encode",
    "on",
    "output_format",
    "parse_color",
    "pixels_of",
    "read",
    "resolved",
    "save",
    "unkept",
]
