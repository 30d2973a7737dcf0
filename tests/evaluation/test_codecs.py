"""The codecs of other libraries, and models, behind one interface."""

import dataclasses

import pytest

from tfclic import errors, runtime
from tfclic.evaluation import codecs, metrics


@pytest.mark.parametrize("name", codecs.PEERS)
def test_files_grow_with_the_settings_and_so_does_quality(name, make_pixels):
    codec = codecs.load(name)
    pixels = make_pixels(64, 96)
    files = [codec.encode(pixels, setting) for setting in (codec.settings[0], codec.settings[-1])]
    decoded = [codec.decode(file) for file in files]
    assert all(image.shape == pixels.shape and image.dtype == pixels.dtype for image in decoded)
    assert len(files[0]) < len(files[1])
    worse, better = (metrics.psnr(pixels, image) for image in decoded)
    assert 15 < worse < better
    assert codec.name == name and codec.identity and codec.suffix.startswith(".")


@pytest.mark.parametrize("name", codecs.PEERS)
def test_settings_lie_in_their_limits(name):
    codec = codecs.load(name)
    first, last = codec.limits
    rising = [(setting - first) / (last - first) for setting in codec.settings]
    assert rising == sorted(rising) and 0 <= rising[0] and rising[-1] <= 1


def test_what_is_not_installed_is_told_in_a_sentence(monkeypatch):
    monkeypatch.setattr("PIL.features.version", lambda name: None)
    with pytest.raises(errors.UsageError, match="AVIF cannot be measured"):
        codecs.load("avif")


def test_a_model_is_a_codec(toy_model, make_pixels):
    codec = codecs.load(str(toy_model), (100, 0))
    assert codec.settings == [0, 100]
    assert (codec.name, codec.title, codec.objective) == ("toy-1", "toy/1", "mse")
    pixels = make_pixels(20, 30)
    assert codec.decode(codec.encode(pixels, 100)).shape == pixels.shape
    assert codec.identity == codec.runtime.model.fingerprint


def test_other_pixels_are_measured_anew(toy_model, monkeypatch):
    plain = codecs.load(str(toy_model), (0,))
    load = runtime.load

    def in_integers(source):
        found = load(source)
        found.model = dataclasses.replace(
            found.model, card=dataclasses.replace(found.model.card, pixels="01234567")
        )
        return found

    monkeypatch.setattr(runtime, "load", in_integers)
    assert codecs.load(str(toy_model), (0,)).identity == f"{plain.identity}+01234567"
