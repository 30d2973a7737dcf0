"""Maps of latents to thumbnails: they are the best ones, small, and leave the model what it is."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from tfclic import errors, runtime
from tfclic.cli import common, export
from tfclic.evaluation import metrics
from tfclic.export import saving, thumbnails
from tfclic.format import model
from tfclic.runtime import catalog
from tfclic.runtime import thumbnails as running

CHANNELS = 8
LOGARITHMS = np.linspace(-1, 1, 3)[:, None] * np.linspace(1, 0.5, CHANNELS)


def seen(heard, quality, rng):
    """An image whose means of 8x8 pixels follow from some channels of its latents, and noise."""
    latents = rng.integers(-3, 4, [12, 10, CHANNELS]).astype(np.int16)
    weights = np.zeros([3, 3, CHANNELS, 12], np.float32)
    weights[:, :, heard] = np.random.default_rng(1).normal(0, 1, [3, 3, len(heard), 12])
    logarithms, bias = LOGARITHMS.astype(np.float32), np.full(12, 128, np.float32)
    truth = running.Map(np.arange(CHANNELS), logarithms, weights, bias)
    means = truth.image(latents, quality)
    assert 0 < means.min() and means.max() < 255  # nothing is clipped
    pixels = means.repeat(8, 0).repeat(8, 1) + rng.uniform(-0.5, 0.5, [192, 160, 3])
    return thumbnails.Seen(latents, np.round(pixels).astype(np.uint8), quality)


def several(heard):
    rng = np.random.default_rng(0)
    return [seen(heard, quality, rng) for quality in (0.0, 30.0, 100.0)]


def test_the_map_that_was_used_is_found():
    found = thumbnails.fitted(several([1, 4, 6]), 8, LOGARITHMS.astype(np.float32), 3)
    assert found.channels.tolist() == [1, 4, 6]
    assert found.kernel.shape == (3, 3, 3, 12)
    weights = np.random.default_rng(1).normal(0, 1, [3, 3, 3, 12])
    np.testing.assert_allclose(found.kernel, weights, atol=0.05)
    np.testing.assert_allclose(found.bias, 128, atol=0.1)
    assert thumbnails.decibels(several([1, 4, 6]), 8, found) > 50
    assert thumbnails.decibels(several([1, 4, 5]), 8, found) < 40


def test_means_of_means_are_fitted_as_well():
    known = several([0, 2, 5])
    found = thumbnails.fitted(known, 16, LOGARITHMS.astype(np.float32), 3)
    assert found.channels.tolist() == [0, 2, 5] and found.side == 1
    image = found.image(known[0].latents[..., found.channels], known[0].quality)
    wanted = known[0].pixels.reshape(12, 16, 10, 16, 3).mean((1, 3))
    assert np.abs(image - wanted).max() < 1


@pytest.fixture(scope="module")
def photos(tmp_path_factory, make_pixels, soft):
    folder = tmp_path_factory.mktemp("photos")
    for number, (height, width) in enumerate(((128, 128), (130, 200), (64, 64))):
        pixels = soft(make_pixels(height, width, seed=number))
        Image.fromarray(np.roll(pixels, 20 * number, 2)).save(folder / f"{number}.png")
    Image.new("RGB", (63, 200)).save(folder / "small.png")
    return folder


def run(*words):
    args = export.make_parser().parse_args([str(word) for word in words])
    return common.guarded(export.export, args, "export")


@pytest.fixture(scope="module")
def taught(two_graphs, photos, tmp_path_factory):
    """The folder of the tiny codec's export, which has learned to make thumbnails."""
    path = tmp_path_factory.mktemp("taught") / "two" / "1"
    shutil.copytree(two_graphs, path)
    assert run(f"--thumbnails={path}", f"--images={photos}") == 0
    return path


def test_an_export_learns_in_its_place(taught, two_graphs):
    before, after = (catalog.at(path).card.content() for path in (two_graphs, taught))
    assert set(after["checksums"]) - set(before["checksums"]) == {model.THUMBNAILS}
    del after["checksums"][model.THUMBNAILS]
    assert after == before
    assert (taught / model.THUMBNAILS).stat().st_size < 200_000


@pytest.mark.parametrize("quality", [0, 40, 100])
def test_its_thumbnails_are_near_those_of_whole_decoding(taught, make_pixels, soft, quality):
    codec = runtime.load(taught)
    pixels = soft(make_pixels(100, 180, seed=9))
    data = codec.compress(pixels, quality, tile=64)
    for by in (4, 8, 16):
        found = codec.decompress(data, scale=1 / by)
        wanted = running.reduced(codec.decompress(data), by)
        assert found.shape == wanted.shape
        # a synthesis that is not trained is a linear one
        inside = (slice(0, 100 // by), slice(0, 180 // by))
        assert metrics.psnr(found[inside], wanted[inside]) > 38


def test_another_export_takes_them_over(taught, tmp_path, monkeypatch, capsys):
    given = {}

    def save(*_, **named):
        given.update(named)
        return taught

    monkeypatch.setattr(saving, "save", save)
    assert run(f"--from={taught}", "--name=again", f"--folder={tmp_path}") == 0
    assert given["thumbnails"] == (taught / model.THUMBNAILS).read_bytes()


@pytest.mark.parametrize(
    "words, status, sentence",
    [
        (["--thumbnails=two"], 2, "--thumbnails goes with --images"),
        (["--thumbnails=two", "--images=x", "--name=two"], 2, "of a model that has its name"),
        (["--thumbnails=nowhere", "--images=x"], 5, "There is no model nowhere"),
        (["--from=two"], 2, "cannot be the name of a model"),
    ],
)
def test_what_makes_no_sense_is_told(two_graphs, monkeypatch, capsys, words, status, sentence):
    monkeypatch.setenv(catalog.VARIABLE, str(two_graphs.parents[1]))
    assert run(*words) == status
    assert sentence in capsys.readouterr().err


def test_systems_that_do_more_than_scale_have_none(two_graphs):
    with pytest.raises(errors.ModelError, match="its latents are more than scaled"):
        thumbnails.add(catalog.at(two_graphs), SimpleNamespace(scales_latents=False), [])


def test_images_that_are_too_small_teach_nothing(two_graphs, codec):
    with pytest.raises(errors.UsageError, match="64 pixels each way"):
        thumbnails.add(catalog.at(two_graphs), codec, [np.zeros([63, 500, 3], np.uint8)])
