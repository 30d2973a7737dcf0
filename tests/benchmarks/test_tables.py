"""Commands are found in documents, get their values, and are run once."""

import json
import pathlib
import subprocess
import sys

import pytest

DOCUMENT = """# Tables

    python benchmarks/first.py KODAK --say hello  # a comment
    python benchmarks/second.py [IMAGE ...]
    python benchmarks/vectors.py --write

and

    bin/evaluate --images FOLDER \\
      --model NAME@9

    python benchmarks/recipe.py --steps 600
    python benchmarks/first.py kodim05.png --fail
    python other.py
"""
FIRST = """
import sys
print(sys.argv[1:])
sys.exit("--fail" in sys.argv)
"""


@pytest.fixture(scope="module")
def tables(load_benchmark):
    return load_benchmark("tables")


@pytest.fixture
def document(tables, tmp_path, monkeypatch):
    """A checkout's only document."""
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "first.py").write_text(FIRST)
    (tmp_path / "docs").mkdir()
    path = tmp_path / "docs" / "tables.md"
    path.write_text(DOCUMENT)
    monkeypatch.setattr(tables, "ROOT", tmp_path)
    return path


def call(tables, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["tables.py", *map(str, arguments)])
    return tables.main()


def test_commands_are_those_that_can_be_run(tables, document):
    first, evaluate, recipe, failing = tables.commands(document)
    assert first == ("docs/tables.md", "python benchmarks/first.py KODAK --say hello")
    assert evaluate.line == "bin/evaluate --images FOLDER --model NAME@9"
    assert [each.places() for each in (first, evaluate, recipe, failing)] == [
        ["KODAK"],
        ["FOLDER", "NAME"],
        [],
        ["KODAK"],
    ]
    assert recipe.trains and not first.trains
    filled = evaluate.filled({"FOLDER": "my images", "NAME": "mine"})
    assert filled[1:] == ["--images", "my images", "--model", "mine@9"]
    assert failing.filled({"KODAK": "k"})[2] == "k/kodim05.png"


def test_what_is_done_is_not_done_again(tables, document, tmp_path, monkeypatch, capsys):
    output = tmp_path / "out"
    arguments = "--output", output, "--set", "KODAK=kodak", document
    assert call(tables, monkeypatch, *arguments, "--only", "hello") == 0
    told = capsys.readouterr().out
    assert "first.py" in told and "second.py" not in told
    (file,) = output.glob("*.txt")
    command, printed = file.read_text().splitlines()
    assert command == "$ python benchmarks/first.py KODAK --say hello"
    assert printed == str(["kodak", "--say", "hello"])
    assert len(json.loads((output / "seconds.json").read_text())) == 1
    assert call(tables, monkeypatch, *arguments, "--only", "hello") == 0
    assert "is done" in capsys.readouterr().out


def test_failures_and_missing_values_are_told(tables, document, tmp_path, monkeypatch, capsys):
    output = tmp_path / "out"
    assert call(tables, monkeypatch, "--output", output, "--set", "KODAK=kodak", document) == 1
    told = capsys.readouterr().out
    assert "left out: no --set FOLDER=, --set NAME=" in told
    assert "failed" in told and "recipe" not in told
    # what failed is tried again
    assert call(tables, monkeypatch, "--output", output, "--set", "KODAK=kodak", document) == 1
    with pytest.raises(SystemExit) as ended:
        call(tables, monkeypatch, "--output", output, "--set", "kodak")
    assert ended.value.code == 2


def test_documents_name_benchmarks_that_are_there(tables):
    root = pathlib.Path(__file__).parents[2]
    named = [each for path in (root / "docs").glob("*.md") for each in tables.commands(path)]
    assert len(named) > 20
    for command in named:
        assert (root / command.filled(dict.fromkeys(command.places(), "x"))[1]).exists() or (
            "bin/" in command.line
        )


def test_list_runs_nothing():
    root = pathlib.Path(__file__).parents[2]
    command = [sys.executable, root / "benchmarks" / "tables.py", "--list", "--only", "speed.py"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    wanted = "docs/speed.md: python benchmarks/speed.py --families gmm_attention"
    assert wanted in done.stdout
