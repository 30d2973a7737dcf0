"""Makes the tables of the documents again: runs the commands that they name.

    python benchmarks/tables.py --list [DOC ...]
    python benchmarks/tables.py --output DIR --set KODAK=FOLDER [--set NAME=VALUE ...] [DOC ...]

Commands are taken from the documents (docs/*.md), where tables stand below them: lines of code
that begin with `python benchmarks/` or `bin/evaluate`. What such a line has in capitals is a place
for a value: KODAK and FOLDER are folders of images, RUN is the folder of a training run,
kodimNN.png are images in KODAK, and so on. A command with a place that has no value is left out,
and named.

Each command's output goes to a file of DIR. When the program is run again it goes on with what is
not done; --again begins anew. --list prints the commands and what earlier runs into --output took.
Figures of speed are worth something only if nothing else runs on the machine. Trainings, which take
hours or days, are left out unless --trainings is given.

exit status: 0 all good; 1 a command failed; 2 usage.
"""

import argparse
import json
import pathlib
import re
import shlex
import subprocess
import sys
import time
import zlib
from typing import NamedTuple

ROOT = pathlib.Path(__file__).parents[1]
BEGINNINGS = "python benchmarks/", "bin/evaluate "
PLACE = re.compile(r"\b[A-Z]{2,}\b(?!:|=)")
IMAGE = re.compile(r"\bkodim\d\d\.png\b")
OPTIONAL = re.compile(r"[\[\]|]|\.\.\.")  # a synopsis, not a command
TRAININGS = "ablation", "recipe", "trainings", "bfloat16_model"
WRITES = "--write"  # of what changes the checkout


class Command(NamedTuple):
    """A command that a document names.

    Attributes:
      document: str, the document's folder and name.
      line: str, as it stands there, in one line.
    """

    document: str
    line: str

    @property
    def name(self) -> str:
        """What its output is called, str."""
        words = re.sub(r"[^\w.@-]+", "_", self.line.removeprefix(BEGINNINGS[0]))
        number = zlib.crc32(self.line.encode())
        return f"{pathlib.Path(self.document).stem}-{words[:80]}-{number:08x}"

    @property
    def trains(self) -> bool:
        """Whether it makes trainings, bool."""
        return self.line.removeprefix(BEGINNINGS[0]).startswith(TRAININGS)

    def places(self) -> list[str]:
        """What has to have a value, list of str."""
        found = dict.fromkeys(PLACE.findall(self.line))
        return [*found, *(["KODAK"] if IMAGE.search(self.line) and "KODAK" not in found else [])]

    def filled(self, values: dict[str, str]) -> list[str]:
        """The arguments, with values in their places, list of str."""

        def arguments():
            for word in shlex.split(self.line):
                word = IMAGE.sub(lambda match: f"{values['KODAK']}/{match[0]}", word)
                yield PLACE.sub(lambda match: values.get(match[0], match[0]), word)

        program, *rest = arguments()
        return [sys.executable, *rest] if program == "python" else [str(ROOT / program), *rest]


def commands(document: pathlib.Path) -> list[Command]:
    """The commands in a document, as often as it names them."""
    found, joined = [], ""
    for line in document.read_text(encoding="utf-8").splitlines():
        if not joined and not line.startswith(tuple("    " + each for each in BEGINNINGS)):
            continue
        joined += line.strip().removesuffix("\\")
        if not line.endswith("\\"):
            text = " ".join(joined.split("#")[0].split())
            if not OPTIONAL.search(text) and WRITES not in text.split():
                found.append(Command(f"{document.parent.name}/{document.name}", text))
            joined = ""
    return found


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f} min"


def _value(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not PLACE.fullmatch(name):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE, with a name in capitals.")
    return name, value


def _arguments() -> argparse.Namespace:
    summary, _, rest = __doc__.partition("\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("documents", nargs="*", type=pathlib.Path, help="(default: docs/*.md)")
    parser.add_argument("--list", action="store_true", help="print the commands, run none")
    parser.add_argument("--output", type=pathlib.Path, metavar="DIR", help="where outputs go")
    parser.add_argument("--set", type=_value, action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--only", metavar="TEXT", help="only commands that contain this")
    parser.add_argument("--again", action="store_true", help="also what is done")
    parser.add_argument("--trainings", action="store_true", help="also commands that train")
    arguments = parser.parse_args()
    if not arguments.list and arguments.output is None:
        parser.error("--output is needed, or --list.")
    missing = [str(path) for path in arguments.documents if not path.is_file()]
    if missing:
        parser.error(f"There is no {', no '.join(missing)}.")
    return arguments


def _earlier(path: pathlib.Path) -> dict[str, float]:
    """Seconds of the commands that are done, by name, from the folder of outputs."""
    return json.loads(path.read_text()) if path.exists() else {}


def run(command: Command, values: dict[str, str], output: pathlib.Path) -> float | None:
    """Runs a command from the root of the checkout.

    Returns:
      Its seconds; or None, if it failed.
    """
    start = time.monotonic()
    with output.open("w", encoding="utf-8") as file:
        file.write(f"$ {command.line}\n")
        file.flush()
        done = subprocess.run(
            command.filled(values), cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, check=False
        )
    return time.monotonic() - start if done.returncode == 0 else None


def main() -> int:
    arguments = _arguments()
    documents = arguments.documents or sorted((ROOT / "docs").glob("*.md"))
    named = [command for document in documents for command in commands(document)]
    wanted = [
        command
        for command in dict.fromkeys(named)
        if (arguments.only or "") in command.line and (arguments.trainings or not command.trains)
    ]
    values = dict(arguments.set)
    record = arguments.output / "seconds.json" if arguments.output else pathlib.Path("/nonexistent")
    seconds = _earlier(record)
    if arguments.output and not arguments.list:
        arguments.output.mkdir(parents=True, exist_ok=True)
    failed = 0
    for command in wanted:
        missing = [place for place in command.places() if place not in values]
        told = f"{command.document}: {command.line}"
        if arguments.list:
            took = f"  # {_minutes(seconds[command.name])}" if command.name in seconds else ""
            print(told + took)
        elif missing:
            print(f"{told}\n  left out: no --set {'=, --set '.join(missing)}=")
        elif command.name in seconds and not arguments.again:
            print(f"{told}\n  is done: {_minutes(seconds[command.name])}")
        else:
            print(told, flush=True)
            target = arguments.output / f"{command.name}.txt"
            took = run(command, values, target)
            failed += took is None
            if took is not None:
                seconds[command.name] = took
                record.write_text(json.dumps(seconds, indent=1) + "\n")
            print(f"  {'failed' if took is None else _minutes(took)}: {target}", flush=True)
    known = [seconds[command.name] for command in wanted if command.name in seconds]
    if known:
        print(f"{len(known)} of {len(wanted)} commands took {_minutes(sum(known))}.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
