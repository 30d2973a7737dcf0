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
            "rounded_share": 0.0,
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


def test_only_codecs_with_stages_are_told_which_it_is(fake):
    codec = fake.FakeCodec()
    training = ml_collections.ConfigDict({"steps": 10, "stage_shares": (0.2,)})
    assert schedule.stage_of(codec, tf.constant(2), training) == {}
    codec.stages = 2
    assert int(schedule.stage_of(codec, tf.constant(2), training)["stage"]) == 1


def test_the_first_phase_ends_after_its_share():
    training = ml_collections.ConfigDict({"steps": 10, "first_share": 0.3})
    found = [bool(schedule.in_first_phase(tf.constant(step), training)) for step in range(10)]
    assert found == [True] * 3 + [False] * 7


def test_the_last_phase_follows_a_schedule_that_is_complete_and_has_one_of_its_own():
    for step in (0, 20, 40, 60, 79):
        whole = rate(step, steps=80)
        assert rate(step, rounded_share=0.2, rounded_learning_rate=0.5) == pytest.approx(whole)
    found = [rate(n, rounded_share=0.2, rounded_learning_rate=0.5) for n in (80, 90, 100, 101)]
    assert found == pytest.approx([0.5, 0.3, 0.1, 0.1])
    alone = {"rounded_share": 1.0, "rounded_learning_rate": 0.5, "warmup_steps": 0}
    assert [rate(n, **alone) for n in (0, 100)] == pytest.approx([0.5, 0.1])
