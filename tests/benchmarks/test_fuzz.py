"""Forged files with more than an image; a small part of the benchmark, with the toy model."""

import collections
import pathlib
import random

import numpy as np
import pytest

from tfclic import errors
from tfclic.format import header, picture


@pytest.fixture
def forging(load_benchmark):
    return load_benchmark("forging")


@pytest.fixture
def files(load_benchmark, forging, monkeypatch, toy_codec, make_pixels):
    """Of an image as it is, with each kind of alpha, and with a map of qualities, too."""
    monkeypatch.syspath_prepend(pathlib.Path(forging.__file__).parent)
    fuzz, pixels = load_benchmark("fuzz"), make_pixels(30, 40)
    made = list(fuzz.dressed([pixels], np.random.default_rng(0)))
    assert len(made) == 3
    return [
        toy_codec.compress(pixels),
        *(toy_codec.compress(each, metadata=kept) for each, kept in made),
        *(toy_codec.compress(each, np.array([[10, 90]]), metadata=kept) for each, kept in made),
    ]


def test_what_is_taken_off_can_be_put_around(forging, files):
    assert [data[3] for data in files[1:]] == [picture.VERSION] * 3 + [picture.WITH_MAP] * 3
    for data in files[1:]:
        parts = forging.take_off(data)
        *_, image = (content for kind, content in parts if kind <= 1)
        assert [kind for kind, _ in parts if kind] == [1, 2, 129, 130, 131]
        assert image == picture.parse(data).image
        assert forging.put_around(parts) == data


def test_forged_parts_are_refused_or_decoded(forging, files, toy_codec):
    mutator, answers = forging.Mutator(files, random.Random(0)), collections.Counter()
    for _ in range(300):
        data, _ = mutator.next()
        try:
            pixels = toy_codec.decompress(data)
            known = toy_codec.info(data)
            assert pixels.shape[:2] == (known["height"], known["width"])
            answers["decoded"] += 1
        except errors.FileFormatError as error:
            answers[str(error)] += 1
        except errors.ModelError:
            answers["another model"] += 1
    for status in (header.NEWER_VERSION, header.TRUNCATED, header.CORRUPTED):
        assert answers[header.SENTENCES[status]]
    assert answers["decoded"] > 9


@pytest.mark.parametrize("way", ["whole", "region", "scale", "slices", "beginning"])
def test_each_way_says_how_large_its_image_has_to_be(
    load_benchmark, forging, monkeypatch, sliced_toy, make_pixels, way
):
    from tfclic import runtime

    monkeypatch.syspath_prepend(pathlib.Path(forging.__file__).parent)
    fuzz, codec = load_benchmark("fuzz"), runtime.load(sliced_toy)
    data, shapes = codec.compress(make_pixels(70, 90), 50), set()
    for seed in range(8):
        try:
            pixels, expected = fuzz.WAYS[way](codec, data, random.Random(seed))
            assert pixels.shape[:2] == expected
            shapes.add(expected)
        except errors.FileFormatError:
            # too little of it may be there
            assert way == "beginning"
    assert shapes == {(70, 90)} if way in ("whole", "slices", "beginning") else len(shapes) > 2


def test_whose_fault_a_refusal_is(load_benchmark, forging, monkeypatch, toy_codec, make_pixels):
    monkeypatch.syspath_prepend(pathlib.Path(forging.__file__).parent)
    fuzz, data = load_benchmark("fuzz"), toy_codec.compress(make_pixels(30, 40))
    start = data.index(bytes.fromhex(toy_codec.model.fingerprint))
    # the end is unsound as well
    other = data[:start] + bytes([data[start] ^ 1]) + data[start + 1 : -1]
    assert fuzz.blamed(toy_codec, other, "") == "another model"
    assert fuzz.blamed(toy_codec, data, "") == "error"


def test_only_what_nobody_vouches_for_may_take_time_for_its_pixels(
    load_benchmark, forging, monkeypatch, toy_codec, make_pixels
):
    monkeypatch.syspath_prepend(pathlib.Path(forging.__file__).parent)
    fuzz, data = load_benchmark("fuzz"), toy_codec.compress(make_pixels(100, 200))
    assert fuzz.allowed(data, ["whole", "region"]) == fuzz.SECONDS
    more = fuzz.allowed(data, ["beginning"]) - fuzz.SECONDS
    assert more == pytest.approx(0.02 * fuzz.SECONDS_A_MEGAPIXEL)
    assert fuzz.allowed(b"", ["slices"]) == fuzz.SECONDS
