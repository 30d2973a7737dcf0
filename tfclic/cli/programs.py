"""`tfclic PROGRAM ...`: all programs by one name, as an installed package has them.

What they need beyond the plain installation are extras of it; `bin/` in a checkout installs these
by itself.
"""

from __future__ import annotations

import argparse
import importlib
import re
import signal
import sys
from typing import NamedTuple

import tfclic
from tfclic.cli import common


class Program(NamedTuple):
    """A module here that has a `main`: the extra it needs ("": none), and what it does."""

    extra: str
    purpose: str


PROGRAMS = {
    "compress": Program("", "images to small .tfclic files"),
    "decompress": Program("", ".tfclic files back to images"),
    "recode": Program("", ".tfclic files anew, with another coder"),
    "inspect": Program("eval", "what is in a .tfclic file, and pictures of it"),
    "evaluate": Program("eval", "measures codecs on a folder of images"),
    "compress_corpus": Program("corpus", "many images, on Apache Beam or Dask"),
    "decompress_corpus": Program("corpus", "many .tfclic files, on Apache Beam or Dask"),
    "serve": Program("serve", "a server with TensorFlow Serving's interfaces"),
    "train": Program("train", "trains a model"),
    "export": Program("train", "makes a model that was trained ready to use"),
}


COMPLETION = "completion"
SHELLS = "bash", "zsh", "tcsh"


def usage() -> str:
    """What `tfclic --help` prints."""
    lines = [f"  {name:<18} {program.purpose}" for name, program in PROGRAMS.items()]
    return "\n".join(
        [
            "usage: tfclic PROGRAM [ARGUMENT ...]",
            "",
            "Learned image compression.",
            "",
            "programs:",
            *lines,
            "",
            "tfclic PROGRAM --help tells what one of them takes, tfclic --version the version, and",
            "tfclic completion SHELL prints a script with which the shell completes all this.",
        ]
    )


def complete(words: list[str]) -> int:
    """Prints what makes a shell, the only word, complete programs and arguments; returns a status.

    Programs whose extra is not installed are completed by name only.
    """
    if len(words) != 1 or words[0] not in SHELLS:
        common.complain("tfclic completion", f"Which shell? It knows {', '.join(SHELLS)}.")
        return 2
    try:
        import shtab
    except ModuleNotFoundError:
        sentence = "shtab is missing; pip install 'tfclic[completion]' brings it."
        common.complain("tfclic completion", sentence)
        return 1
    whole = argparse.ArgumentParser("tfclic")
    whole.add_argument("--version", action="version", version=f"tfclic {tfclic.__version__}")
    below = whole.add_subparsers()
    script = below.add_parser(COMPLETION, help="prints a script that completes all this")
    script.add_argument("shell", choices=SHELLS)
    for name, program in PROGRAMS.items():
        try:
            parents = [importlib.import_module(f"tfclic.cli.{name}").make_parser()]
        except ModuleNotFoundError:
            parents = []
        for action in (action for parent in parents for action in parent._actions):
            if re.search("FILE|PHOTO|IMAGE|DIR|PATH|folder", f"{action.metavar} {action.help}"):
                action.complete = shtab.FILE
        parser = below.add_parser(name, parents=parents, add_help=not parents, help=program.purpose)
        parser.prog = f"tfclic {name}"
    print(shtab.complete(whole, words[0]))
    return 0


def main(argv: list[str] | None = None) -> None:
    """Runs the program that `argv` names after its own (sys.argv if None), and ends the process."""
    words = sys.argv[1:] if argv is None else argv[1:]
    name = words[0] if words else ""
    if name in ("-h", "--help"):
        print(usage())
        sys.exit(0)
    if name == "--version":
        print(f"tfclic {tfclic.__version__}")
        sys.exit(0)
    if name == COMPLETION:
        sys.exit(complete(words[1:]))
    if name not in PROGRAMS:
        said = f"There is no program {name}." if name else "Which program?"
        common.complain("tfclic", f"{said} tfclic --help lists them.")
        sys.exit(2)
    common.PREFIX = "tfclic "
    try:
        program = importlib.import_module(f"tfclic.cli.{name}")
        program.main([f"tfclic {name}", *words[1:]])
    except KeyboardInterrupt:
        # while its modules are imported; later it says so itself
        common.complain(f"tfclic {name}", "Interrupted.")
        sys.exit(128 + signal.SIGINT)
    except ModuleNotFoundError as error:
        extra = PROGRAMS[name].extra
        if not extra or (error.name or "").startswith("tfclic"):
            raise
        common.complain(
            f"tfclic {name}", f"{error.name} is missing; pip install 'tfclic[{extra}]' brings it."
        )
        sys.exit(1)


if __name__ == "__main__":
    main()
