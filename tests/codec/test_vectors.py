"""Files of other machines decode here to the latents that their encoders had."""

import importlib.util
import json
import pathlib
import shutil

import pytest

from tfclic.codec import catalog

SCRIPT = pathlib.Path(__file__).parents[2] / "benchmarks" / "vectors.py"


@pytest.fixture(scope="module")
def vectors():
    spec = importlib.util.spec_from_file_location("vectors", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def found(vectors):
    return vectors.check()


def test_all_have_the_latents_of_their_encoders(found):
    assert [entry["file"] for entry, agrees in found if not agrees] == []


def test_every_shipped_model_has_some(found):
    shipped = [m for m in catalog.models() if catalog.SAVED_MODELS in m.path.parents]
    assert {m.fingerprint for m in shipped} == {entry["fingerprint"] for entry, _ in found}


def test_other_latents_and_damaged_files_are_noticed(vectors, tmp_path):
    first, second, *_ = vectors.known()
    for entry in (first, second):
        shutil.copy(vectors.FOLDER / entry["file"], tmp_path)
    damaged = bytearray((tmp_path / second["file"]).read_bytes())
    damaged[60] ^= 1
    (tmp_path / second["file"]).write_bytes(damaged)
    entries = [{**first, "latents": second["latents"]}, second, first]
    (tmp_path / vectors.LIST).write_text(json.dumps(entries))
    assert [agrees for _, agrees in vectors.check(tmp_path)] == [False, False, True]
