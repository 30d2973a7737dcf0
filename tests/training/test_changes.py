"""What may change while a run lasts, and what is said of it."""

import json

import pytest

from tfclic import configuration, errors
from tfclic.training import changes, checkpoints


@pytest.fixture
def workdir(tmp_path, config):
    """A folder that `config` has made."""
    checkpoints.write_config(tmp_path, "fake", config)
    return tmp_path


def test_another_configuration_is_refused_field_by_field(tmp_path, config):
    assert changes.check_config(tmp_path, "fake", config) == []
    checkpoints.write_config(tmp_path, "fake", config)
    assert changes.check_config(tmp_path, "fake", config) == []
    with config.unlocked():
        config.model.channels = 8
        del config.model.lmbdas
    config.training.update(objective="ms_ssim", validation_images=3, learning_rate=0.5)
    with pytest.raises(errors.UsageError) as raised:
        changes.check_config(tmp_path, "other", config)
    message = str(raised.value)
    assert "model.channels was 4, is 8" in message
    assert "model.lmbdas was [0.001, 0.01], is absent" in message
    assert 'name was "fake", is "other"' in message
    assert 'training.objective was "mse", is "ms_ssim"' in message
    assert "training.validation_images was 2, is 3" in message
    assert "seed" not in message
    assert "learning_rate" not in message


def test_the_recipe_may_change_and_is_noted(workdir, config):
    with config.unlocked():
        config.training.update(
            learning_rate=1e-4, steps=9, log_every=5, level_sampling="stratified"
        )
        del config.training.clip_norm
    found = changes.check_config(workdir, "fake", config)
    assert found == [
        {"field": "training.clip_norm", "before": 1.0, "after": None},
        {"field": "training.learning_rate", "before": 0.001, "after": 0.0001},
        {"field": "training.level_sampling", "before": "independent", "after": "stratified"},
        {"field": "training.steps", "before": 6, "after": 9},
    ]
    assert changes.in_words(changes.dated(found, 1200)[:2]) == (
        "training.clip_norm is absent from step 1200 on, it was 1.0; "
        "training.learning_rate is 0.0001 from step 1200 on, it was 0.001."
    )
    checkpoints.write_config(workdir, "fake", config)
    kept = json.loads((workdir / "config.json").read_text())
    assert kept["name"] == "fake"
    assert kept["training"]["steps"] == 9
    assert kept["model"]["lmbdas"] == [0.001, 0.01]


def test_a_model_may_have_fields_that_are_new(workdir, config):
    old = checkpoints.as_plain(config)
    with config.unlocked():
        config.model.extra = "new"
    found = changes.check_config(workdir, "fake", config)
    assert found == [{"field": "model.extra", "before": None, "after": "new"}]
    new = checkpoints.as_plain(config)
    assert changes.is_same_model(old, new)
    assert not changes.is_same_model(new, old)


def test_fields_that_came_later_than_the_run_are_no_change(workdir, config):
    path = workdir / "config.json"
    old = json.loads(path.read_text())
    for field in configuration.TRAINING:
        del old["training"][field]
    path.write_text(json.dumps(old))
    assert changes.check_config(workdir, "fake", config) == []
