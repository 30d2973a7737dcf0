import ml_collections
import pytest
import tensorflow as tf

from tfclic.training import schedule


def rate(step, **changes):
    training = ml_collections.ConfigDict(
        {
            "learning_rate": 1.0,
            "final_learning_rate": 0.1,
            "warmup_steps": 10,
            "decay_share": 0.5,
            "steps": 100,
        }
    )
    training.update(changes)
    return float(schedule.learning_rate(step, training))


def test_warm_up_plateau_and_fall():
    assert rate(0) == pytest.approx(0.1)
    assert rate(4) == pytest.approx(0.5)
    assert rate(9) == pytest.approx(1.0)
    assert rate(50) == pytest.approx(1.0)
    assert rate(75) == pytest.approx(0.55)
    assert rate(100) == pytest.approx(0.1)


def test_both_ends_can_be_left_out():
    assert rate(0, warmup_steps=0) == pytest.approx(1.0)
    assert rate(99, decay_share=0.0) == pytest.approx(1.0)


def test_stages_follow_each_other_at_their_shares():
    training = ml_collections.ConfigDict({"steps": 10, "stage_shares": (0.2, 0.0, 0.3)})
    stages = [int(schedule.stage(tf.constant(step), training)) for step in range(12)]
    assert stages == [0, 0, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3]


def test_the_first_phase_ends_after_its_share():
    training = ml_collections.ConfigDict({"steps": 10, "first_share": 0.3})
    found = [bool(schedule.in_first_phase(tf.constant(step), training)) for step in range(10)]
    assert found == [True] * 3 + [False] * 7
