"""What the tests of benchmarks share."""

import contextlib
import importlib
import pathlib

import pytest
import tensorflow as tf

BENCHMARKS = pathlib.Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="session")
def without_graphs():
    """A context manager of a benchmark's name to its module, whose functions run eagerly.

    To trace and to optimise graphs would take most of the time.
    """

    @contextlib.contextmanager
    def imported(name):
        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(BENCHMARKS)
            module = importlib.import_module(name)
            tf.config.run_functions_eagerly(True)
            try:
                yield module
            finally:
                tf.config.run_functions_eagerly(False)

    return imported
