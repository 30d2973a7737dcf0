"""Several files at once."""

import threading

from tfclic.cli import pipelines


def test_a_few_are_begun_at_once_and_no_more():
    begun, go_on = [], threading.Event()

    def work(item):
        begun.append(item)
        if len(begun) == 4:
            go_on.set()
        assert go_on.wait(60), "they are not begun together"
        return item**2

    pipeline = pipelines.Pipeline(work, list(range(10)), ahead=4)
    assert pipeline.result(0) == 0
    assert max(begun) < 4
    assert [pipeline.result(item) for item in range(1, 10)] == [n**2 for n in range(1, 10)]
