import importlib.util
import json
import os
import pathlib
import sys
import types

import ml_collections
import numpy as np
import pytest
from PIL import Image

import tfclic
from tfclic import errors
from tfclic.cli import train
from tfclic.training import precision

CONFIG = """
import ml_collections


def get_config():
    model = dict(name="fake", channels=4, lmbdas=(0.001, 0.01))
    training = dict(objective="mse", steps=2, batch_size=2, crop_size=64, learning_rate=1e-3,
        final_learning_rate=1e-4, warmup_steps=0, decay_share=0.5, clip_norm=1.0, ema_decay=0.9,
        downscale_min=0.5, seed=3, validation_images=1, checkpoint_every=2, validate_every=2,
        log_every=1, precision="float32")
    return ml_collections.ConfigDict(dict(model=model, training=training))
"""


@pytest.fixture
def fake_models(monkeypatch):
    """Puts the training tests' fake codec in place of tfclic.models; returns what was built."""
    path = pathlib.Path(__file__).parents[1] / "training" / "fake.py"
    spec = importlib.util.spec_from_file_location("tfclic_tests_fake", path)
    fake = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fake)
    built = []

    def build(config):
        built.append(config)
        return fake.FakeCodec(config.lmbdas, config.channels)

    stand_in = types.ModuleType("tfclic.models")
    stand_in.build = build
    monkeypatch.setitem(sys.modules, "tfclic.models", stand_in)
    monkeypatch.setattr(tfclic, "models", stand_in, raising=False)
    return built


@pytest.fixture
def arguments(tmp_path):
    """A command line that works."""
    (tmp_path / "tiny.py").write_text(CONFIG)
    photos = tmp_path / "photos"
    photos.mkdir()
    for seed in range(3):
        pixels = np.random.default_rng(seed).integers(0, 256, [70, 80, 3], np.uint8)
        Image.fromarray(pixels).save(photos / f"{seed}.png")
    return [f"--model={tmp_path}/tiny.py", f"--data={photos}", f"--workdir={tmp_path}/run"]


def run(*arguments):
    """Runs the program; returns its exit status."""
    with pytest.raises(SystemExit) as ended:
        train.main(["train", *arguments])
    return ended.value.code or 0


def test_it_trains_resumes_and_says_when_all_is_done(arguments, fake_models, tmp_path, capsys):
    assert run(*arguments) == 0
    assert "tiny starts, 2 steps, float32, on photos: 3 images" in capsys.readouterr().out
    assert fake_models[0].compute_dtype == "float32"
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["name"] == "tiny"
    assert "compute_dtype" not in config["model"]

    assert run(*arguments, "--config.training.steps=3") == 0
    out = capsys.readouterr().out
    assert "training.steps is 3 from step 2 on, it was 2.\ntiny goes on at step 2, 3 steps" in out
    assert json.loads((tmp_path / "run" / "record.json").read_text())["steps"] == 3
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["training"]["steps"] == 3

    assert run(*arguments, "--config.training.steps=3") == 0
    assert capsys.readouterr().out.startswith("All 3 steps are done")


def test_a_run_keeps_its_number_format_unless_another_is_given(
    arguments, fake_models, monkeypatch, capsys
):
    fast = {"float32": 2.0, "bfloat16": 1.0}
    monkeypatch.setattr(precision, "race", lambda: fast)
    auto = "--config.training.precision=auto"
    assert run(*arguments, auto) == 0
    assert "tiny starts, 2 steps, bfloat16" in capsys.readouterr().out
    fast.update(bfloat16=9.0)
    assert run(*arguments, auto, "--config.training.steps=3") == 0
    assert "step 2, 3 steps, bfloat16" in capsys.readouterr().out
    given = "--config.training.precision=float32"
    assert run(*arguments, given, "--config.training.steps=4") == 0
    assert "step 3, 4 steps, float32" in capsys.readouterr().out
    assert run(*arguments, auto, "--config.training.steps=5") == 0
    assert "step 4, 5 steps, float32" in capsys.readouterr().out


def test_warnings_are_shown(arguments, fake_models, tmp_path, caplog):
    tiny = tmp_path / "tiny.py"
    tiny.write_text(tiny.read_text().replace("channels=4", "channels=4, hyper_channels=4"))
    assert run(*arguments) == 0
    assert caplog.text.count("single hyper latent") == 1


def test_another_configuration_is_refused(arguments, fake_models, capsys):
    run(*arguments)
    assert run(*arguments, "--config.model.channels=5") == 2
    assert "model.channels was 4, is 5" in capsys.readouterr().err


def test_a_run_takes_another_recipe_and_a_configuration_with_more_fields(
    arguments, fake_models, tmp_path, capsys
):
    assert run(*arguments) == 0
    tiny = tmp_path / "tiny.py"
    tiny.write_text(tiny.read_text().replace("channels=4", "channels=4, extra='x'"))
    recipe = ["--config.training.learning_rate=1e-4", "--config.training.batch_size=1"]
    assert run(*arguments, *recipe, "--config.training.steps=4") == 0
    said = (
        'model.extra is "x" from step 2 on, it was absent; '
        "training.batch_size is 1 from step 2 on, it was 2; "
        "training.learning_rate is 0.0001 from step 2 on, it was 0.001; "
        "training.steps is 4 from step 2 on, it was 2.\n"
    )
    assert said in capsys.readouterr().out
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    assert [change["field"] for change in record["changes"]] == [
        "model.extra",
        "training.batch_size",
        "training.learning_rate",
        "training.steps",
    ]
    assert record["images_seen"] == 2 * 2 + 2 * 1
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["training"]["learning_rate"] == 1e-4


