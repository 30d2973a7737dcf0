import pytest

from tfclic import errors
from tfclic.training import precision


@pytest.mark.parametrize(
    ("float32", "bfloat16", "expected"),
    [(1.2, 1.0, "bfloat16"), (1.05, 1.0, "float32"), (1.0, 4.0, "float32")],
)
def test_auto_takes_bfloat16_only_where_it_is_faster(float32, bfloat16, expected):
    def measure():
        return {"float32": float32, "bfloat16": bfloat16}

    assert precision.resolve("auto", measure=measure) == expected


def test_what_is_given_or_was_recorded_is_not_measured():
    def measure():
        raise AssertionError

    assert precision.resolve("auto", "bfloat16", measure) == "bfloat16"
    assert precision.resolve("float32", "bfloat16", measure) == "float32"
    assert precision.resolve("bfloat16", None, measure) == "bfloat16"
    with pytest.raises(errors.UsageError, match="auto, float32, bfloat16"):
        precision.resolve("half", "float32", measure)


def test_both_formats_take_turns_and_the_best_of_each_counts(monkeypatch):
    clock, took = [0.0], {"float32": iter([9.0, 0.3, 0.2]), "bfloat16": iter([9.0, 0.4, 0.5])}
    monkeypatch.setattr(precision.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(precision, "ROUNDS", 2)
    calls = []

    def make(name, side, *_):
        def step():
            calls.append(name)
            clock[0] += next(took[name])

        return step

    monkeypatch.setattr(precision, "_make_step", make)
    assert precision.race(sides=[8]) == pytest.approx({"float32": 0.2, "bfloat16": 0.4})
    assert calls == ["float32", "bfloat16"] * 3


def test_where_bfloat16_is_emulated_the_larger_size_is_spared(monkeypatch):
    sides, slow = [], {"float32": 1.0, "bfloat16": 3.0}
    monkeypatch.setattr(precision, "_make_step", lambda name, side, *_: sides.append(side))
    monkeypatch.setattr(precision, "_seconds", lambda steps: slow)
    assert precision.race() == slow
    assert set(sides) == {32}


def test_the_layers_run_in_both_formats():
    assert set(precision.race(sides=[8], batch=1, channels=4)) == set(precision.FORMATS)
