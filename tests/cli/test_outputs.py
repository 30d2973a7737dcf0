"""Where outputs go, what they never replace, and that they appear whole or not at all."""

import os
import random
import subprocess
import sys
import time

import pytest

from tfclic import errors
from tfclic.cli import outputs


def test_the_default_is_beside_the_input():
    assert outputs.plan(["a/b.x.jpg", "c.png"], None, ".tfclic") == [
        ("a/b.x.jpg", os.path.join("a", "b.x.tfclic")),
        ("c.png", "c.tfclic"),
    ]


def test_one_input_goes_to_the_named_file():
    assert outputs.plan(["a.jpg"], "other", ".tfclic") == [("a.jpg", "other")]


@pytest.mark.parametrize("name", ["new/", "there"])
def test_a_folder_is_made_or_taken(tmp_path, name):
    (tmp_path / "there").mkdir()
    folder = str(tmp_path / name)
    pairs = outputs.plan(["a/b.jpg"], folder + "/" * name.endswith("/"), ".tfclic")
    assert [os.path.normpath(target) for _, target in pairs] == [os.path.join(folder, "b.tfclic")]
    assert os.path.isdir(folder)


def test_several_inputs_go_to_a_folder_and_to_nothing_else(tmp_path):
    folder = str(tmp_path / "new" / "folder")
    pairs = outputs.plan(["a.jpg", "b/c.jpg"], folder, ".tfclic")
    assert [target for _, target in pairs] == [
        os.path.join(folder, "a.tfclic"),
        os.path.join(folder, "c.tfclic"),
    ]
    assert os.path.isdir(folder)
    (tmp_path / "file").touch()
    with pytest.raises(errors.UsageError, match="is not a folder"):
        outputs.plan(["a.jpg", "b.jpg"], str(tmp_path / "file"), ".tfclic")


@pytest.mark.parametrize("inputs", [["a.jpg", "a.png"], ["a.jpg", "a.jpg"], ["a.jpg", "./a.jpg"]])
def test_two_inputs_for_one_output_are_refused(inputs):
    with pytest.raises(errors.UsageError, match="would both be written to"):
        outputs.plan(inputs, None, ".tfclic")


@pytest.mark.parametrize("inputs, output", [(["-"], "a"), (["a.jpg", "-"], "b"), (["a.jpg"], "-")])
def test_streams_are_refused_and_no_file_is_called_so(inputs, output):
    with pytest.raises(errors.UsageError, match=r"by their names, not by -"):
        outputs.plan(inputs, output, ".tfclic")
    assert outputs.plan(["./-"], "./-", ".tfclic") == [("./-", "./-")]


def test_an_existing_file_is_replaced_by_force_only(tmp_path):
    target = tmp_path / "file"
    target.write_bytes(b"old")
    for refuse in (outputs.check, outputs.write):
        with pytest.raises(errors.UsageError, match="exists already; --force replaces it"):
            refuse(str(target), b"", False)
    assert target.read_bytes() == b"old"
    outputs.check(str(target), [], True)
    outputs.write(str(target), b"new", True)
    assert target.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["file"]


def test_an_input_is_never_replaced(tmp_path):
    (tmp_path / "photo").touch()
    (tmp_path / "link").symlink_to("photo")
    with pytest.raises(errors.UsageError, match="is an input too"):
        outputs.check(str(tmp_path / "link"), [str(tmp_path / "photo")], True)


def test_what_is_no_plain_file_is_never_replaced():
    with pytest.raises(errors.UsageError, match="not a file that can be replaced"):
        outputs.check(os.devnull, [], True)


def test_a_missing_folder_is_told(tmp_path):
    target = str(tmp_path / "missing" / "file")
    with pytest.raises(errors.UsageError, match="there is no folder"):
        outputs.check(target, [], False)
    with pytest.raises(errors.UsageError, match="No such file or directory"):
        outputs.write(target, b"", False)


def test_content_may_be_written_by_a_function(tmp_path):
    target = tmp_path / "new"
    outputs.write(str(target), lambda file: file.write(b"whole"), False)
    assert target.read_bytes() == b"whole"
    assert os.listdir(tmp_path) == ["new"]


def test_a_function_that_fails_leaves_what_was_there(tmp_path):
    target = tmp_path / "old"
    target.write_bytes(b"before")

    def fail(file):
        file.write(b"half")
        raise errors.UsageError("no")

    with pytest.raises(errors.UsageError):
        outputs.write(str(target), fail, True)
    assert target.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["old"]


def test_a_link_goes_on_pointing_to_what_is_written(tmp_path):
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "link").symlink_to("file")
    outputs.write(str(tmp_path / "link"), b"new", True)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"new"


def test_permissions_follow_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        outputs.write(str(tmp_path / "file"), b"", False)
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


def test_file_systems_without_hard_links_do(tmp_path, monkeypatch):
    def link(*_, **__):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    target = tmp_path / "file"
    outputs.write(str(target), b"first", False)
    with pytest.raises(errors.UsageError, match="exists already"):
        outputs.write(str(target), b"second", False)
    assert target.read_bytes() == b"first"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit, OSError(28, "No space left")])
def test_nothing_is_left_of_what_is_cut_short(tmp_path, monkeypatch, stop):
    def replace(*_):
        raise stop

    monkeypatch.setattr(os, "replace", replace)
    expected = errors.UsageError if isinstance(stop, OSError) else stop
    with pytest.raises(expected):
        outputs.write(str(tmp_path / "file"), b"data", True)
    assert os.listdir(tmp_path) == []


def test_a_system_without_unnamed_files_does(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    outputs.write(str(tmp_path / "file"), b"first", False)
    outputs.write(str(tmp_path / "file"), b"second", True)
    with pytest.raises(errors.UsageError, match="exists already"):
        outputs.write(str(tmp_path / "file"), b"third", False)
    assert (tmp_path / "file").read_bytes() == b"second"
    assert os.listdir(tmp_path) == ["file"]


WRITER = """
import sys
from tfclic.cli import outputs
for i in range(1000):
    outputs.write(f"{sys.argv[1]}/{i % 5}", bytes(20_000_000), i >= 5)
"""


def test_a_killed_process_leaves_whole_files_only(tmp_path):
    for kill in range(3):
        folder = tmp_path / str(kill)
        folder.mkdir()
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(folder)])
        while not (folder / "4").exists():
            assert writer.poll() is None
        time.sleep(random.Random(kill).uniform(0, 0.1))
        writer.kill()
        writer.wait()
        names = [name for name in os.listdir(folder) if not name.startswith(".tfclic-")]
        assert sorted(names) == ["0", "1", "2", "3", "4"]
        assert {(folder / name).stat().st_size for name in names} == {20_000_000}
