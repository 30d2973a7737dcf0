"""What a file costs: the parts add up, over tiles too, and follow from the parameters told."""

import dataclasses

import numpy as np
import pytest

from tfclic import errors, runtime
from tfclic.evaluation import inspection
from tfclic.runtime import catalog

SIZE = (90, 130)


@pytest.fixture(scope="module")
def tiny(tiny_model):
    return runtime.load(tiny_model)


@pytest.fixture(scope="module", params=[64, 1024])
def case(request, tiny, make_pixels):
    """What the encoder knows of an image, in tiles and in one piece, and its explanation."""
    known = tiny.evaluate(make_pixels(*SIZE), 60, tile=request.param)
    return known, tiny.statistics(known["file"])


def test_bits_add_up_to_the_estimate_and_to_the_strings(case):
    known, explanation = case
    parts = explanation.parts
    assert set(parts) == {"latents", "hyper_latents", "channels"}
    assert sum(p.bits for p in parts.values()) == pytest.approx(known["estimated_bits"], rel=1e-5)
    for part in parts.values():
        assert part.positions.sum() == pytest.approx(part.bits, rel=1e-5)
        assert part.strings.sum() == pytest.approx(part.bits)
    by_string = sum(part.strings for part in parts.values())
    np.testing.assert_allclose(8 * explanation.lengths, by_string, rtol=0.01, atol=64)


def test_parts_cover_the_image_to_multiples_of_64(case):
    parts = case[1].parts
    assert parts["latents"].positions.shape == (128 // 16, 192 // 16)
    assert parts["hyper_latents"].positions.shape == (128 // 64, 192 // 64)
    assert len(parts["latents"].channels) == 6 and len(parts["hyper_latents"].channels) == 4


def test_a_channel_is_as_coded_and_its_bits_follow_from_its_mixtures(case):
    known, explanation = case
    found = explanation.channel(4)
    np.testing.assert_array_equal(found["latents"], known["latents"][..., 4])
    assert found["latents_bits"].sum() == pytest.approx(
        explanation.parts["latents"].channels[4], rel=1e-5
    )
    for place in [(0, 0), (3, 7), (7, 11)]:
        mixture = (found[name][place] for name in ("weights", "means", "scales"))
        masses = inspection.mixture_masses(*mixture)
        bits = inspection.bits(masses[found["latents"][place] - inspection.LATENT_MIN])
        assert bits == pytest.approx(found["latents_bits"][place], abs=1e-2)


def test_progress_counts_tiles(tiny, make_pixels):
    data, seen = tiny.compress(make_pixels(*SIZE), tile=64), []
    explanation = tiny.statistics(data, lambda done, total: seen.append((done, total)))
    assert explanation.parts and seen == [(i, 6) for i in range(1, 7)]


def test_an_older_export_tells_the_sizes_only(toy_model, make_pixels):
    model = catalog.find(toy_model)
    functions = {k: v for k, v in model.card.functions.items() if k != "explain"}
    codec = runtime.Codec(
        dataclasses.replace(model, card=dataclasses.replace(model.card, functions=functions))
    )
    data = codec.compress(make_pixels(20, 30))
    explanation = codec.statistics(data)
    assert explanation.lengths.sum() == codec.info(data)["payload_bytes"]
    with pytest.raises(errors.ModelError, match="has no function explain; export it again"):
        assert explanation.parts


def test_files_of_other_models_are_refused(tiny, toy_codec, make_pixels):
    with pytest.raises(errors.ModelError, match=toy_codec.model.fingerprint):
        tiny.statistics(toy_codec.compress(make_pixels(20, 30)))
