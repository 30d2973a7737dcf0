"""bin/test: lints the checkout, checks its formatting and its types, and runs its tests.

    bin/test [PYTEST-ARGUMENT ...]

Exit status: pytest's; 1 if only one of the others has found something.
"""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
from collections.abc import Sequence

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Each holds a TensorFlow of about 1 GB, and often waits for programs that a test has started.
MOST_PROCESSES = 4


def commands(arguments: Sequence[str]) -> list[list[str]]:
    """The modules to run, with their arguments; `arguments` are the user's for pytest."""
    processes = min(MOST_PROCESSES, (os.cpu_count() or 1) + 1)
    pytest = ["pytest", f"--config-file={ROOT / 'pyproject.toml'}", f"--rootdir={ROOT}"]
    pytest += [f"--numprocesses={processes}", "--dist=loadfile"]
    # by themselves, files with one long test would come last, one process waiting for the other
    pytest += ["--no-loadscope-reorder", *arguments]
    if not any(os.path.exists(argument.partition("::")[0]) for argument in arguments):
        pytest.append(str(ROOT / "tests"))
    mypy = ["mypy", f"--config-file={ROOT / 'pyproject.toml'}"]
    mypy += [f"--cache-dir={ROOT / '.mypy_cache'}", str(ROOT / "tfclic")]
    ruff = ["ruff", "check", str(ROOT)], ["ruff", "format", "--check", str(ROOT)]
    return [*ruff, mypy, pytest]


def main(arguments: Sequence[str]) -> int:
    """Runs everything, whatever fails, and returns the exit status."""
    statuses = [
        subprocess.call([sys.executable, "-m", *command]) for command in commands(arguments)
    ]
    if any(statuses[:-1]):
        print("test: ruff or mypy has found something, see above the tests.", file=sys.stderr)
    return statuses[-1] or int(any(statuses[:-1]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
