"""What tests of several programs share."""

import os

import pytest


@pytest.fixture
def piped():
    """A function that returns the path of a pipe that brings these few bytes, once."""
    ends = []

    def piped(data):
        reading, writing = os.pipe()
        ends.append(reading)
        with open(writing, "wb") as file:
            file.write(data)
        return f"/dev/fd/{reading}"

    yield piped
    for end in ends:
        os.close(end)
