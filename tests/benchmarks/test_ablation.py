"""benchmarks/ablation.py: rungs differ in what they are to differ in, and the table compares."""

import json
import pathlib

import pytest

from tfclic import configuration
from tfclic.cli import train

BENCHMARKS = pathlib.Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def ablation(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import ablation

    return ablation


def config_of(ablation, name):
    """The configuration that a rung is trained with."""
    _, config = configuration.load(ablation.RUNGS[name][0])
    changes = ablation.changes_of(name).items()
    return train.override(config, [f"--config.{field}={value}" for field, value in changes])


def test_all_rungs_have_the_same_recipe_and_widths(ablation):
    _, recipe = configuration.load(ablation.RECIPE)
    for name in ablation.RUNGS:
        config = config_of(ablation, name)
        for key in set(recipe.training) - set(ablation.LENGTHS):
            assert config.training[key] == recipe.training[key], (name, key)
        # a code has as many channels for each lambda
        own = {"latent_channels"} if name == "recurrent" else set()
        for key in (set(ablation.SHARED) & set(config.model)) - own:
            assert config.model[key] == recipe.model[key], (name, key)
        assert config.model.lmbdas == recipe.model.lmbdas


def test_the_last_rungs_are_the_ablations_of_the_paper(ablation):
    found = [config_of(ablation, name).model for name in list(ablation.RUNGS)[-4:]]
    assert [(model.mixtures, model.attention) for model in found] == [
        (1, "none"),
        (1, "simplified"),
        (3, "none"),
        (3, "simplified"),
    ]


def write_record(ablation, workdir, name, bpp, cost):
    folder = ablation.trainings.folder_of(workdir, name, 10)
    folder.mkdir()
    validation = {"step": 10, "mean_loss": cost, "bpp": bpp, "psnr": [30, 32, 34, 36]}
    record = {"steps": 10, "planned_steps": 10, "seconds": 90, "images_seen": 80}
    (folder / "record.json").write_text(json.dumps({**record, "validation": validation}))


def test_the_table_has_cost_and_bd_rate(ablation, tmp_path, capsys):
    write_record(ablation, tmp_path, "hyperprior", [0.24, 0.48, 0.72, 0.96], 1.2)
    ablation.print_table(tmp_path, 10)
    assert "| hyperprior | 1.2000 |  | no anchor | 80 | 1.5 |" in capsys.readouterr().out
    write_record(ablation, tmp_path, "joint", [0.2, 0.4, 0.6, 0.8], 1.0)
    ablation.print_table(tmp_path, 10)
    assert capsys.readouterr().out.splitlines()[2:] == [
        "| hyperprior | 1.2000 | +20.0 % | +20.0 % (30.00 to 36.00 dB) | 80 | 1.5 |",
        "| joint | 1.0000 | +0.0 % | +0.0 % (30.00 to 36.00 dB) | 80 | 1.5 |",
    ]
