import pytest

from tfclic import errors
from tfclic.training import checks


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"crop_size": 100}, "multiple of 64"),
        ({"objective": "ms_ssim", "crop_size": 128}, "at least 192"),
        ({"objective": "mixed", "crop_size": 128}, "at least 192"),
        ({"objective": "mae"}, "mse, ms_ssim"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"downscale_min": 0.0}, "downscale_min"),
        ({"level_sampling": "even"}, "independent, stratified"),
        ({"first_share": 1.5}, "first_share"),
        ({"first_share": 0.5, "first_lmbda": 0.0}, "first_lmbda"),
        ({"drawn_share": 1.1}, "drawn_share must be from 0 to 1"),
        ({"rounded_share": -0.1}, "rounded_share must be from 0 to 1"),
        ({"rounded_share": 0.5, "first_share": 0.6, "first_lmbda": 0.01}, "leave the other"),
        ({"rounded_share": 0.5, "stage_shares": (0.3, 0.3)}, "leave the other"),
        ({"rounded_share": 0.5, "rounded_learning_rate": 0.0}, "rounded_learning_rate"),
        ({"seed": -1}, "seed must be from 0 to 4294967295"),
        ({"validation_images": -1}, "validation_images must be at least 0"),
        ({"learning_rate": float("nan")}, "learning_rate must be at least 0"),
        ({"final_learning_rate": -1e-4}, "final_learning_rate must be at least 0"),
        ({"ema_decay": 1.5}, "ema_decay must be from 0 to 1"),
        ({"decay_share": 2.0}, "decay_share must be from 0 to 1"),
    ],
)
def test_impossible_configurations_are_refused(config, changes, message):
    checks.check(config)
    config.training.update(changes)
    with pytest.raises(errors.UsageError, match=message):
        checks.check(config)


@pytest.mark.parametrize("lmbdas", [(0.02, 0.01), (0.01, 0.01), (0.0, 0.01), (float("nan"),), ()])
def test_levels_have_to_rise(config, lmbdas):
    config.model.lmbdas = lmbdas
    with pytest.raises(errors.UsageError, match="model.lmbdas must be above 0 and ascending"):
        checks.check(config)


@pytest.mark.parametrize("field", ["synthesis_input", "context_input"])
def test_what_training_sees_is_noise_or_rounded(config, field):
    config.model[field] = "round"
    checks.check(config)
    config.model[field] = "rounded"
    with pytest.raises(errors.UsageError, match=f"model.{field} must be noise or round"):
        checks.check(config)


def test_shares_may_make_up_the_whole(config):
    shares, rounded = (0.05, 0.55, 0.3), 0.1
    assert sum(shares) + rounded > 1  # in binary
    config.training.update({"stage_shares": shares, "rounded_share": rounded})
    checks.check(config)


@pytest.mark.parametrize(
    ("shares", "message"),
    [((), "has to have 2 shares"), ((0.7, 0.4), "nor exceed 1"), ((-0.1, 0.4), "not be negative")],
)
def test_each_stage_but_the_last_has_a_share(fake, config, shares, message):
    codec = fake.FakeCodec()
    codec.stages = 3
    config.training.stage_shares = (0.4, 0.6)
    checks.check_stages(codec, config.training)
    config.training.stage_shares = shares
    with pytest.raises(errors.UsageError, match=message):
        checks.check_stages(codec, config.training)


def test_crops_with_a_single_hyper_latent_are_warned_of(config, caplog):
    checks.warn_of_crops(config)
    assert not caplog.records
    config.model.hyper_channels = 4
    checks.warn_of_crops(config)
    assert "single hyper latent" in caplog.text
    caplog.clear()
    config.training.crop_size = 128
    checks.warn_of_crops(config)
    assert not caplog.records
