"""What the programs share: their arguments, their errors, their exit statuses, several files."""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import errno
import functools
import io
import math
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from absl import app, flags, logging

import tfclic
from tfclic import errors
from tfclic.format import header
from tfclic.runtime.c_api import without_remarks

if TYPE_CHECKING:
    import numpy as np

Item = TypeVar("Item")
Result = TypeVar("Result")

_FULL = errno.ENOSPC, errno.EDQUOT, errno.EFBIG  # disks, and what one may have of them
PREFIX = ""  # of the programs' names, where they are subcommands

EXIT_STATUSES = """\
exit status: 0 all good; 2 usage, or an output that exists or cannot be written; 3 image unreadable
or not supported; 4 file damaged or not a tfclic file; 5 model missing or not the one needed; 1
anything else; with several files, the highest of theirs."""


def parser(name: str, description: str, details: str = "") -> argparse.ArgumentParser:
    """Returns an argparse parser for the program `name`; `details` are shown below its options."""
    made = argparse.ArgumentParser(
        prog=PREFIX + name,
        description=description,
        epilog=f"{details}\n{EXIT_STATUSES}".strip(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.add_argument("--version", action="version", version=f"tfclic {tfclic.__version__}")
    return made


def add_kept_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what is to be kept beside an image's colours to an argparse parser."""
    parser.add_argument(
        "--background", metavar="COLOR",
        help="put transparent images on this colour (white, '#ff8800', ...); else alpha is kept",
    )  # fmt: skip
    parser.add_argument(
        "--strip", action="store_true", help="leave out colour profile, Exif and XMP"
    )


def add_max_pixels(parser: argparse.ArgumentParser) -> None:
    """Adds the most pixels of an image to an argparse parser."""
    parser.add_argument(
        "--max-pixels", metavar="N", type=_max_pixels, default=header.DEFAULT_MAX_PIXELS,
        help="refuse larger images before they are decoded; 0: none; default: %(default)s, as "
        "Pillow",
    )  # fmt: skip


def _max_pixels(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of pixels")
    return int(text) or header.MAX_PIXELS


def quality(text: str) -> float:
    """Returns the quality (float, 0..100) that `text` says; for argparse."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 0 to 100")
    return value


def qualities(text: str) -> list[float]:
    """Returns the qualities (list of float) that `text` says, with commas; for argparse."""
    values = [quality(word) for word in words(text)]
    if not values:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a list of qualities: there are no numbers in it"
        )
    return values


def words(text: str) -> list[str]:
    """Returns what stands between the commas of `text`, a list of str."""
    return [word.strip() for word in text.split(",") if word.strip()]


def above_zero(text: str) -> float:
    """Returns the finite number above 0 (float) that `text` says; for argparse."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return value


def run(
    main: Callable[[argparse.Namespace], int],
    arguments_parser: argparse.ArgumentParser,
    argv: list[str] | None = None,
    known_only: bool = False,
    tensorflow: bool = False,
) -> None:
    """Runs a program and ends the process with its exit status.

    Args:
      main: function of the parsed arguments; returns an exit status.
      arguments_parser: what `parser` returned.
      argv: the program's name first. None: sys.argv.
      known_only: whether arguments that the parser does not know go to `rest` instead of being
        refused.
      tensorflow: whether `main` uses TensorFlow's Python package.
    """
    quiet_tensorflow()
    # as stderr: names of files may be no text, or none of this terminal's
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")
    # An exception undoes what is half-written, where the signal itself would leave it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))

    def parse(words: list[str]) -> argparse.Namespace:
        flags.FLAGS.mark_as_parsed()
        if known_only:
            parsed, rest = arguments_parser.parse_known_args(words[1:])
            parsed = argparse.Namespace(**vars(parsed), rest=rest)
        else:
            parsed = arguments_parser.parse_intermixed_args(_plain(words[1:]))
        if tensorflow:
            # Imported once absl has started `main`, TensorFlow sets itself up before it has turned
            # eager execution on. Then `==` between tensors means identity where functions are
            # traced, and layers that ask whether a tensor equals 1 take the wrong way silently.
            with without_remarks():
                import tensorflow as _  # noqa: F401
        return parsed

    def guarded_main(args: argparse.Namespace) -> int:
        # The libraries' own remarks; absl shows them unless told otherwise after its start.
        logging.set_verbosity(logging.ERROR)
        return guarded(main, args, arguments_parser.prog)

    app.run(guarded_main, argv=argv, flags_parser=parse)


def _plain(words: list[str]) -> list[str]:
    """The words without their `--`: the paths behind it begin with ./ instead of a dash.

    Options among positional arguments make argparse lose what stands behind a `--`.
    """
    if "--" not in words:
        return words
    end = words.index("--")
    paths = words[end + 1 :]
    return words[:end] + [os.path.join(".", path) if path[:1] == "-" else path for path in paths]


def guarded(main: Callable[[argparse.Namespace], int], args: argparse.Namespace, name: str) -> int:
    """Returns `main(args)`; an error becomes a sentence on stderr and its exit status."""
    try:
        status = main(args)
        _flush()
        return status
    except errors.TfclicError as error:
        complain(name, error)
        return error.exit_status
    except KeyboardInterrupt:
        complain(name, "Interrupted.")
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # Who read our output has gone.
        _drop_output()
        return 128 + signal.SIGPIPE
    except OSError as error:
        if error.errno not in _FULL:
            raise
        complain(name, f"The output cannot be written: {error.strerror}.")
        try:
            _flush()
        except OSError:
            _drop_output()
        return errors.UsageError.exit_status


def _flush() -> None:
    """Writes what was printed; there may be no stdout."""
    print(end="", flush=True)


def _drop_output() -> None:
    """What is not yet written to stdout goes nowhere: the interpreter would complain once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def complain(name: str, sentence: object) -> None:
    """Prints a sentence for the user of the program `name` to stderr.

    `name` may have the `PREFIX` or not.
    """
    name = PREFIX + name.removeprefix(PREFIX)
    print(f"{name}: {sentence}", file=sys.stderr, flush=True)


def quiet_tensorflow() -> None:
    """Keeps TensorFlow's own remarks off stderr; to be called before it is imported."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def each_file(
    name: str,
    files: Sequence[Item],
    work: Callable[[Item], str | Callable[[], str]],
    fatal: type[errors.TfclicError] | tuple[()] = (),
) -> int:
    """Works through files: a line for each, a progress bar if there are several, their errors.

    Args:
      name: of the program.
      files: list of whatever `work` takes.
      work: function of one of `files`; returns the line that tells the result, or a function that
        finishes the work and returns it, which runs beside the work of the next file. Both may
        raise errors.TfclicError, which does not stop the others.
      fatal: class of errors that concern all files and are raised at once.

    Returns:
      The exit status: the highest of all files', 0 if all is good.
    """
    from tqdm import tqdm

    statuses = []

    def tell(result: str | errors.TfclicError) -> None:
        if fatal and isinstance(result, fatal):
            raise result
        with tqdm.external_write_mode():
            if isinstance(result, str):
                print(result, flush=True)
            else:
                complain(name, result)
        statuses.append(0 if isinstance(result, str) else result.exit_status)
        bar.update()

    def of(function: Callable[[], Result]) -> Result | errors.TfclicError:
        try:
            return function()
        except errors.TfclicError as error:
            return error

    # `None`: shown only if stderr is a terminal.
    hidden = None if len(files) > 1 else True
    with (
        tqdm(total=len(files), unit="file", leave=False, disable=hidden) as bar,
        concurrent.futures.ThreadPoolExecutor(1) as beside,
    ):
        unfinished: concurrent.futures.Future[str] | None = None
        for file in files:
            result = of(functools.partial(work, file))
            if unfinished:
                tell(of(unfinished.result))
            unfinished = beside.submit(result) if callable(result) else None
            if not callable(result):
                tell(result)
        if unfinished:
            tell(of(unfinished.result))
    failed = sum(status != 0 for status in statuses)
    if failed and len(files) > 1:
        complain(name, f"{failed} of {len(files)} files failed.")
    return max(statuses, default=0)


def read_coded(path: str) -> bytes:
    """Returns the bytes of a `.tfclic` file; raises errors.FileFormatError if there is none."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except IsADirectoryError as error:
        raise errors.FileFormatError(f"{path} is a folder; name the files in it.") from error
    except OSError as error:
        raise errors.FileFormatError(f"{path} cannot be read: {error.strerror}.") from error


@contextlib.contextmanager
def tiles_bar(path: str) -> Iterator[Callable[[int, int], None]]:
    """Yields a `progress` for `tfclic.runtime.Codec`: a bar, if stderr is a terminal.

    Args:
      path: of the file, to be shown. An image in one piece, which has two steps at most, has no
        bar.
    """
    from tqdm import tqdm

    bar = tqdm(desc=os.path.basename(path), unit="step", leave=False, disable=None, delay=0.5)

    def progress(done: int, total: int) -> None:
        if total <= 2:
            return
        if done <= bar.n or bar.total != total:
            # the next pass over the image
            bar.reset(total)
        bar.update(done - bar.n)

    with bar:
        yield progress


def size_of(path: str) -> int | None:
    """The bytes of a file; None if it is no regular one, such as a pipe, which has no size."""
    return os.path.getsize(path) if os.path.isfile(path) else None


def result_line(
    source: str,
    target: str,
    pixels: np.ndarray,
    coded_bytes: int,
    seconds: float,
    image_size: tuple[int, int] | None = None,
) -> str:
    """Returns the line that tells what became of one file.

    Args:
      source: path of the file that was read.
      target: path of the file that was written.
      pixels: uint8 array [H, W, 3] or [H, W], the image.
      coded_bytes: size of the `.tfclic` file.
      seconds: without starting TensorFlow and loading the model.
      image_size: (width, height) of what is coded, if `pixels` are a part of it.
    """
    height, width = pixels.shape[:2]
    coded_width, coded_height = image_size or (width, height)
    coded_pixels = coded_width * coded_height
    samples = pixels[0, 0].size * coded_pixels
    sizes, before = f"{os.path.getsize(target):,} bytes", size_of(source)
    if before is not None:
        sizes = f"{before:,} -> {sizes}"
    rate = f"{8 * coded_bytes / coded_pixels:.3f} bpp, {samples / coded_bytes:.1f}:1 of raw"
    return f"{source} -> {target}: {width}x{height}, {sizes}, {rate}, {seconds:.2f} s"
