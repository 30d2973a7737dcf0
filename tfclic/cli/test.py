"""bin/test: lints the checkout, checks its formatting and runs its tests.

    bin/test [PYTEST-ARGUMENT ...]

Exit status: pytest's; 1 if only the linter or the formatter has found something.
"""

import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Each holds a TensorFlow of about 1 GB, and often waits for programs that a test has started.
MOST_PROCESSES = 4


def commands(arguments):
    """The modules to run, with their arguments; `arguments` are the user's for pytest."""
    processes = min(MOST_PROCESSES, (os.cpu_count() or 1) + 1)
    pytest = ["pytest", f"--config-file={ROOT / 'pyproject.toml'}", f"--rootdir={ROOT}"]
    pytest += [f"--numprocesses={processes}", "--dist=loadfile"]
    # by themselves, files with one long test would come last, one process waiting for the other
    pytest += ["--no-loadscope-reorder", *arguments]
    if not any(os.path.exists(argument.partition("::")[0]) for argument in arguments):
        pytest.append(str(ROOT / "tests"))
    return [["ruff", "check", str(ROOT)], ["ruff", "format", "--check", str(ROOT)], pytest]


def main(arguments):
    """Runs everything, whatever fails, and returns the exit status."""
    statuses = [
        subprocess.call([sys.executable, "-m", *command]) for command in commands(arguments)
    ]
    if any(statuses[:2]):
        print("test: ruff has found something, see above the tests.", file=sys.stderr)
    return statuses[-1] or int(any(statuses[:2]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
