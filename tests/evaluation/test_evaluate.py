"""Measurements of the toy model, and what they are averaged and compared to."""

import numpy as np
import pytest

from tfclic import errors
from tfclic.evaluation import codecs, evaluate, metrics


@pytest.mark.parametrize("channels", [1, 3])
def test_a_measurement_is_that_of_the_file(toy_model, toy_codec, make_pixels, channels):
    pixels = make_pixels(180, 190, channels)
    pixels = pixels[..., 0] if channels == 1 else pixels
    measured, data = evaluate.measure(codecs.Model(toy_model, [0]), pixels, 0)
    assert data == toy_codec.compress(pixels, 0)
    decoded = toy_codec.decompress(data)
    assert measured.bpp == 8 * len(data) / (180 * 190)
    assert measured.psnr == pytest.approx(metrics.psnr(pixels, decoded))
    assert 0 < measured.flip < 1
    assert measured.ms_ssim == pytest.approx(metrics.ms_ssim(pixels, decoded), rel=1e-5)
    assert measured.encoding_time > 0 and measured.decoding_time > 0


@pytest.mark.parametrize("channels", [1, 3])
def test_a_sound_codec_is_verified(toy_codec, make_pixels, channels):
    pixels = make_pixels(20, 30, channels)
    found = evaluate.verify(toy_codec, pixels[..., 0] if channels == 1 else pixels, 0)
    assert found.passed
    assert found.latents_differ == 0 and found.psnr_difference == 0
    assert 0 < found.file_bytes - found.estimated_bytes <= 24


def test_disagreement_is_found(toy_codec, make_pixels):
    class Liar:
        """Tells other latents, another size and another reconstruction than the file has."""

        decode_latents = toy_codec.decode_latents
        decompress = toy_codec.decompress

        @staticmethod
        def evaluate(pixels, quality, effort):
            told = toy_codec.evaluate(pixels, quality, effort=effort)
            latents = told["latents"].copy()
            latents[0, 0, :2] += 1
            other = np.zeros_like(told["reconstruction"])
            bits = 2 * told["estimated_bits"]
            return {**told, "latents": latents, "estimated_bits": bits, "reconstruction": other}

    found = evaluate.verify(Liar, make_pixels(20, 30), 0)
    assert found.latents_differ == 2
    assert not found.size_agrees and not found.psnr_agrees and not found.passed


def test_averages_leave_out_what_is_missing():
    one = evaluate.Measurement(1.0, 30.0, None, 0.0, 0.1, 0.2)
    two = evaluate.Measurement(2.0, 34.0, 0.9, 0.1, 0.3, 0.4)
    assert evaluate.average([one, two])[:-1] == pytest.approx((1.5, 32.0, 0.9, 0.05, 0.2, 0.3))
    assert evaluate.average([one]).ms_ssim is None
    assert evaluate.average([one, two]).more == {}
    more = one._replace(more={"vif": 0.5, "vmaf": None}), two._replace(more={"vif": 0.7})
    assert evaluate.average(more).more == {"vif": pytest.approx(0.6), "vmaf": None}


def test_others_are_measured_where_they_are_asked_for(toy_model, make_pixels):
    pixels, codec = make_pixels(30, 40), codecs.Model(toy_model, [0, 100])
    found = {s: evaluate.measure(codec, pixels, s, ["psnr-hvs-m"])[0].more for s in (0, 100)}
    assert 0 < found[0]["psnr-hvs-m"] < 60 and found[100] == {"psnr-hvs-m": 100}


def test_a_model_is_named_with_its_effort(tiny_model):
    plain, refined = (codecs.load(str(tiny_model) + end, (100,)) for end in ("", "@3"))
    assert (plain.effort, refined.effort) == (0, 3)
    assert refined.name == f"{plain.name}-effort-3"
    assert refined.identity != plain.identity and "effort 3" in refined.title
    with pytest.raises(errors.UsageError, match="0 to 9"):
        codecs.load(f"{tiny_model}@10", (100,))
