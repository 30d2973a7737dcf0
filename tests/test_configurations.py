"""Every configuration in configs/ is of a system that there is, and can be trained."""

import pathlib

import pytest

from tfclic import configuration, models
from tfclic.training import checks

STEMS = sorted(p.stem for p in (pathlib.Path(__file__).parents[1] / "configs").glob("*.py"))


@pytest.mark.parametrize("stem", STEMS)
def test_it_can_be_trained(stem):
    name, config = configuration.load(stem)
    assert name == stem and config.model.name in models.names()
    checks.check(config)
    lmbdas = config.model.lmbdas
    assert list(lmbdas) == sorted(set(lmbdas)) and lmbdas[0] > 0
    assert (lmbdas[0] > 1) == (config.training.objective == "ms_ssim")


def test_every_system_has_one():
    configured = {configuration.load(stem)[1].model.name for stem in STEMS}
    assert configured == set(models.names())


def test_fields_that_older_configurations_lack_are_completed():
    completed = configuration.complete({"training": {"level_sampling": "stratified"}})
    others = {**configuration.TRAINING, "level_sampling": "stratified"}
    assert completed == {"training": others}
