"""benchmarks/ablation_levels.py: every rung leaves out something that there is."""

import pathlib

import pytest

from tfclic import configuration

ROUNDING = "round", "noise"  # with and without
BENCHMARKS = pathlib.Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def ladder(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import ablation_levels

    return ablation_levels


def test_every_rung_leaves_something_out(ladder):
    _, config = configuration.load(ladder.CONFIGURATION)
    changes = {name: list(fields.items()) for name, fields in ladder.RUNGS.items()}
    assert not changes.pop(ladder.WHOLE)
    for ((field, value),) in changes.values():
        section, key = field.split(".")
        assert config[section][key] and (not value or (config[section][key], value) == ROUNDING)


def test_nothing_complete_is_said(ladder, tmp_path, capsys):
    ladder.print_table(tmp_path, 10)
    assert capsys.readouterr().out == "Nothing is complete yet.\n"
