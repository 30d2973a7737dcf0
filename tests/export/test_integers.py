"""A model whose synthesis computes in integers: the same pixels wherever and however it runs."""

import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tfclic import errors, models, runtime
from tfclic.cli import common, export
from tfclic.evaluation import inspection
from tfclic.export import exported, integers, rough, samples, saving, stored
from tfclic.export.transforming import everywhere
from tfclic.format import header, model
from tfclic.layers.substitution import substituted
from tfclic.models import base
from tfclic.training import building

PROGRAM = """
import hashlib, pathlib, sys
from tfclic import runtime

codec = runtime.load(sys.argv[1])
pixels = [codec.decompress(pathlib.Path(path).read_bytes()) for path in sys.argv[2:]]
print(*(hashlib.sha256(each.tobytes()).hexdigest() for each in pixels))
"""
ELSEWHERE = [
    {"TF_ENABLE_ONEDNN_OPTS": "0"},
    {"ONEDNN_MAX_CPU_ISA": "SSE41", "TF_NUM_INTRAOP_THREADS": "1", "OMP_NUM_THREADS": "1"},
]
SYSTEMS = [
    *("gmm_attention_small", "coarse_to_fine_small", "cca_small"),
    *("elic_small", "hyperprior", "factorized"),
]


def run(*words):
    args = export.make_parser().parse_args([str(word) for word in words])
    return common.guarded(export.export, args, "export")


@pytest.fixture(scope="module")
def photos(tmp_path_factory, make_pixels):
    """A folder with a small image, which takes less time than those that are made."""
    target = tmp_path_factory.mktemp("photos")
    (target / "a.png").write_bytes(tf.io.encode_png(make_pixels(64, 64)).numpy())
    return target


