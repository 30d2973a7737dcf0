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
    for name, change in recipe.CHANGES.items():
        for each in (change, change.get("first", {})):
            for field, value in recipe.overrides(each, {}).items():
                section, key = field.split(".")
                assert config[section][key] != value, name


@pytest.mark.parametrize("everywhere", [{}, {"training.batch_size": "4"}])
def test_every_change_sees_as_many_pixels(recipe, everywhere):
    _, config = configuration.load(recipe.CONFIGURATION)
    usual = int(everywhere.get("training.batch_size", config.training.batch_size))

    def pixels(change):
        changed = recipe.overrides(change, everywhere)
        batch = int(changed.get("training.batch_size", usual))
        crop = changed.get("training.crop_size", config.training.crop_size)
        return batch * crop**2 * change.get("steps", 1)

    for name, change in recipe.CHANGES.items():
        seen = pixels(change) + (pixels(change["first"]) if "first" in change else 0)
        assert seen == usual * config.training.crop_size**2, name


def test_a_change_may_begin_with_another_training(recipe, tmp_path, monkeypatch):
    commands = []
    monkeypatch.setattr(recipe.trainings.subprocess, "run", lambda c, check: commands.append(c))
    recipe.train("crops of 128, then of 256", "photos", tmp_path / "two", 500, {})
    first, second = commands
    assert {f"--workdir={tmp_path / 'two-first'}", "--config.training.steps=250"} <= set(first)
    assert not any("crop_size" in word or "start-from" in word for word in first)
    assert {f"--start-from={tmp_path / 'two-first'}", "--config.training.crop_size=256"} <= set(
        second
    )


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
        if name == "no warm-up":
            record["start"] = {"images_seen": 1000, "seconds": 30}
        (folder / "record.json").write_text(json.dumps(record))
    recipe.print_table(tmp_path, 10)
    rows = capsys.readouterr().out.splitlines()[2:]
    assert rows == [
        "| as configured | 2.0000 | +0.0 % | 80 | 1.5 |",
        "| no warm-up | 2.2000 | +10.0 % | 1,080 | 2.0 |",
    ]
