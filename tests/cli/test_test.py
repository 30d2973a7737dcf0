"""bin/test: what it runs, and what its exit status says."""

import os
import subprocess
import sys

import pytest

from tfclic.cli import test as program


def test_lints_checks_types_and_tests_the_checkout_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check, formatting, mypy, pytest_ = program.commands(["-k", "nothing"])
    assert check[:2] == ["ruff", "check"] and formatting[:3] == ["ruff", "format", "--check"]
    assert mypy[0] == "mypy" and mypy[-1] == str(program.ROOT / "tfclic")
    assert f"--cache-dir={program.ROOT / '.mypy_cache'}" in mypy
    assert pytest_[0] == "pytest" and pytest_[-3:] == ["-k", "nothing", str(program.ROOT / "tests")]


@pytest.mark.parametrize(
    "statuses, expected",
    [((0, 0, 0, 0), 0), ((0, 0, 1, 0), 1), ((1, 0, 0, 0), 1), ((0, 0, 1, 5), 5), ((0, 0, 0, 2), 2)],
)
def test_runs_everything_and_fails_if_anything_does(statuses, expected, monkeypatch, capsys):
    called = []

    def call(command):
        called.append(command)
        return statuses[len(called) - 1]

    monkeypatch.setattr(subprocess, "call", call)
    assert program.main([]) == expected
    assert called == [[sys.executable, "-m", *command] for command in program.commands([])]
    assert ("found something" in capsys.readouterr().err) == any(statuses[:-1])


def test_mypy_finds_what_has_no_types(tmp_path):
    """The configuration is the strict one: a function without annotations is an error."""
    module = tmp_path / "module.py"
    module.write_text("def f(x):\n    return x\n")
    mypy = program.commands([])[2]
    command = [sys.executable, "-m", *mypy[:2], f"--cache-dir={os.devnull}", str(module)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1 and "no-untyped-def" in done.stdout