@pytest.fixture(scope="module")
def folder(two_graphs, photos, tmp_path_factory, export_for_reading):
    """A folder with the tiny codec's export anew, its synthesis in integers."""
    target = tmp_path_factory.mktemp("integers")
    words = [f"--from={two_graphs}", "--name=exact", f"--folder={target}", f"--images={photos}"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(saving, "save", export_for_reading)
        assert run(*words, "--transforms=integer", "--coder=interleaved") == 0
    return target


@pytest.fixture(scope="module")
def exact(folder):
    return runtime.load(folder / "exact")


@pytest.fixture(scope="module")
def pixels(make_pixels):
    return make_pixels(150, 200)


@pytest.fixture(scope="module")
def files(exact, pixels):
    """Files of an image, whole and in tiles, at several qualities, and at all of them."""
    made = [(0, 1024), (50, 64), (100, 1024), (np.array([[0, 30], [60, 100]]), 64)]
    return [exact.compress(pixels, quality, tile=tile) for quality, tile in made]


@pytest.mark.parametrize("settings", ELSEWHERE, ids=["no oneDNN", "SSE4.1"])
def test_pixels_are_the_same_elsewhere(exact, folder, files, settings, tmp_path, monkeypatch):
    paths = [tmp_path / f"{number}.tfclic" for number in range(len(files))]
    for path, data in zip(paths, files):
        path.write_bytes(data)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    command = [sys.executable, "-c", PROGRAM, folder / "exact" / "1", *paths]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    here = [hashlib.sha256(exact.decompress(data).tobytes()).hexdigest() for data in files]
    assert done.stdout.split() == here


def test_files_are_those_of_floats_and_pixels_nearly(exact, two_graphs, files, pixels):
    floats = runtime.load(two_graphs, header.INTERLEAVED)
    assert floats.model.card.transforms == model.FLOAT32 and floats.model.card.pixels is None
    assert exact.model.card.transforms == model.INTEGER
    assert exact.model.fingerprint == floats.model.fingerprint
    cards = [json.loads((each.model.path / model.CARD).read_text()) for each in (floats, exact)]
    assert (cards[0]["coder"], cards[1]["coder"]) == header.CODERS and "stock" not in cards[1]
    assert all(cards[0][name] == cards[1][name] for name in ("config", "training"))
    assert floats.compress(pixels, 50, tile=64) == files[1]
    for data in files:
        found, want = (codec.decompress(data).astype(int) for codec in (exact, floats))
        assert 0 < np.abs(found - want).max() <= 8
        assert np.mean(np.square(found - want)) < 1


def test_encoders_know_the_pixels(exact, pixels, files):
    known = exact.evaluate(pixels, 100)
    np.testing.assert_array_equal(exact.decompress(known["file"]), known["reconstruction"])


@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_regions_are_crops(exact, files, number):
    whole = exact.decompress(files[number])
    for x, y, width, height in [(0, 0, 200, 150), (3, 70, 1, 1), (60, 60, 70, 80)]:
        region = exact.decompress(files[number], (x, y, width, height))
        np.testing.assert_array_equal(region, whole[y : y + height, x : x + width])


def test_the_graph_alone_makes_the_same(exact, folder, files):
    loaded = tf.saved_model.load(str(folder / "exact" / "1"))
    # in tiles
    np.testing.assert_array_equal(loaded.decompress(files[1]), exact.decompress(files[1]))


def test_inspection_tells(exact, files):
    explanation = exact.statistics(files[0])
    found = inspection.report(exact, files[0], explanation, explanation.parts)
    digest = exact.model.card.pixels
    assert f"pixels    made in integers, {digest}, the same on every machine" in (
        inspection.lines(found)
    )


def test_gray_images_stay_gray(exact, make_pixels):
    data = exact.compress(make_pixels(40, 50, 1), 80)
    assert exact.decompress(data).shape == (40, 50)


def test_an_export_of_it_is_the_same(exact, folder, tmp_path, monkeypatch):
    digests = []

    def save(codec, *_, coder, like, seen, transforms, **named):
        # what its card would say, without the graph
        assert (coder, transforms) == (header.INTERLEAVED, model.INTEGER)
        kept = stored.StoredCodec(codec, like)
        with substituted(codec.transforms(), kept.stand_ins(codec)):
            synthesis = integers.IntegerSynthesis(codec, kept.coding, seen)
        digests.append((kept.digest().hex(), synthesis.digest()))
        return folder / "exact" / "1"

    monkeypatch.setattr(saving, "save", save)
    words = [f"--from={folder / 'exact'}", f"--folder={tmp_path}", "--coder=interleaved"]
    assert run(*words, "--name=again") == 0
    assert digests == [(exact.model.fingerprint, exact.model.card.pixels)]
    card = json.loads((folder / "exact" / "1" / model.CARD).read_text())
    assert card["transforms"] == model.INTEGER and len(bytes.fromhex(card["pixels"])) == 4


@pytest.mark.parametrize("name", SYSTEMS)
def test_systems_are_close_to_floats(name, tiny_system, make_pixels):
    tf.keras.utils.set_random_seed(0)
    codec = models.build(tiny_system(name).model)
    building.build_variables(codec)
    for number, variable in enumerate(codec.trainable_variables):
        # of transforms that begin as nothing, too
        noise = tf.random.stateless_normal(variable.shape, [number, 0], stddev=0.02)
        variable.assign_add(noise)
    image = make_pixels(64, 128)
    seen = integers.measured(codec, [image])
    coding = codec.entropy_coder()
    made = integers.IntegerSynthesis(codec, coding, seen)
    for quality in (0.0, 60.0):
        at = tf.constant([quality])
        coded = codec.coded(codec.analyse(tf.constant(image[None], tf.float32) / 255, at), at)
        latents = tf.cast(tf.round(coded.latents[0] / coding.latent_step), tf.int16)
        sides = {key: array[0] for key, array in coded.side_information.items()}
        hyper_latents = coding.layout.join(sides) if coding.layout.sides else tf.zeros([1, 2, 0])
        found = made.at_codes(latents, tf.cast(hyper_latents, tf.int16), everywhere(at[0]))
        np.testing.assert_array_equal(found, np.clip(np.round(found), 0, 255))
        want = 255 * codec.synthesise(coded.latents, coded.side_information, at)[0].numpy()
        # images of random weights go far beyond what can be seen
        peak = np.ptp(want)
        assert peak > 20
        error = found - np.clip(want, 0, 255)
        assert np.sqrt(np.mean(np.square(error))) < 0.02 * peak


def test_what_is_drawn_has_room_in_the_synthesis(make_codec, make_pixels, monkeypatch):
    given = []
    monkeypatch.setattr(rough, "measured", lambda _, images: given.extend(images) or {})
    codec = make_codec(block_transform=True, kernel_size=3)
    photo = make_pixels(64, 64) // 4 + 96
    edge = np.repeat(np.uint8([0, 255]), 40 * 20 * 3).reshape(80, 20, 3)
    seen, both = (integers.measured(codec, [photo], others) for others in ((), [edge]))
    assert seen.keys() == both.keys()
    before, after = (np.concatenate([each.made for each in s.values()]) for s in (seen, both))
    assert (after >= before).all() and (after > 2 * before).any()
    pixels = base.pad_image(tf.constant(edge[None] / 255.0, tf.float32))
    latents = codec.analyse(pixels, tf.constant([100.0]))
    reached = np.abs(codec.gain.inverse(latents, tf.constant([100.0]))).max((0, 1, 2))
    assert (both[integers.LATENTS].made > reached).all()
    # and none in an analysis in bytes
    assert len(given) == 2 and all(each is photo for each in given)


def test_a_layer_without_an_exact_form_is_named(make_codec, make_pixels):
    codec = make_codec(attention="non_local")
    seen = integers.measured(codec, [make_pixels(64, 64)])
    with pytest.raises(errors.InexactError, match="layer nonlinear_synthesis_5_mask_0: NonLocal"):
        exported.ExportedCodec(codec, header.INTERLEAVED, seen=seen)


def test_models_that_cannot_compute_in_integers_say_so(
    two_graphs, photos, tmp_path, monkeypatch, capsys
):
    tried = []

    def save(*_, seen, **__):
        tried.append(seen is not None)
        if seen is not None:
            raise errors.InexactError("The synthesis has no exact form: layer x.")
        return two_graphs

    monkeypatch.setattr(saving, "save", save)
    monkeypatch.setattr(export, "_learn_thumbnails", lambda *_: None)  # nothing is saved
    words = [f"--from={two_graphs}", f"--folder={tmp_path}", f"--images={photos}", "--name=a"]
    assert run(*words, "--transforms=integer") == 5
    assert "no exact form: layer x." in capsys.readouterr().err
    assert tried == [True]
    assert run(*words) == 0
    assert "Its pixels are made in float32." in capsys.readouterr().err
    # unless it is asked, an export of floats is one of floats
    assert run(*words[:2], "--name=a") == 0
    assert run(*words, "--transforms=float32") == 0
    assert tried == [True, True, False, False, False]


def test_samples_are_of_the_folder(tmp_path, make_pixels):
    with pytest.raises(errors.UsageError, match="is not a folder"):
        samples.of_folder(tmp_path / "none")
    with pytest.raises(errors.UsageError, match="has no images"):
        samples.of_folder(tmp_path)
    for number in range(3):
        data = tf.io.encode_png(make_pixels(300 + number, 20, 1)).numpy()
        (tmp_path / f"{number}.png").write_bytes(data)
        last = data
    found = samples.of_folder(tmp_path)
    assert [each.shape for each in found] == [(256, 20, 3)] * 3
    # each once, however many are asked for
    middle = tf.io.decode_png(last).numpy()[23:279]
    np.testing.assert_array_equal(found[2], np.repeat(middle, 3, axis=2))
    with pytest.raises(errors.ImageError, match="2.png has more than 6,039 pixels; --max-pixels"):
        samples.of_folder(tmp_path, max_pixels=6039)
    for always in (samples.made, samples.drawn):
        first, again = always(), always()
        assert all(np.array_equal(a, b) for a, b in zip(first, again))
        assert {each.shape for each in first} == {(samples.SIDE, samples.SIDE, 3)}
