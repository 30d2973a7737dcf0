"""The programs in bin/, in made checkouts whose installer only notes what it was asked for."""

import ast
import importlib.util
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

import pytest

BIN = pathlib.Path(__file__).resolve().parents[1] / "bin"
NAMES = [
    "compress",
    "compress_corpus",
    "decompress",
    "decompress_corpus",
    "evaluate",
    "export",
    "inspect",
    "recode",
    "serve",
    "test",
    "train",
]

PROGRAM = """
import json, os, sys
print(json.dumps({"arguments": sys.argv[1:], "folder": os.getcwd(), "python": sys.executable}))
sys.exit(int(sys.argv[1]) if sys.argv[1:] else 0)
"""

LAUNCHER = """
import json, os, sys
import _launch

_launch.steps = lambda extras, fresh: [
    [sys.executable, os.path.join(_launch.ROOT, "installer.py"), json.dumps([fresh, extras])]
]
sys.version_info = tuple(json.loads(os.environ.get("VERSION", "[3, 11, 7]")))
_launch.platform.machine = lambda: os.environ.get("MACHINE", "x86_64")
_launch.launch(os.path.basename(__file__))
"""

INSTALLER = """
import os, sys, time

with open("installs", "a") as file:
    print(sys.argv[1], file=file)
if os.environ.get("INSTALLER") == "fails":
    sys.exit("no such package")
deadline = time.monotonic() + 60 if os.environ.get("INSTALLER") == "waits" else 0
while time.monotonic() < deadline and not os.path.exists("go on"):
    time.sleep(0.01)
os.makedirs(".venv/bin", exist_ok=True)
if not os.path.exists(".venv/bin/python"):
    os.symlink(os.path.realpath(sys.executable), ".venv/bin/python")
"""


