"""What bin/test runs, and that the checks of imports and types can fail."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from tfclic.cli import test

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def checkout(tmp_path):
    """A copy of what the check of imports looks at."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    leave = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "tfclic", tmp_path / "tfclic", ignore=leave)
    return tmp_path


def imports_checked(folder):
    """Runs the check as bin/test does; returns its exit status and what it says."""
    command = next(each for each in test.checks() if test.IMPORTS in each)
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    return run.returncode, run.stdout


def test_imports_are_as_they_have_to_be(checkout):
    status, said = imports_checked(checkout)
    assert status == 0, said


FORBIDDEN = {
    "runtime/tiles.py": "tensorflow",
    "runtime/codec.py": "tfclic.export.container",
    "format/boxes.py": "tfclic.images",
    "layers/gain.py": "tfclic.models.base",
    "evaluation/metrics.py": "tfclic.training.step",
    "serving/limits.py": "tfclic.corpora.job",
    "portable/runner/device.py": "tfclic.errors",
}


def test_imports_that_may_not_be_are_told_though_inside_of_a_function(checkout):
    for module, imported in FORBIDDEN.items():
        with open(checkout / "tfclic" / module, "a") as file:
            file.write(f"\n\ndef added():\n    import {imported}\n")
    status, said = imports_checked(checkout)
    assert status == 1
    for module, imported in FORBIDDEN.items():
        importer = "tfclic." + module[:-3].replace("/", ".")
        assert f"{importer} -> {imported}" in said, module


def test_a_package_without_a_place_is_told(checkout):
    (checkout / "tfclic" / "more").mkdir()
    (checkout / "tfclic" / "more" / "__init__.py").touch()
    status, said = imports_checked(checkout)
    assert status == 1 and "more" in said


def test_a_function_without_types_is_told(tmp_path):
    module = tmp_path / "module.py"
    module.write_text("def f(x):\n    return x\n")
    command = [sys.executable, "-m", "mypy", f"--config-file={ROOT / 'pyproject.toml'}"]
    command += [f"--cache-dir={os.devnull}", str(module)]
    assert command[:3] in test.checks()
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 1 and "no-untyped-def" in run.stdout


@pytest.mark.parametrize(
    "statuses, expected", [([0] * 5, 0), ([0, 0, 0, 1, 0], 1), ([1, 0, 0, 0, 5], 5)]
)
def test_everything_runs_whatever_fails(monkeypatch, statuses, expected):
    calls, returned = [], iter(statuses)

    def call(command, cwd=None):
        calls.append((command, cwd))
        return next(returned)

    monkeypatch.setattr(test.subprocess, "call", call)
    assert test.main(["-k", "nothing"]) == expected
    assert [cwd for _, cwd in calls] == [ROOT, ROOT, ROOT, ROOT, None]
    assert [command for command, _ in calls[:4]] == test.checks()
    assert calls[4][0][-3:] == ["-k", "nothing", str(ROOT / "tests")]
