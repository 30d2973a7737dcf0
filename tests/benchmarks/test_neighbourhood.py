"""The benchmark of the predictions runs, and its two forms agree."""

import pathlib
import re
import subprocess
import sys

SCRIPT = pathlib.Path(__file__).parents[2] / "benchmarks" / "neighbourhood.py"


def test_all_forms_are_timed():
    words = ["--configs=coarse_to_fine_small", "--rounds=1", "--height=4", "--width=4"]
    done = subprocess.run([sys.executable, SCRIPT, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-1000:]
    rows = re.findall(r"^\| coarse_to_fine_small \| (.+) \| ([\d.]+) \|$", done.stdout, re.M)
    assert len(rows) == 5
    assert all(float(milliseconds) > 0 for _, milliseconds in rows)
    (difference,) = re.findall(r"largest difference of the first two \| (\S+)", done.stdout)
    assert float(difference) < 1e-4
