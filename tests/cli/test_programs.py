"""`tfclic`, the one command: completion for shells. tests/test_wheel.py tries the rest."""

import shutil
import subprocess
import sys

import pytest

from tfclic.cli import programs


def run(*words):
    with pytest.raises(SystemExit) as caught:
        programs.main(["tfclic", *words])
    return caught.value.code


@pytest.mark.parametrize("shell", programs.SHELLS)
def test_shells_complete_programs_and_arguments(shell, capsys):
    assert run("completion", shell) == 0
    script = capsys.readouterr().out
    for word in (*programs.PROGRAMS, "--quality", "--strip", "--region", "--workdir"):
        assert word.lstrip("-") in script, word


@pytest.mark.skipif(not shutil.which("bash"), reason="there is no bash")
@pytest.mark.parametrize(
    "words, wanted",
    [
        (["tfclic", "comp"], {"compress", "compress_corpus", "completion"}),
        (["tfclic", "compress", "--qu"], {"--quality", "--quality-map"}),
        (["tfclic", "recode", "--coder", ""], {"range", "interleaved"}),
        (["tfclic", "compress", "pho"], {"photo.jpg"}),
    ],
)
def test_bash_completes(words, wanted, tmp_path, capsys):
    assert run("completion", "bash") == 0
    (tmp_path / "script").write_text(capsys.readouterr().out)
    (tmp_path / "photo.jpg").touch()
    quoted = " ".join(f"'{word}'" for word in words)
    program = (
        f"source ./script; COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; "
        'function=$(complete -p tfclic | sed "s/.*-F \\([^ ]*\\).*/\\1/"); $function; '
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert set(done.stdout.split()) == wanted, done.stderr


def test_other_shells_are_refused(capsys):
    assert run("completion", "cmd") == 2
    assert "bash, zsh, tcsh" in capsys.readouterr().err


def test_what_is_missing_is_named(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert run("completion", "bash") == 1
    assert "pip install 'tfclic[completion]'" in capsys.readouterr().err


def test_an_interrupt_while_a_program_is_imported_is_told(monkeypatch, capsys):
    def interrupted(name):
        raise KeyboardInterrupt

    monkeypatch.setattr(programs.common, "PREFIX", "")
    monkeypatch.setattr(programs.importlib, "import_module", interrupted)
    assert run("compress") == 130
    assert capsys.readouterr().err == "tfclic compress: Interrupted.\n"