def test_a_wrong_folder_leaves_the_workdir_unclaimed(arguments, fake_models, tmp_path, capsys):
    wrong = [a.replace("photos", "fotos") for a in arguments]
    assert run(*wrong) == 2
    assert "is not a folder" in capsys.readouterr().err
    assert not (tmp_path / "run" / "config.json").exists()


def test_a_wrong_folder_is_told_before_number_formats_are_timed(
    arguments, fake_models, capsys, monkeypatch
):
    monkeypatch.setattr(precision, "race", lambda: pytest.fail("formats are timed"))
    wrong = [a.replace("photos", "fotos") for a in arguments]
    assert run(*wrong, "--config.training.precision=auto") == 2
    assert "fotos is not a folder." in capsys.readouterr().err


def test_a_run_may_begin_with_the_weights_of_another(arguments, fake_models, tmp_path, capsys):
    model, data, _ = arguments
    new = f"--workdir={tmp_path}/new"
    assert run(*arguments) == 0
    capsys.readouterr()
    assert run(model, data, new, "--start-from=nowhere") == 5
    assert "train: nowhere holds no checkpoint. There is no model" in capsys.readouterr().err
    assert not (tmp_path / "new" / "config.json").exists()

    start = f"--start-from={tmp_path}/run"
    assert run(model, data, new, start, "--fresh=synthesis") == 0
    out = capsys.readouterr().out
    assert f"2 of 4 variables begin as {tmp_path}/run has them at step 2." in out
    assert "tiny starts, 2 steps" in out
    assert run(model, data, new, start, "--config.training.steps=3") == 0
    assert "begin as" not in capsys.readouterr().out
    record = json.loads((tmp_path / "new" / "record.json").read_text())
    assert (record["steps"], record["start"]["steps"]) == (3, 2)


def test_portable_and_adopt_lead_back_to_an_ordinary_run(arguments, fake_models, tmp_path, capsys):
    model, data, workdir = arguments
    folder, packed = f"--portable={tmp_path}/out", "--pack-crop=64"
    assert run(model, data, folder, packed) == 0
    assert "step 0 of 2, float32, " in capsys.readouterr().out
    assert run(model, data, folder, packed) == 2
    assert "is not empty" in capsys.readouterr().err
    assert run(f"--adopt={tmp_path}/out", workdir) == 0
    assert "step 0 of 2" in capsys.readouterr().out
    assert run(f"--adopt={tmp_path}/out", workdir) == 2
    assert "holds a run already" in capsys.readouterr().err
    assert run(*arguments) == 0
    assert json.loads((tmp_path / "run" / "record.json").read_text())["steps"] == 2
    assert run(*arguments, folder + "2", packed) == 2
    assert "has done 2 steps, and training.steps is 2" in capsys.readouterr().err
    longer = "--config.training.steps=4"
    assert run(*arguments, folder + "2", packed, longer, "--config.model.channels=5") == 2
    assert "another configuration of the model" in capsys.readouterr().err
    assert run(*arguments, folder + "2", packed, longer) == 0
    assert "step 2 of 4" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments_", "message"),
    [
        (["--adopt=x"], "--workdir is missing"),
        (["--adopt=x", "--workdir=y", "--portable=z"], "--adopt takes --workdir and nothing else"),
        (["--adopt=no/such/folder", "--workdir={tmp}/w"], "portable.json cannot be read"),
        (["--portable=x", "--model=m"], "--data is missing"),
        (["--pack-size=-1"], "is not a number above 0"),
    ],
)
def test_wrong_portable_usage(arguments_, message, tmp_path, capsys):
    assert run(*(a.format(tmp=tmp_path) for a in arguments_)) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("added", "message"),
    [
        ("--model=no_such_model", "There is no configuration no_such_model; configs/ has: "),
        ("--config.training.stepz=3", "The configuration has no field training.stepz."),
        ("--config.training=3", "The configuration has no field training."),
        ("--config.training.steps=many", "--config.training.steps=many"),
        ("--config.training.precision=half", "auto, float32, bfloat16"),
        ("--dta=x", "'dta'"),
        ("stray", "'stray'"),
        ("--data=", "--data is missing"),
        ("--fresh=analysis", "--fresh belongs to --start-from"),
    ],
)
def test_wrong_usage_is_one_sentence_and_status_2(arguments, fake_models, capsys, added, message):
    assert run(*arguments, added) == 2
    err = capsys.readouterr().err
    assert err.startswith("train: ")
    assert message in err
    assert err.count("\n") == 1
    assert not fake_models


def test_override_keeps_types():
    config = ml_collections.ConfigDict({"a": {"rate": 0.5, "lmbdas": (1.0, 2.0)}, "name": "x"})
    changed = train.override(config, ["--config.a.rate=1e-3", "--config.a.lmbdas=(0.5,)"])
    assert changed.a.rate == 1e-3
    assert tuple(changed.a.lmbdas) == (0.5,)
    assert changed.name == "x"
    with pytest.raises(errors.UsageError, match="no field b"):
        train.override(config, ["--config.b", "3"])


@pytest.mark.parametrize("given, expected", [(None, "1"), ("0", "0")])
def test_onednn_is_on_unless_told_otherwise(monkeypatch, capsys, given, expected):
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", given or "")
    if given is None:
        monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS")
    assert run("--help") == 0
    assert os.environ["TF_ENABLE_ONEDNN_OPTS"] == expected
