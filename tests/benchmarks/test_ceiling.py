"""benchmarks/ceiling.py: what it says of codecs and images of which the answer is known."""

import json

import ml_collections
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tfclic import configuration, errors, models
from tfclic.cli import common
from tfclic.training import building, checkpoints

SMALL = dict(
    latent_channels=6,
    widths=(4, 4, 4),
    hyper_channels=4,
    block_transform=True,
    fine_widths=(8, 8, 5),
    coarse_widths=(6, 6, 4),
    coarse_features=8,
    prediction_widths=(6, 7, 8),
    hyper_width=6,
    slices=2,
    support_channels=8,
    slice_widths=(8, 6),
)
WIDE = np.log(8)  # scale of Gaussians, as a logarithm, that suits the block transform's latents


@pytest.fixture(scope="module")
def ceiling(without_graphs):
    with without_graphs("ceiling") as module:
        yield module


def small_codec(name):
    """A codec of that configuration, its latents those of a block transform."""
    _, config = configuration.load(name)
    config.model.update({k: v for k, v in SMALL.items() if k in config.model})
    codec = models.build(config.model)
    building.build_variables(codec)
    biases = {
        "hyperprior": lambda: [codec.hyper_synthesis.layers[-1].conv.bias],
        "coarse_to_fine_small": lambda: [codec.prediction.biases[-1]],
        "cca_small": lambda: [part.scale.layers[-1].conv.bias for part in codec.slices],
    }
    for bias in biases.get(name, list)():
        # of log scales alone, or of means and log scales
        bias.assign(np.repeat([0, WIDE], 6)[-bias.shape[0] :].astype(np.float32))
    return codec


def figures_of(ceiling, codec, pixels, quality, tmp_path, side=512):
    """What `measure_all` finds for one image."""
    Image.fromarray(pixels).save(tmp_path / "image.png")
    measure, paths = ceiling.make_measure(codec), [str(tmp_path / "image.png")]
    return ceiling.measure_all(measure, paths, quality, side)["image.png"]


def test_nothing_is_lost_but_by_rounding_if_latents_hold_the_image(ceiling, codec, tmp_path):
    grey = np.random.default_rng(0).integers(100, 156, [8, 8]).astype(np.uint8)
    blocks = np.kron(grey, np.ones([16, 16], np.uint8))
    found = figures_of(ceiling, codec, blocks, 0.0, tmp_path)
    assert found["error/unquantised"] == 0
    assert found["error/rounded"] > 1 and found["error/coded"] > 1
    # the mean of a block, one of six basis functions
    assert found["channels"] == 1
    assert 0.5 < 6 * found["nonzero"] <= 1
    assert ceiling.summary({"image": found})["share"] == 0


@pytest.mark.parametrize(
    "name", ["gmm", "hyperprior", "factorized", "coarse_to_fine_small", "cca_small"]
)
def test_every_system_is_measured(ceiling, make_codec, make_pixels, soft, tmp_path, name):
    codec = make_codec() if name == "gmm" else small_codec(name)
    pixels = soft(make_pixels(70, 100))
    found = figures_of(ceiling, codec, pixels, 100.0, tmp_path, 90)
    assert found["pixels"] == 70 * 90
    assert 0 < found["error/unquantised"] < found["error/rounded"]
    assert found["error/coded"] == pytest.approx(found["error/rounded"], rel=0.5)
    assert 0 < found["channels"] <= 6 and 0 < found["nonzero"] <= 1
    for kind in ("noise", "rounded", "coded"):
        assert 0 < found[f"bits/{kind}"] < 1e5
    assert found["bits/coded"] < 1.1 * found["bits/rounded"]


def test_the_middle_is_cut_out(ceiling):
    rows = np.arange(10, dtype=np.uint8)[:, None] * np.ones([1, 4], np.uint8)
    cut = ceiling.middle(rows, 6)
    assert cut.shape == (6, 4, 3)
    np.testing.assert_allclose(255 * cut[:, 0, 1], np.arange(2, 8), atol=1e-4)


def row(**changes):
    """Measures of an image, as `measure_all` has them."""
    found = {f"error/{kind}": 1.0 for kind in ("unquantised", "rounded", "coded")}
    found.update({f"bits/{kind}": 100.0 for kind in ("noise", "rounded", "coded")})
    return {"pixels": 100, "channels": 3.0, "nonzero": 0.25, **found, **changes}


