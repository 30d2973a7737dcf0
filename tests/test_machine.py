"""How many cores a process has, by files of control groups that are made."""

import os

import pytest

from tfclic import control_groups, machine

ROOTS = {2: "sys/fs/cgroup", 1: "sys/fs/cgroup/cpu,cpuacct"}
KINDS = {2: "cgroup2 cgroup rw", 1: "cgroup cgroup rw,cpu,cpuacct"}
LINES = {2: "0::/outer/inner\n", 1: "4:cpu,cpuacct:/outer/inner\n9:memory:/other\n"}


@pytest.fixture
def system(tmp_path, monkeypatch):
    """Function of a version and of the quotas of groups that writes a root; there are 8 cores."""

    def write(version, **quotas):
        texts = {
            "proc/self/cgroup": LINES[version],
            "proc/self/mountinfo": f"31 23 0:28 / /{ROOTS[version]} rw - {KINDS[version]}\n",
        }
        for group, quota in quotas.items():
            folder = f"{ROOTS[version]}/{group.replace('__', '/')}"
            if version == 2:
                texts[f"{folder}/cpu.max"] = f"{quota} 100000\n"
            else:
                texts[f"{folder}/cpu.cfs_quota_us"] = f"{quota}\n"
                texts[f"{folder}/cpu.cfs_period_us"] = "100000\n"
        for name, text in texts.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        return tmp_path

    monkeypatch.setattr(machine, "schedulable_cores", lambda: 8)
    return write


@pytest.mark.parametrize("version, unlimited", [(2, "max"), (1, -1)])
def test_the_least_of_all_quotas_counts(system, version, unlimited):
    root = system(version, outer=unlimited, outer__inner=unlimited)
    assert machine.cores(root) == 8
    assert machine.cores(system(version, outer=300000)) == 3
    assert machine.cores(system(version, outer__inner=150000)) == 2
    assert machine.cores(system(version, outer__inner=1000)) == 1
    assert machine.cores(system(version, outer=1600000, outer__inner=unlimited)) == 8


def test_quotas_of_other_controllers_are_none(system):
    root = system(1, outer__inner=150000)
    assert [version for _, version in control_groups.folders("memory", root)] == []
    assert len(list(control_groups.folders("cpu", root))) == 3


def test_no_system_to_ask(system, tmp_path):
    assert machine.cores(tmp_path / "none") == 8


def test_this_process_has_some():
    assert 1 <= machine.cores() <= machine.schedulable_cores() <= os.cpu_count()