class Checkout:
    """A checkout with fake programs, and a Python without site-packages to start them."""

    def __init__(self, folder):
        self.folder = folder
        (folder / "tfclic" / "cli").mkdir(parents=True)
        (folder / "bin").mkdir()
        (folder / "setup.cfg").write_text("[options]\n")
        (folder / "installer.py").write_text(INSTALLER)
        (folder / "tfclic" / "__init__.py").touch()
        shutil.copy(BIN / "_launch.py", folder / "bin")
        for name in NAMES:
            (folder / "bin" / name).write_text(LAUNCHER)
            (folder / "tfclic" / "cli" / f"{name}.py").write_text(PROGRAM)

    def start(self, name="compress", *arguments, script=None, cwd=None, **variables):
        """Starts a launcher and returns the process."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        return subprocess.Popen(
            [sys.executable, "-S", str(script or self.folder / "bin" / name), *arguments],
            cwd=cwd or self.folder,
            env={**environment, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments, **options):
        """Runs a launcher; returns exit status, what the program printed (or None), and stderr."""
        process = self.start(*arguments, **options)
        output, errors = process.communicate(timeout=60)
        return process.returncode, json.loads(output) if output else None, errors

    def installs(self):
        """Each install so far, as [fresh, extras]."""
        log = self.folder / "installs"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    def wait_for_installs(self, count):
        deadline = time.monotonic() + 60
        while len(self.installs()) < count:
            assert time.monotonic() < deadline, "no install has begun"
            time.sleep(0.01)

    def go_on(self):
        (self.folder / "go on").touch()


@pytest.fixture
def checkout(tmp_path):
    return Checkout(tmp_path / "a check out")


@pytest.fixture(scope="module")
def launcher():
    """The real bin/_launch.py as a module."""
    spec = importlib.util.spec_from_file_location("_launch", BIN / "_launch.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "words, asks",
    [
        (["--runner", "dask"], True),
        (["--input=in/*", "--runner=dask", "--workers", "2"], True),
        (["--runner=FlinkRunner", "--output=dask"], False),
        (["--output", "dask"], False),
    ],
)
def test_who_asks_for_dask_gets_it(launcher, words, asks):
    assert launcher.asks_for_dask(words) == asks
    assert "corpus-dask" in launcher.MARKS


def test_who_asks_for_traces_gets_them(launcher, monkeypatch):
    asked = []
    monkeypatch.setattr(launcher, "usable_here", lambda extra: asked.append(extra) or True)
    monkeypatch.setattr(launcher, "run", lambda *_: None)
    for words in (["--traces", "x:1"], ["--traces=x:1"], ["--ui"]):
        monkeypatch.setattr(launcher.sys, "argv", ["serve", *words])
        with pytest.raises(SystemExit):
            launcher.launch("serve")
    assert asked == ["tracing", "tracing", "serve"]
    assert asked[0] in launcher.MARKS


def test_every_program_has_a_launcher_that_an_old_python_can_parse(launcher):
    assert sorted(launcher.EXTRAS) == NAMES
    for name in NAMES:
        assert os.access(BIN / name, os.X_OK)
        assert f'launch("{name}")' in (BIN / name).read_text()
        assert (BIN.parent / "tfclic" / "cli" / f"{name}.py").exists()
    for path in [BIN / "_launch.py", *(BIN / name for name in NAMES)]:
        ast.parse(path.read_text(), feature_version=(3, 6))


def test_install_commands_name_the_extras(launcher):
    venv, pip = launcher.steps(["eval", "train"], fresh=True)
    assert venv[-2:] == ["venv", launcher.VENV]
    assert pip[0] == launcher.VENV_PYTHON and pip[-2:] == ["--editable", ".[eval,train]"]
    assert launcher.steps([], fresh=False)[0][-1] == "."


@pytest.mark.parametrize(
    "name, version, wanted",
    [
        ("compress", [3, 6, 15], "3.9 to 3.13"),
        ("recode", [3, 8, 18], "3.9 to 3.13"),
        ("decompress", [3, 14, 0], "3.9 to 3.13"),
        ("train", [3, 8, 18], "3.9, 3.10 or 3.11"),
        ("export", [3, 12, 1], "3.9, 3.10 or 3.11"),
        ("evaluate", [3, 14, 0], "3.9 to 3.13"),
        ("test", [3, 13, 0], "3.9, 3.10 or 3.11"),
    ],
)
def test_another_python_is_refused_in_one_sentence(checkout, name, version, wanted):
    status, output, errors = checkout.run(name, VERSION=json.dumps(version))
    assert (status, output, checkout.installs()) == (2, None, [])
    assert len(errors.splitlines()) == 1
    assert wanted in errors and ".".join(map(str, version)) in errors
    assert not (checkout.folder / ".venv").exists()


def test_newer_pythons_do_all_but_train(checkout):
    newer = {"VERSION": "[3, 13, 0]"}
    assert checkout.run("compress", **newer)[0] == 0
    assert checkout.run("recode", **newer)[0] == 0
    assert checkout.run("evaluate", **newer)[0] == 0
    assert checkout.installs() == [[True, []], [False, ["eval"]]]
    # what needs TensorFlow 2.14 is refused, and takes nothing away
    assert checkout.run("train", **newer)[0] == 2
    assert checkout.run("compress", **newer)[2] == ""
    # a Python that has it makes another .venv, for all
    assert checkout.run("train")[0] == 0
    assert checkout.run("compress", **newer)[2] == ""
    assert checkout.installs() == [[True, []], [False, ["eval"]], [True, ["eval", "train"]]]


def test_other_processors_do_all_but_train(checkout):
    arm = {"MACHINE": "arm64"}
    assert checkout.run("compress", **arm)[0] == checkout.run("evaluate", **arm)[0] == 0
    status, output, errors = checkout.run("train", **arm)
    assert (status, output, len(errors.splitlines())) == (2, None, 1)
    assert "x86-64" in errors
    assert checkout.installs() == [[True, []], [False, ["eval"]]]
    assert checkout.run("compress", **arm)[2] == ""


def test_another_python_may_start_what_is_set_up(checkout):
    assert checkout.run()[0] == 0
    assert checkout.run("train", VERSION="[3, 13, 0]")[0] == 0
    assert checkout.installs() == [[True, []], [False, ["train"]]]


def test_arguments_folder_and_exit_status_pass_through(checkout, tmp_path):
    link = tmp_path / "squeeze"
    link.symlink_to(checkout.folder / "bin" / "compress")
    # The real launcher names its program itself, so that a link may have any name.
    shutil.copy(BIN / "compress", checkout.folder / "bin" / "compress")
    assert checkout.run("train")[0] == 0
    arguments = ["7", "two words", "--quality=50", ""]
    status, output, errors = checkout.run("compress", *arguments, script=link, cwd=tmp_path)
    assert (status, errors) == (7, "")
    assert output["arguments"] == arguments
    assert output["folder"] == str(tmp_path)
    assert output["python"] == str(checkout.folder / ".venv" / "bin" / "python")


def test_an_interrupt_while_a_program_is_imported_is_told(checkout):
    (checkout.folder / "tfclic" / "cli" / "train.py").write_text("raise KeyboardInterrupt")
    assert checkout.run("compress")[0] == 0
    assert checkout.run("train")[0] == 130  # sets up the rest first
    assert checkout.run("train") == (130, None, "train: Interrupted.\n")


def test_once_set_up_nothing_is_done_again(checkout):
    status, _, errors = checkout.run()
    assert status == 0 and "setting up .venv" in errors
    (checkout.folder / ".venv.lock").unlink()
    status, output, errors = checkout.run("decompress")
    assert (status, errors, checkout.installs()) == (0, "", [[True, []]])
    assert output is not None and not (checkout.folder / ".venv.lock").exists()


def test_more_extras_are_added_when_needed(checkout):
    checkout.run("compress")
    _, _, errors = checkout.run("evaluate")
    assert "adding what evaluate needs" in errors
    for name in ["train", "test", *NAMES]:
        assert checkout.run(name)[0] == 0
    assert checkout.installs()[1:] == [
        [False, ["eval"]],
        [False, ["eval", "train"]],
        [False, ["dev", "eval", "train"]],
    ]


def test_changed_requirements_are_installed(checkout):
    checkout.run()
    (checkout.folder / "setup.cfg").write_text("[options]\ninstall_requires = more\n")
    status, output, errors = checkout.run()
    assert status == 0 and output and "setup.cfg has changed" in errors
    assert checkout.installs() == [[True, []], [False, []]]


def test_a_moved_checkout_is_set_up_again(checkout, tmp_path):
    checkout.run("train")
    checkout.folder = checkout.folder.rename(tmp_path / "moved")
    assert checkout.run()[0] == 0
    assert checkout.installs() == [[True, ["train"]], [True, ["train"]]]


def test_two_at_once_install_once(checkout):
    first = checkout.start(INSTALLER="waits")
    checkout.wait_for_installs(1)
    second = checkout.start("decompress", INSTALLER="waits")
    assert "waiting for another process" in second.stderr.readline()
    checkout.go_on()
    assert [process.communicate(timeout=60)[0] != "" for process in (first, second)] == [True] * 2
    assert (first.returncode, second.returncode) == (0, 0)
    assert checkout.installs() == [[True, []]]


def test_a_killed_set_up_is_redone_when_its_installer_has_ended(checkout):
    first = checkout.start(INSTALLER="waits")
    checkout.wait_for_installs(1)
    first.kill()
    second = checkout.start(INSTALLER="waits")
    assert "waiting for another process" in second.stderr.readline()
    checkout.go_on()
    first.communicate(timeout=60)
    second.communicate(timeout=60)
    assert second.returncode == 0
    assert checkout.installs() == [[True, []], [True, []]]


def test_a_removal_that_was_cut_short_is_redone(checkout):
    checkout.run()
    (checkout.folder / ".venv").rename(checkout.folder / ".venv.old")
    (checkout.folder / ".venv").mkdir()
    assert checkout.run()[0] == 0
    assert checkout.installs() == [[True, []], [True, []]]


def test_a_failed_install_is_told_and_tried_again(checkout):
    status, output, errors = checkout.run(INSTALLER="fails")
    assert (status, output) == (1, None)
    assert errors.splitlines()[-2] == "no such package"
    assert "could not be set up" in errors.splitlines()[-1]
    assert checkout.run()[0] == 0
    assert checkout.installs() == [[True, []], [True, []]]


def test_a_failed_addition_leaves_what_was_there(checkout):
    checkout.run()
    assert checkout.run("train", INSTALLER="fails")[0] == 1
    status, output, errors = checkout.run()
    assert (status, errors) == (0, "") and output
    assert checkout.installs() == [[True, []], [False, ["train"]]]


def test_somebody_elses_venv_is_left_alone(checkout):
    theirs = checkout.folder / ".venv" / "pyvenv.cfg"
    theirs.parent.mkdir()
    theirs.touch()
    status, output, errors = checkout.run()
    assert (status, output, checkout.installs()) == (1, None, [])
    assert "was not made by this program" in errors and theirs.exists()


def test_a_python_that_has_tfclic_is_used(checkout, tmp_path):
    for module in ["tfclic", "tensorflow", "tensorflow_compression"]:
        (tmp_path / "packages" / module).mkdir(parents=True)
        (tmp_path / "packages" / module / "__init__.py").touch()
    packages = str(tmp_path / "packages")
    status, output, errors = checkout.run("compress", "3", PYTHONPATH=packages)
    assert (status, errors, checkout.installs()) == (3, "", [])
    assert output["python"] == sys.executable
    # It has no training extras, so training needs an environment that does.
    assert checkout.run("train", PYTHONPATH=packages)[0] == 0
    assert checkout.installs() == [[True, ["train"]]]
