"""What bin/export makes of the folder of a run."""

import json
import types

import pytest

from tfclic import errors, models
from tfclic.cli import export
from tfclic.training import checkpoints


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    """A run whose newest checkpoint is of step 20, and whose weights are not looked at."""
    config = {"model": {"name": "x"}, "training": {"objective": "mse", "steps": 100}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    folder = tmp_path / "checkpoints" / "step-00000020"
    folder.mkdir(parents=True)
    (folder / "record.json").write_text('{"steps": 20}')
    monkeypatch.setattr(models, "build", lambda config: types.SimpleNamespace(stages=1, **config))
    monkeypatch.setattr(checkpoints, "restore_weights", lambda codec, workdir: 20)
    return tmp_path


@pytest.mark.parametrize("newest", [None, '{"steps": 10}', '{"steps": 30}'])
def test_the_record_is_that_of_the_weights(workdir, newest):
    # a run may be killed, or go on, between a checkpoint and the record beside it
    if newest:
        (workdir / "record.json").write_text(newest)
    codec, about = export._of_run(workdir)
    assert codec.name == "x" and about["training"] == {"steps": 20, "objective": "mse"}


@pytest.mark.parametrize("content", ["[]", "{}", '{"model": {}}', "{"])
def test_a_damaged_configuration_is_told(workdir, content):
    (workdir / "config.json").write_text(content)
    with pytest.raises(errors.ModelError, match="config.json is damaged."):
        export._of_run(workdir)


def test_a_damaged_record_is_told(workdir):
    (workdir / "checkpoints" / "step-00000020" / "record.json").write_text("[1]")
    with pytest.raises(errors.ModelError, match="record.json cannot be read."):
        export._of_run(workdir)


@pytest.mark.parametrize(
    "training, message",
    [
        ({"stage_shares": (0.1, 0.1, 0.3)}, "Step 20 is of stage 2 of 4"),
        ({"stage_shares": (0.1, 0.05, 0.0)}, None),
        ({"stage_shares": (0, 0, 0), "first_share": 0.2, "first_lmbda": 0.015}, "lambda, 0.015;"),
        ({"stage_shares": (0, 0, 0), "first_share": 0.19, "first_lmbda": 0.015}, None),
    ],
)
def test_a_run_that_is_not_far_enough_is_told_of(workdir, monkeypatch, capsys, training, message):
    content = {"objective": "mse", "steps": 100, **training}
    config = {"model": {"name": "x", "stages": 4}, "training": content}
    (workdir / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr(models, "build", lambda config: types.SimpleNamespace(**config))
    export._of_run(workdir)
    found = capsys.readouterr().err
    assert message in found if message else not found
