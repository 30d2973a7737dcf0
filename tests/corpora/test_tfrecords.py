"""Images in TFRecord files."""

import pytest

pytest.importorskip("apache_beam")

from tfclic import errors
from tfclic.corpora import storage, tfrecords

FACTS = {"width": 4, "height": 3}


@pytest.fixture
def path(tmp_path):
    """Path of a TFRecord file with two Examples."""
    path = str(tmp_path / "a.tfrecord")
    with tfrecords.writer(path) as write:
        write("sub/é.png", b"\x89PNG\r\n\x1a\n", FACTS)
        write("b.jpg", b"\xff\xd8\xff", FACTS)
    return path


def test_what_is_written_is_read(path):
    found = [tfrecords.image(record, tfrecords.ENCODED) for record in tfrecords.read(path)]
    assert found == [(b"\x89PNG\r\n\x1a\n", "sub/é.png"), (b"\xff\xd8\xff", "b.jpg")]


@pytest.mark.parametrize(
    "data", [b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"\xff\xd8\xff\xe0", b"TFC\1", b""]
)
def test_records_may_be_the_images_themselves(data):
    assert tfrecords.image(data, tfrecords.ENCODED) == (data, None)


def test_an_example_without_the_feature_is_told_what_it_has(path):
    record = next(tfrecords.read(path))
    with pytest.raises(errors.ImageError, match="feature jpeg, but image/encoded, image/height"):
        tfrecords.image(record, "jpeg")


def test_a_damaged_file_tells_how_far_it_was_read(path):
    with open(path, "r+b") as file:
        file.seek(-2, 2)
        file.write(b"!!")
    records = tfrecords.read(path)
    next(records)
    with pytest.raises(storage.StorageError, match="a.tfrecord is damaged after 1 records."):
        next(records)


def test_a_missing_file_is_one_sentence(tmp_path):
    with pytest.raises(storage.StorageError, match="none.tfrecord cannot be read."):
        list(tfrecords.read(str(tmp_path / "none.tfrecord")))
