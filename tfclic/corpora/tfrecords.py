"""TFRecord files of images: `tf.train.Example`s, or just the bytes of an image in each record.

To be imported where records are read or written only: it needs TensorFlow's Python package.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import tensorflow as tf
from google.protobuf import message

from tfclic import errors
from tfclic.corpora import storage

ENCODED = "image/encoded"
KEY = "image/key"
_KEYS = (KEY, "image/filename", "image/source_id")


def read(path: str) -> Iterator[bytes]:
    """Yields the records (bytes) of a TFRecord file, compressed if its name ends in `.gz`.

    Raises:
      storage.StorageError: it cannot be read, or is damaged from here on.
    """
    kind = "GZIP" if path.endswith(".gz") else ""
    count = 0
    try:
        for record in tf.data.TFRecordDataset(os.fsencode(path), kind).as_numpy_iterator():
            yield record
            count += 1
    except tf.errors.OpError as error:
        damaged = isinstance(error, tf.errors.DataLossError)
        what = f"is damaged after {count} records" if damaged else "cannot be read"
        raise storage.StorageError(f"{path} {what}.") from error


def image(record: bytes, feature: str) -> tuple[bytes, str | None]:
    """Finds the image in a record.

    Args:
      record: a `tf.train.Example` with the image in `feature`, or the image itself.
      feature: its name.

    Returns:
      (data, key): bytes, and what the Example calls the image (str, or None).

    Raises:
      errors.ImageError: it is an Example without that feature.
    """
    try:
        features = tf.train.Example.FromString(record).features.feature
    except message.DecodeError:
        return record, None
    if not features:
        return record, None
    values = features[feature].bytes_list.value if feature in features else ()
    if not values:
        there = ", ".join(sorted(features))
        raise errors.ImageError(f"The record has no bytes in the feature {feature}, but {there}.")
    for name in _KEYS:
        if name in features and features[name].bytes_list.value:
            return values[0], features[name].bytes_list.value[0].decode("utf-8", "replace")
    return values[0], None


@contextlib.contextmanager
def writer(path: str) -> Iterator[Callable[[str, bytes, Mapping[str, Any]], None]]:
    """Yields a function that puts `(key, data, facts)` into a new TFRecord file, an Example each.

    `key` is a str, `data` bytes, and `facts` a dict with `width` and `height`.

    Raises:
      storage.StorageError: it cannot be written.
    """
    try:
        with tf.io.TFRecordWriter(os.fsencode(path)) as file:
            yield lambda *item: file.write(_example(*item))
    except tf.errors.OpError as error:
        raise storage.StorageError(f"{path} cannot be written: {error.message}.") from error


def _example(key: str, data: bytes, facts: Mapping[str, Any]) -> bytes:
    features = {
        name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        for name, value in ((KEY, os.fsencode(key)), (ENCODED, data))
    }
    for name in ("width", "height"):
        values = tf.train.Int64List(value=[facts[name]])
        features[f"image/{name}"] = tf.train.Feature(int64_list=values)
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()
