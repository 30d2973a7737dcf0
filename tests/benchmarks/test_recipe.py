"""benchmarks/recipe.py: every change changes something that there is."""

import json
import pathlib

import pytest

from tfclic import configuration

BENCHMARKS = pathlib.Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def recipe(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import recipe

    return recipe


def test_changes_are_changes_of_fields_that_exist(recipe):
    _, config = configuration.load(recipe.CONFIGURATION)
    for name in recipe.CHANGES:
        for field, value in recipe.overrides(name, {}).items():
            section, key = field.split(".")
            assert config[section][key] != value, name


@pytest.mark.parametrize("everywhere", [{}, {"training.batch_size": "4"}])
def test_every_change_sees_as_many_pixels(recipe, everywhere):
    _, config = configuration.load(recipe.CONFIGURATION)
    usual = int(everywhere.get("training.batch_size", config.training.batch_size))
    for name, changes in recipe.CHANGES.items():
        changed = recipe.overrides(name, everywhere)
        batch = int(changed.get("training.batch_size", usual))
        crop = changed.get("training.crop_size", config.training.crop_size)
        pixels = batch * crop**2 * changes.get("steps", 1)
        assert pixels == usual * config.training.crop_size**2, name


def test_the_table_has_what_is_complete(recipe, tmp_path, capsys):
    recipe.print_table(tmp_path, 10)
    assert capsys.readouterr().out == "Nothing is complete yet.\n"
    for name, cost, done in [
        ("as configured", 2.0, 10),
        ("no warm-up", 2.2, 10),
        ("no attention", 1.0, 5),
    ]:
        folder = recipe.trainings.folder_of(tmp_path, name, 10)
        folder.mkdir()
        record = {"steps": done, "planned_steps": 10, "seconds": 90, "images_seen": 80}
        record["validation"] = {"step": done, "mean_loss": cost}
        (folder / "record.json").write_text(json.dumps(record))
    recipe.print_table(tmp_path, 10)
    rows = capsys.readouterr().out.splitlines()[2:]
    assert rows == [
        "| as configured | 2.0000 | +0.0 % | 80 | 1.5 |",
        "| no warm-up | 2.2000 | +10.0 % | 80 | 1.5 |",
    ]
