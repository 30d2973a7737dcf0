"""Searching the quality that gives a size or a PSNR."""

import math

import pytest

from tfclic import errors
from tfclic.runtime import targets


def counted(function):
    """`function`, and the list of what it was asked."""
    asked = []

    def call(quality):
        asked.append(quality)
        return function(quality)

    return call, asked


@pytest.mark.parametrize("function", [lambda q: 10 + q, lambda q: math.exp(q / 9), lambda q: q**4])
@pytest.mark.parametrize("share", [0.01, 0.3, 0.99])
def test_a_value_in_the_range_is_found_in_few_tries(function, share):
    high = function(100) * share + function(0) * (1 - share)
    call, asked = counted(function)
    quality = targets.search(call, 0.98 * high, high, at_most=True)
    assert 0.98 * high <= function(quality) <= high
    assert len(asked) <= 20
    code = quality * targets.CODES / 100
    assert code == pytest.approx(round(code)), "a quality that a file can state"


def test_the_ends_are_found():
    assert targets.search(lambda q: q + 1, 1, 1.01, at_most=True) == 0
    assert targets.search(lambda q: q + 1, 100.5, 101, at_most=True) == 100


def test_where_values_jump_the_miss_is_on_the_wanted_side():
    def jumping(quality):
        return 10 if quality < 40 else 20

    assert jumping(targets.search(jumping, 14, 15, at_most=True)) == 10
    assert jumping(targets.search(jumping, 14, 15, at_most=False)) == 20


def test_values_that_do_not_always_rise_are_found_too():
    def wavy(quality):
        return quality + 3 * math.sin(quality)

    assert 49 <= wavy(targets.search(wavy, 49, 50, at_most=True)) <= 50


@pytest.mark.parametrize("low, high, quality, value", [(1, 2, 0, 5), (200, 300, 100, 105)])
def test_out_of_reach_tells_the_nearest(low, high, quality, value):
    with pytest.raises(targets.OutOfReach) as caught:
        targets.search(lambda q: q + 5, low, high, at_most=True)
    assert (caught.value.quality, caught.value.value) == (quality, value)


class Encoder:
    """Files of 100 to 1100 bytes, 20 to 40 dB."""

    refinement = 0

    def plain(self):
        return Encoder()

    def file(self, quality):
        return bytes(round(100 + 10 * quality))

    def psnr(self, quality):
        return 20 + quality / 5


def test_each_kind_of_target_is_met():
    pixels = 8000
    assert 490 <= len(targets.compress(Encoder(), "file_bytes", 500, pixels)) <= 500
    assert 490 <= len(targets.compress(Encoder(), "bpp", 0.5, pixels)) <= 500
    # 30 dB at a quality of 50, 0.05 dB more at 50.25
    assert 600 <= len(targets.compress(Encoder(), "psnr", 30, pixels)) <= 603


class Refining(Encoder):
    """The same, refined: 7 % smaller and 0.2 dB better, and it counts how often."""

    refinement, share = 5, 0.93

    def __init__(self):
        self.made = 0

    def file(self, quality):
        self.made += 1
        return b"r" * round(self.share * (100 + 10 * quality))

    def psnr(self, quality):
        self.made += 1
        return super().psnr(quality) + 0.2


def test_refined_files_meet_targets_in_few_refinements():
    for kind, target in (("file_bytes", 500), ("bpp", 0.5)):
        encoder = Refining()
        data = targets.compress(encoder, kind, target, 8000)
        assert 490 <= len(data) <= 500 and data[:1] == b"r" and encoder.made <= 3
    encoder = Refining()
    data = targets.compress(encoder, "psnr", 30, 8000)
    # 30 dB at a quality of 49, 30.05 at 49.25
    assert 0.93 * 590 - 1 <= len(data) <= 0.93 * 592.5 + 1
    assert data[:1] == b"r" and encoder.made <= 4


def test_a_target_that_no_refinement_meets_is_met_without():
    class Wild(Refining):
        def file(self, quality):
            self.made += 1
            return b"r" * (10 + 800 * (self.made % 2))

    data = targets.compress(Wild(), "file_bytes", 500, 8000)
    assert 490 <= len(data) <= 500 and data[:1] == b"\0"


@pytest.mark.parametrize("highest", [(math.inf, math.inf), (48, math.inf), (math.inf, 48)])
def test_an_image_that_loses_nothing_has_its_file(highest):
    """Of an image in one gray the PSNR jumps from 48 dB to infinity, with refinement or without."""

    class Jumping(Refining):
        psnrs = highest

        def plain(self):
            other = Jumping()
            other.psnrs = self.psnrs[1:]
            return other

        def psnr(self, quality):
            return self.psnrs[0] if quality > 60 else 45

    assert targets.compress(Jumping(), "psnr", 47, 8000)


@pytest.mark.parametrize(
    "kind, target, sentence",
    [
        ("file_bytes", 50, "50 bytes cannot be reached; the nearest is 100 bytes, with quality 0"),
        ("bpp", 3, "3 bits per pixel cannot .* 1.1 bits per pixel, with quality 100"),
        ("psnr", 19, "19.00 dB cannot be reached; the nearest is 20.00 dB, with quality 0"),
        ("psnr", float("nan"), "nan cannot be a target"),
        ("bpp", -1, "above 0"),
    ],
)
def test_what_cannot_be_is_said_in_one_sentence(kind, target, sentence):
    with pytest.raises(errors.UsageError, match=sentence):
        targets.compress(Encoder(), kind, target, 8000)
