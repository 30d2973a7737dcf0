"""Models are found by name, path and fingerprint, from their cards alone."""

import json
import os

import pytest

from tfclic import errors
from tfclic.runtime import catalog


def make_model(folder, name, version, fingerprint):
    """Makes a folder that looks like an exported model, and returns it."""
    path = folder / name / str(version)
    path.mkdir(parents=True)
    (path / "saved_model.pb").write_bytes(b"")
    card = {"name": name, "version": version, "fingerprint": fingerprint}
    (path / "model_card.json").write_text(json.dumps(card))
    return path


@pytest.fixture
def listed(tmp_path, monkeypatch):
    """A folder that TFCLIC_MODELS lists, with versions 2 and 10 of `small`; nothing else exists."""
    monkeypatch.setattr(catalog, "SAVED_MODELS", tmp_path / "saved_models")
    monkeypatch.setenv(catalog.VARIABLE, str(tmp_path / "listed"))
    make_model(tmp_path / "listed", "small", 2, "00000002")
    make_model(tmp_path / "listed", "small", 10, "00000010")
    return tmp_path / "listed"


def test_the_highest_version_is_the_latest(listed):
    assert str(catalog.find("small")) == "small/10"


def test_a_version_can_be_named(listed):
    assert catalog.find("small/2").fingerprint == "00000002"


def test_a_path_can_name_a_model_or_one_version(listed, monkeypatch):
    monkeypatch.delenv(catalog.VARIABLE)
    assert str(catalog.find(str(listed / "small"))) == "small/10"
    assert str(catalog.find(listed / "small" / "2")) == "small/2"


def test_any_version_is_found_by_its_fingerprint(listed):
    assert str(catalog.find_fingerprint("00000002")) == "small/2"
    assert str(catalog.find_fingerprint("00000010")) == "small/10"


def test_several_folders_are_searched_before_saved_models(listed, tmp_path, monkeypatch):
    make_model(tmp_path / "more", "other", 1, "0000000a")
    make_model(catalog.SAVED_MODELS, "small", 99, "00000099")
    both = [str(tmp_path / "nowhere"), str(listed), str(tmp_path / "more")]
    monkeypatch.setenv(catalog.VARIABLE, os.pathsep.join(both))
    assert str(catalog.find("small")) == "small/10"
    assert str(catalog.find("other")) == "other/1"
    assert str(catalog.find_fingerprint("00000099")) == "small/99"


@pytest.mark.parametrize("part", ["small", "small/10"])
def test_a_listed_folder_may_itself_be_a_model(listed, monkeypatch, part):
    monkeypatch.setenv(catalog.VARIABLE, str(listed / part))
    assert str(catalog.find("small")) == "small/10"
    assert str(catalog.find_fingerprint("00000010")) == "small/10"


def test_a_missing_model_is_told_with_what_there_is(listed):
    with pytest.raises(errors.ModelError, match=r"no model large: .*small/10 \(00000010\)"):
        catalog.find("large")
    with pytest.raises(errors.ModelError, match="deadbeef, which is not here .*TFCLIC_MODELS"):
        catalog.find_fingerprint("deadbeef")


def test_a_folder_without_a_model_is_told(listed, tmp_path):
    with pytest.raises(errors.ModelError, match="is not the folder of an exported model"):
        catalog.find(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"fingerprint": "xyz"}', '{"fingerprint": 1}'])
def test_a_broken_card_is_named_and_harms_no_other_model(listed, text):
    (make_model(listed, "broken", 1, "0000000b") / "model_card.json").write_text(text)
    with pytest.raises(errors.ModelError, match="model card .*broken"):
        catalog.find("broken")
    assert str(catalog.find("small")) == "small/10"


def test_a_missing_card_is_named(listed):
    (make_model(listed, "bare", 1, "0000000b") / "model_card.json").unlink()
    with pytest.raises(errors.ModelError, match="No such file"):
        catalog.find("bare")
