"""What the samples of a server say, without one."""

import types

import pytest


@pytest.fixture
def soak(load_benchmark):
    return load_benchmark("serving_soak")


def test_a_trend_is_told_as_a_share_in_an_hour(soak):
    minutes = list(range(0, 120, 10))
    assert soak.slope(minutes, [100 + minute / 60 for minute in minutes]) == pytest.approx(
        1 / (100 + 55 / 60)
    )
    assert soak.slope(minutes, [7] * 12) == pytest.approx(0)
    # of two samples nothing can be said
    assert soak.slope([0, 1], [1, 100]) == 0


def test_the_table_has_means_of_each_part_and_the_requests_so_far(soak):
    samples = [soak.Sample(minute, 100 + minute, 5, 8, 30 * minute) for minute in range(20)]
    _, _, *rows = soak.table(samples)
    assert len(rows) == 10
    assert rows[0] == "| 0 to 1 | 100 | 5 | 8 | 30 |"
    assert rows[-1] == "| 18 to 19 | 118 | 5 | 8 | 570 |"


def test_requests_go_out_and_what_is_wrong_with_them_comes_up(soak, monkeypatch):
    monkeypatch.setattr(soak, "SAMPLE_SECONDS", 0)
    monkeypatch.setattr(soak, "sample", lambda server, began, requests: requests)
    args, sent = types.SimpleNamespace(minutes=0.001, each=0.005, clients=2), []
    load = types.SimpleNamespace(run=lambda numbers, clients: sent.extend(numbers))
    counts = list(soak.soaked(None, load, args))
    assert sorted(sent) == list(range(counts[-1])) and counts[-1] > 1

    def fail(numbers, clients):
        raise OSError("gone")

    load.run = fail
    with pytest.raises(OSError, match="gone"):
        list(soak.soaked(None, load, args))
