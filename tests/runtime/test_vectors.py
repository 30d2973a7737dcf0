"""Files of other machines decode here to the latents that their encoders had."""

import json
import shutil

import pytest


@pytest.fixture(scope="module")
def vectors(load_benchmark):
    return load_benchmark("vectors")


@pytest.fixture(scope="module")
def found(vectors):
    return vectors.check()


def test_all_have_the_latents_of_their_encoders(found):
    assert [entry["file"] for entry, agrees in found if not agrees] == []


def test_every_shipped_model_has_some(vectors, found):
    fingerprints = {model.fingerprint for model in vectors.shipped()}
    assert fingerprints and fingerprints == {entry["fingerprint"] for entry, _ in found}


def test_other_latents_and_damaged_files_are_noticed(vectors, tmp_path):
    first, second, *_ = vectors.known()
    # of a synthesis that is shipped: pixels of an earlier one are nobody's any more
    syntheses = {model.card.pixels for model in vectors.shipped()}
    with_pixels = next(each for each in vectors.known() if each.get("synthesis") in syntheses)
    for entry in (first, second, with_pixels):
        shutil.copy(vectors.FOLDER / entry["file"], tmp_path)
    damaged = bytearray((tmp_path / second["file"]).read_bytes())
    damaged[60] ^= 1
    (tmp_path / second["file"]).write_bytes(damaged)
    others = {**with_pixels, "pixels": with_pixels["latents"]}
    entries = [{**first, "latents": second["latents"]}, second, first, others, with_pixels]
    (tmp_path / vectors.LIST).write_text(json.dumps(entries))
    assert [agrees for _, agrees in vectors.check(tmp_path)] == [False, False, True, False, True]
