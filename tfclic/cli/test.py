"""bin/test: lints the checkout, checks its formatting, imports and types, and runs its tests.

    bin/test [PYTEST-ARGUMENT ...]

Exit status: pytest's; 1 if only one of the checks before the tests has found something.
"""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
from collections.abc import Sequence

from tfclic import machine

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Each holds a TensorFlow of about 1 GB, and often waits for programs that a test has started.
MOST_PROCESSES = 4
# it has no module that can be run
IMPORTS = "from importlinter.cli import lint_imports_command as check; check()"


def checks() -> list[list[str]]:
    """The commands to run in the checkout before the tests: lists of a program's arguments."""
    return [
        [sys.executable, "-m", "ruff", "check", "."],
        [sys.executable, "-m", "ruff", "format", "--check", "."],
        [sys.executable, "-c", IMPORTS, "--no-cache"],
        [sys.executable, "-m", "mypy"],
    ]


def tests(arguments: Sequence[str]) -> list[str]:
    """The command that runs the tests; `arguments` are the user's for pytest."""
    processes = min(MOST_PROCESSES, machine.cores() + 1)
    pytest = [
        sys.executable,
        "-m",
        "pytest",
        f"--config-file={ROOT / 'pyproject.toml'}",
        f"--rootdir={ROOT}",
    ]
    pytest += [f"--numprocesses={processes}", "--dist=loadfile"]
    # by themselves, files with one long test would come last, one process waiting for the other
    pytest += ["--no-loadscope-reorder", *arguments]
    if not any(os.path.exists(argument.partition("::")[0]) for argument in arguments):
        pytest.append(str(ROOT / "tests"))
    return pytest


def main(arguments: Sequence[str]) -> int:
    """Runs everything, whatever fails, and returns the exit status."""
    found = [subprocess.call(command, cwd=ROOT) for command in checks()]
    status = subprocess.call(tests(arguments))
    if any(found):
        print("test: a check has found something, see above.", file=sys.stderr)
    return status or int(any(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
