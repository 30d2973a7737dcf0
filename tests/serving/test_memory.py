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
    write(
        proc__self__statm="5000 300 100 1 0 200 0\n",
        proc__self__cgroup="0::/\n",
        proc__self__mountinfo=mount("cgroup2", "/", "sys/fs/cgroup"),
    )
    return write


def mount(kind, top, folder, options="rw"):
    """A line of mountinfo, with an optional field as there may be any number of."""
    return f"31 23 0:28 {top} /{folder} rw,relatime shared:9 - {kind} cgroup {options}\n"


def group(folder, most, used, inactive=0, version=2):
    """Files of a control group, by their names with __ for slashes."""
    limit, current, given_back = memory._FILES[version]
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


V1 = "sys/fs/cgroup/memory"
V1_MOUNTS = mount("cgroup", "/", "sys/fs/cgroup/cpu", "rw,cpu") + mount(
    "cgroup", "/", V1, "rw,memory"
)
UNLIMITED_V1 = (1 << 63) - 4096  # as version 1 says it, in pages of 4096 bytes


def named(folder):
    return folder.replace("/", "__")


def test_control_groups_of_version_1_and_those_above_them(system):
    system(
        proc__self__cgroup="9:cpu:/other\n4:cpuset,memory:/outer/inner\n0::/\n",
        proc__self__mountinfo=V1_MOUNTS + mount("cgroup2", "/", "sys/fs/cgroup/unified"),
        **group(named(V1), UNLIMITED_V1, 9000, version=1),
        **group(named(f"{V1}/outer"), 5000, 3000, 500, version=1),
        **group(named(f"{V1}/other"), 10, 10, version=1),
    )
    inner = named(f"{V1}/outer/inner")
    root = system(**group(inner, UNLIMITED_V1, 1000, version=1))
    assert memory.Room(root=root).free().resident == 2500
    system(**group(inner, 3000, 1000, version=1))
    assert memory.Room(root=root).free().resident == 2000
    folders = [str(each.folder.relative_to(root)) for each in memory.groups(root)]
    assert folders == [f"{V1}/outer/inner", f"{V1}/outer", V1, "sys/fs/cgroup/unified"]


def test_a_group_without_a_limit_above_one_with_one(system):
    outer, inner = "sys__fs__cgroup__outer", "sys__fs__cgroup__outer__inner"
    system(proc__self__cgroup="0::/outer/inner\n", **group(outer, "max", 3000))
    root = system(**group(inner, 4000, 1000))
    assert memory.Room(root=root).free().resident == 3000


@pytest.mark.parametrize("path", ["/host/x", "/../../x", "/"])
def test_a_container_whose_path_is_the_hosts(system, path):
    found = group(named(V1), 5000, 3000, 500, version=1)
    lines = f"9:cpu:/x\n4:cpuset,memory:{path}\n0::{path}\n"
    root = system(proc__self__cgroup=lines, proc__self__mountinfo=V1_MOUNTS, **found)
    assert memory.Room(root=root).free().resident == 2500
    system(**group(named(V1), UNLIMITED_V1, 3000, version=1))
    assert memory.Room(root=root).free().resident == math.inf


@pytest.mark.parametrize("version", [1, 2])
def test_a_group_inside_of_what_a_container_mounts(system, version):
    # what is mounted is the container's group, and this process is in one that it has made
    line = "4:memory:/docker/1f/own\n" if version == 1 else "0::/docker/1f/own\n"
    kind, options = ("cgroup", "rw,memory") if version == 1 else ("cgroup2", "rw")
    root = system(
        proc__self__cgroup=line,
        proc__self__mountinfo=mount(kind, "/docker/1f", "sys/fs/cgroup", options),
        **group("sys__fs__cgroup", 5000, 1000, version=version),
        **group("sys__fs__cgroup__own", 2000, 500, version=version),
    )
    assert memory.Room(root=root).free().resident == 1500


def test_control_groups_are_where_they_are_mounted(system):
    root = system(
        proc__self__cgroup="0::/x y\n",
        proc__self__mountinfo=mount("cgroup2", "/x\\040y", "run/my\\040groups"),
        **group("run__my groups", 5000, 1000),
    )
    assert memory.Room(root=root).free().resident == 4000


def test_the_least_counts(system):
    root = system(**group("sys__fs__cgroup", 900 * PAGE, 100 * PAGE))
    assert memory.Room(2000 * PAGE, root).free().resident == 800 * PAGE
    assert memory.Room(1000 * PAGE, root).free().resident == 700 * PAGE


def test_this_process_is_found():
    used = memory.Room(1)._used
    assert 0 <= 1 - memory.Room(1).free().resident
    if used(1):  # Linux
        assert 1 << 20 < used(1) < used(0)
