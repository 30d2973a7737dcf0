"""Colours by their names, and behind what is transparent."""

import numpy as np
import pytest

from tfclic import errors, images
from tfclic.format.picture import Metadata

WHITE = (255, 255, 255)


def test_a_colour_goes_behind_what_is_transparent():
    pixels = np.array([[[0, 0, 0, 51], [9, 8, 7, 255]]], np.uint8)
    kept = Metadata(b"profile", b"exif")
    found, metadata = images.on(pixels, (255, 0, 100), kept)
    assert found.tolist() == [[[204, 0, 80], [9, 8, 7]]] and metadata == kept
    opaque = pixels[..., :3]
    assert images.on(opaque, WHITE, kept)[0] is opaque
    found, metadata = images.on(pixels[..., [0, 3]], WHITE, kept)
    assert found.tolist() == [[204, 9]] and metadata == kept


@pytest.mark.parametrize("text, color", [("white", WHITE), ("#ff8800", (255, 136, 0))])
def test_colours_are_parsed(text, color):
    assert images.parse_color(text) == color


@pytest.mark.parametrize("text", ["", "whit", "#ff880080"])
def test_what_is_no_opaque_colour_is_refused(text):
    with pytest.raises(errors.UsageError, match="not an opaque colour"):
        images.parse_color(text)
