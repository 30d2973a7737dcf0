"""What is left of limits, read from made files of a system's."""

import math
import resource

import pytest

from tfclic.serving import memory
from tfclic.serving.memory import Amount

PAGE = resource.getpagesize()


@pytest.fixture
def system(tmp_path, monkeypatch):
    """Function that writes files below a root; there, and for this process, nothing is limited."""

    def write(**files):
        for name, text in files.items():
            path = tmp_path / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    unlimited = resource.RLIM_INFINITY
    monkeypatch.setattr(resource, "getrlimit", lambda _: (unlimited, unlimited))
    write(proc__self__statm="5000 300 100 1 0 200 0\n", proc__self__cgroup="0::/\n")
    return write


def group(folder, most, used, inactive=0, version=2):
    """Files of a control group, by their names with __ for slashes."""
    limit, current, given_back = memory._GROUPS[version]
    texts = {
        limit: most,
        current: f"{used}\n",
        "memory.stat": f"anon 1\n{given_back} {inactive}\n",
    }
    return {f"{folder}__{name}": str(text) for name, text in texts.items()}


def test_nothing_limits(system):
    root = system(**group("sys__fs__cgroup", "max\n", 1000))
    assert memory.Room(root=root).free() == Amount(math.inf, math.inf)


def test_no_system_to_ask(tmp_path, system):
    assert memory.Room(root=tmp_path / "none").free() == Amount(math.inf, math.inf)


def test_the_address_space(system, monkeypatch):
    root = system()
    monkeypatch.setattr(resource, "getrlimit", lambda _: (6000 * PAGE, 9000 * PAGE))
    assert memory.Room(root=root).free() == Amount(1000 * PAGE, math.inf)


def test_what_the_server_was_told(system):
    root = system()
    assert memory.Room(1000 * PAGE, root).free() == Amount(math.inf, 700 * PAGE)
    assert memory.Room(100 * PAGE, root).free() == Amount(math.inf, -200 * PAGE)


def test_a_control_group_and_those_above_it(system):
    outer, inner = "sys__fs__cgroup__outer", "sys__fs__cgroup__outer__inner"
    system(proc__self__cgroup="0::/outer/inner\n", **group(outer, 5000, 3000, 500))
    root = system(**group(inner, 4000, 1000))
    assert memory.Room(root=root).free().resident == 2500
    system(**group(inner, 3000, 1000))
    assert memory.Room(root=root).free().resident == 2000


def test_control_groups_of_version_1(system):
    # the path is the host's, which a container does not see
    lines = "9:cpu:/x\n4:cpuset,memory:/host/x\n0::/host/x\n"
    found = group("sys__fs__cgroup__memory", 5000, 3000, 500, version=1)
    root = system(proc__self__cgroup=lines, **found)
    assert memory.Room(root=root).free().resident == 2500
    system(**group("sys__fs__cgroup__memory", (1 << 63) - 4096, 3000, version=1))
    assert memory.Room(root=root).free().resident == math.inf


def test_the_least_counts(system):
    root = system(**group("sys__fs__cgroup", 900 * PAGE, 100 * PAGE))
    assert memory.Room(2000 * PAGE, root).free().resident == 800 * PAGE
    assert memory.Room(1000 * PAGE, root).free().resident == 700 * PAGE


def test_this_process_is_found():
    used = memory.Room(1)._used
    assert 0 <= 1 - memory.Room(1).free().resident
    if used(1):  # Linux
        assert 1 << 20 < used(1) < used(0)
