import pytest

from tfclic.training import record, sources


@pytest.fixture
def store(photos):
    return sources.open_source(str(photos), 64)


def test_a_run_adds_to_what_its_checkpoint_says(config, store):
    first = record.Record({}, config.training, store, {"precision": "float32"})
    before = first.content(4, None, 2.04, 1)
    assert before["images_seen"] == 4 * config.training.batch_size
    assert (before["precision"], before["seconds"], before["skipped_steps"]) == ("float32", 2.0, 1)
    config.training.batch_size = 3
    started = {**before, "start": {"steps": 9}, "changes": [], "portable": [], "unknown": 1}
    found = record.Record(started, config.training, store).content(6, {"step": 6}, 1.5, 2)
    assert (found["images_seen"], found["seconds"], found["skipped_steps"]) == (14, 3.5, 3)
    assert found["validation"] == {"step": 6}
    # what the checkpoint alone can say
    assert set(found) - set(before) == {"start", "changes", "portable"}


def test_other_images_are_told_by_their_fingerprint(config, store):
    for known, is_other in [({}, False), (store.fingerprint(), False), ("another", True)]:
        before = {"data_fingerprint": known} if known else {}
        assert record.Record(before, config.training, store).is_of_other_images() == is_other


def test_crops_are_counted_from_what_other_batch_sizes_left(config, store):
    config.training.batch_size = 2
    for before, ahead in [
        ({}, 0),
        ({"steps": 5}, 0),  # of a record that does not say
        ({"steps": 5, "images_seen": 20}, 10),
        ({"steps": 5, "images_seen": 5}, -5),
    ]:
        assert record.Record(before, config.training, store).crops_ahead() == ahead
