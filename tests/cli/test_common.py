"""Errors become sentences and exit statuses; one bad file does not stop the others."""

import argparse
import errno
import os
import subprocess
import sys
import threading
import types

import pytest

from tfclic import errors
from tfclic.cli import common


def fail(error):
    raise error


@pytest.mark.parametrize(
    "error, status",
    [
        (errors.UsageError("What."), 2),
        (errors.ImageError("What."), 3),
        (errors.FileFormatError("What."), 4),
        (errors.ModelError("What."), 5),
    ],
)
def test_errors_become_a_sentence_and_a_status(capsys, error, status):
    assert common.guarded(fail, error, "name") == status
    assert capsys.readouterr().err == "name: What.\n"


@pytest.mark.parametrize("name", ["compress", "tfclic compress"])
def test_sentences_begin_with_the_whole_name_of_a_subcommand(monkeypatch, capsys, name):
    monkeypatch.setattr(common, "PREFIX", "tfclic ")
    common.complain(name, "What.")
    assert capsys.readouterr().err == "tfclic compress: What.\n"


def test_an_interrupt_is_told(capsys):
    assert common.guarded(fail, KeyboardInterrupt(), "name") == 130
    assert capsys.readouterr().err == "name: Interrupted.\n"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no disk that is always full")
def test_a_full_disk_behind_stdout_is_told():
    program = """\
from tfclic.cli import common
common.run(lambda args: print("result") or 0, common.parser("name", ""), ["name"])
"""
    with open("/dev/full", "wb") as full:
        how = {"stdout": full, "stderr": subprocess.PIPE, "text": True}
        done = subprocess.run([sys.executable, "-c", program], **how)
    sentence = "name: The output cannot be written: No space left on device.\n"
    assert (done.returncode, done.stderr) == (2, sentence)


def test_a_full_disk_is_told_wherever_it_is(capsys):
    full = OSError(errno.ENOSPC, "No space")
    assert common.guarded(fail, full, "name") == 2
    assert capsys.readouterr().err == "name: The output cannot be written: No space.\n"
    with pytest.raises(PermissionError):
        common.guarded(fail, OSError(errno.EPERM, "No permission"), "name")


def test_nobody_has_to_listen(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    assert common.guarded(lambda args: 0, None, "name") == 0


def test_mistakes_of_ours_are_not_hidden():
    with pytest.raises(ZeroDivisionError):
        common.guarded(fail, ZeroDivisionError(), "name")


def test_each_file_is_worked_on_and_the_highest_status_is_told(capsys):
    def work(file):
        return file if isinstance(file, str) else fail(file)

    files = ["one", errors.FileFormatError("Bad file."), "two", errors.ImageError("Bad image.")]
    assert common.each_file("name", files, work) == 4
    told = capsys.readouterr()
    assert told.out == "one\ntwo\n"
    assert told.err == "name: Bad file.\nname: Bad image.\nname: 2 of 4 files failed.\n"


def test_files_are_finished_beside_the_next_and_told_in_order(capsys):
    second = threading.Event()

    def work(file):
        if file == "two":
            second.set()

        def finish():
            assert second.wait(60), "it is finished before the next is begun"
            return fail(errors.ImageError("Bad image.")) if file == "three" else file

        return finish if file != "plain" else file

    assert common.each_file("name", ["one", "two", "three", "plain", "five"], work) == 3
    told = capsys.readouterr()
    assert told.out == "one\ntwo\nplain\nfive\n"
    assert told.err == "name: Bad image.\nname: 1 of 5 files failed.\n"


def test_a_fatal_error_ends_the_work():
    with pytest.raises(errors.ModelError):
        common.each_file("name", [errors.ModelError("No."), 1 / 3], fail, fatal=errors.ModelError)


def test_what_stands_behind_two_dashes_is_a_path(monkeypatch):
    parser = common.parser("probe", "")
    parser.add_argument("files", nargs="+")
    parser.add_argument("-o")
    given = []
    monkeypatch.setattr(
        common,
        "app",
        types.SimpleNamespace(run=lambda *_, argv, flags_parser: given.append(flags_parser(argv))),
    )
    common.run(fail, parser, ["probe", "a.jpg", "-o", "b", "--", "-c.jpg", "d.jpg", "-o"])
    assert given[0].files == [
        "a.jpg",
        os.path.join(".", "-c.jpg"),
        "d.jpg",
        os.path.join(".", "-o"),
    ]
    assert given[0].o == "b"


@pytest.mark.parametrize("text, value", [("0", 0), ("100", 100), ("12.5", 12.5)])
def test_qualities_are_parsed(text, value):
    assert common.quality(text) == value


@pytest.mark.parametrize("text", ["-1", "101", "nan", "best", ""])
def test_other_qualities_are_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match="0 to 100"):
        common.quality(text)


def test_tensors_compare_by_value_where_a_program_traces_functions():
    program = """if True:
        import tfclic.cli.common as common

        def main(args):
            import tensorflow as tf

            compared = []
            tf.function(lambda x: compared.append(x == 1) or x)(tf.constant(1))
            print(type(compared[0]).__name__)

        common.run(main, common.parser("probe", ""), ["probe"], tensorflow=True)
    """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "SymbolicTensor"


@pytest.mark.parametrize(
    "encoding, told", [("utf-8", b"\xc3\xa4\\udce9"), ("ascii", b"\\xe4\\udce9")]
)
def test_names_that_are_no_text_are_told_all_the_same(encoding, told):
    """As a terminal has it whose locale is en_US.UTF-8, say, and another one."""
    program = """\
from tfclic.cli import common
def main(args):
    print("\\xe4\\udce9")
    return 0
common.run(main, common.parser("name", ""), ["name"])
"""
    environment = {**os.environ, "PYTHONIOENCODING": f"{encoding}:strict"}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, env=environment)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, told, b"")
