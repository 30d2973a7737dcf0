import json
import os

import pytest
import tensorflow as tf

from tfclic import errors
from tfclic.export import versions
from tfclic.format import model


def test_of_two_exports_to_one_name_each_has_its_version(tmp_path, monkeypatch):
    card = model.Card("x", 0, "00ff10ab")
    replace = os.replace

    def late(work, target):
        # another one was as fast
        monkeypatch.setattr(os, "replace", replace)
        target.mkdir()
        (target / "saved_model.pb").touch()
        replace(work, target)

    monkeypatch.setattr(os, "replace", late)
    with versions.new_folder(tmp_path / "x") as work:
        path = versions.publish(work, tmp_path / "x", card)
    assert path == tmp_path / "x" / "2"
    assert json.loads((path / "model_card.json").read_text())["version"] == 2
    assert sorted(each.name for each in (tmp_path / "x").iterdir()) == ["1", "2"]


@pytest.mark.parametrize(
    "error",
    [OSError(28, "No space left"), tf.errors.ResourceExhaustedError(None, None, "No space")],
)
def test_a_disk_that_refuses_is_told_and_nothing_is_left(tmp_path, error):
    with pytest.raises(errors.ModelError, match="x cannot be written: No space"):
        with versions.new_folder(tmp_path / "x") as work:
            (work / "half").touch()
            raise error
    assert list((tmp_path / "x").iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(errors.ModelError, match="file/x cannot be written: Not a directory."):
        with versions.new_folder(tmp_path / "file" / "x"):
            pass
