"""benchmarks/ablation_slices.py: schedules and loss differ, and the table tells where bits are."""

import json
import pathlib

import pytest

from tfclic import configuration
from tfclic.cli import train
from tfclic.models.slices import slice_sizes

BENCHMARKS = pathlib.Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def ablation(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import ablation_slices

    return ablation_slices


def test_the_rungs_are_those_of_the_paper(ablation):
    found = []
    for changes in ablation.RUNGS.values():
        _, config = configuration.load(ablation.CONFIGURATION)
        words = [f"--config.{field}={value}" for field, value in changes.items()]
        model = train.override(config, words).model
        sizes = slice_sizes(model.latent_channels, model.slices, model.slice_power)
        found.append((max(sizes) - min(sizes) > 10, model.gap_weight > 0))
    assert found == [(False, False), (True, False), (False, True), (True, True), (True, True)]


def test_the_table_has_the_bits_of_each_slice(ablation, tmp_path, capsys):
    for name, cost, last in (("even", 1.6, 0.75), ("uneven", 1.2, 0.25)):
        folder = ablation.trainings.folder_of(tmp_path, name, 10)
        folder.mkdir()
        validation = {"step": 10, "mean_loss": cost, "bpp/hyper_latents": [0.1, 0.1]}
        validation |= {"bpp/slice_1": [0.1, 0.4], "bpp/slice_2": [last, last]}
        record = {"steps": 10, "planned_steps": 10, "seconds": 90, "images_seen": 80}
        (folder / "record.json").write_text(json.dumps({**record, "validation": validation}))
    ablation.print_table(tmp_path, 10)
    told = capsys.readouterr().out.splitlines()
    assert told[2] == "| even | 1.6000 | +0.0 % | 25 %, 75 % | 80 | 1.5 |"
    assert told[3] == "| uneven | 1.2000 | -25.0 % | 50 %, 50 % | 80 | 1.5 |"
