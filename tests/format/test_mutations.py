"""What parses files, on mutations of real ones that have the right length and checksum again."""

import random

import pytest

from tfclic.format import header


@pytest.fixture(scope="module")
def fuzzer(load_benchmark):
    return load_benchmark("fuzz_parsers")


@pytest.mark.parametrize("number", range(4))
def test_whatever_a_file_says_is_understood_or_refused(fuzzer, number):
    chance, whole = random.Random(number), fuzzer.files()[number]
    found = [fuzzer.understood(fuzzer.sealed(fuzzer.mutated(whole, chance))) for _ in range(1500)]
    assert 0 < sum(found) < len(found)


def test_the_fuzzer_sees_what_goes_wrong(fuzzer, monkeypatch):
    assert fuzzer.fuzz(0.05, random.Random(0))["findings"] == []
    assert all(map(fuzzer.understood, fuzzer.files()))

    def stumbling(data):
        raise IndexError("made")

    monkeypatch.setattr(header, "claimed_size", stumbling)
    found = fuzzer.fuzz(0.05, random.Random(0))
    assert found["files"] == len(found["findings"]) > 0
    assert found["findings"][0][0] == "IndexError('made')"
