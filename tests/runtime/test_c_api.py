"""TensorFlow's library as it is loaded."""

import os

import pytest

from tfclic.runtime import c_api


@pytest.mark.parametrize("level, told", [("3", b"what matters\n"), ("0", None)])
def test_remarks_of_a_library_that_is_loaded_go_nowhere(level, told, monkeypatch, capfdbinary):
    remarks = (
        b"WARNING: ... absl::InitializeLog() ...\nI0 port.cc] oneDNN custom operations are on.\n"
    )
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", level)
    with c_api.without_remarks():
        os.write(2, remarks + b"what matters\n")
    os.write(2, b"and what comes after\n")
    told = remarks + b"what matters\n" if told is None else told
    assert capfdbinary.readouterr().err == told + b"and what comes after\n"