def test_the_share_is_of_mean_errors_and_bits_are_of_pixels(ceiling):
    second = {"error/unquantised": 2.0, "error/rounded": 5.0, "bits/noise": 150.0, "pixels": 50}
    found = ceiling.summary({"a": row(), "b": row(**second)})
    assert found["share"] == pytest.approx(50)
    assert found["psnr/coded"] == pytest.approx(48.13, abs=0.01)
    assert found["bpp/rounded"] == pytest.approx(1.5) and found["bpp/noise"] == pytest.approx(2)
    assert found["noise"] == pytest.approx(100 / 3) and found["coded"] == pytest.approx(0)
    assert found["channels"] == 3 and found["nonzero"] == 25
    assert ceiling.row(20.0, found).count("|") == ceiling.COLUMNS.count("|") + 2


def test_the_verdict_names_qualities_up_to_80(ceiling):
    assert "above 15 % at qualities 40, 80: too few" in ceiling.verdict(
        {0.0: 3.0, 40.0: 15.1, 80.0: 30.0, 100.0: 40.0}
    )
    assert "not above 15 % at qualities 0, 80:" in ceiling.verdict({0.0: 3.0, 80.0: 15.0, 90.0: 50})
    assert "Qualities up to 80" in ceiling.verdict({100.0: 40.0})


@pytest.fixture(scope="module")
def folder(tmp_path_factory, make_pixels, soft):
    """Five images."""
    made = tmp_path_factory.mktemp("images")
    for i in range(5):
        Image.fromarray(soft(make_pixels(64, 64, seed=i))).save(made / f"{i}.png")
    return made


def test_a_run_is_measured_on_its_held_out_images(ceiling, codec, folder, tmp_path, capsys):
    holder, filed = tf.Module(), tmp_path / "run" / "checkpoints" / "step-00000007"
    holder.weights = building.variable_paths(codec)
    holder.step, holder.updates = (tf.Variable(7, dtype=tf.int64) for _ in range(2))
    tf.train.Checkpoint(state=holder).write(str(filed / "checkpoint"))
    config = ml_collections.ConfigDict({"model": codec.config, "training": {"crop_size": 64}})
    checkpoints.write_config(tmp_path / "run", "tiny", config)
    words = [str(tmp_path / "run"), f"--images={folder}", "--held-out=1", "--qualities=0,80"]
    args = ceiling.make_parser().parse_args([*words, f"--json={tmp_path / 'found.json'}"])
    assert common.guarded(ceiling.run, args, "ceiling.py") == 0
    title, *table, verdict = capsys.readouterr().out.splitlines()
    assert title == "gmm_attention, step 7, N = 6, 1 images"
    assert [line.split(" | ")[0] for line in table[2:]] == ["| 0", "| 80"]
    assert "above 15 % at qualities" in verdict
    measures = json.loads((tmp_path / "found.json").read_text())["measures"]
    assert list(measures) == ["0.0", "80.0"] and len(measures["80.0"]) == 1


@pytest.mark.parametrize(
    ("source", "images", "status", "sentence"),
    [
        ("nowhere", "", 5, "nowhere holds no checkpoint. There is no model nowhere"),
        ("run", "", 2, "config.json cannot be read"),
    ],
)
def test_what_is_no_model_is_refused(
    ceiling, tmp_path, monkeypatch, capsys, source, images, status, sentence
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run" / "checkpoints" / "step-00000001").mkdir(parents=True)
    args = ceiling.make_parser().parse_args([source, f"--images={images}"])
    assert common.guarded(ceiling.run, args, "ceiling.py") == status
    assert sentence in capsys.readouterr().err


def test_an_export_without_densities_is_refused(ceiling, toy_model, monkeypatch):
    monkeypatch.setattr(ceiling.stored, "read", lambda *_: (small_codec("factorized"), []))
    with pytest.raises(errors.ModelError, match="toy/1 has tables for densities; take its"):
        ceiling.restore(str(toy_model))


@pytest.mark.parametrize("word", ["--side=0", "--first=-1", "--qualities=0,101", "--qualities="])
def test_numbers_that_cannot_be_are_refused(ceiling, word, capsys):
    with pytest.raises(SystemExit):
        ceiling.make_parser().parse_args(["model", "--images=folder", word])
    assert "is not a" in capsys.readouterr().err
