"""Starts `tfclic.cli.NAME` in a Python that has what it needs, making `.venv` for it if necessary.

Shared by the programs beside it. It uses the standard library only and parses on Python 3.6, so
that a Python without TensorFlow 2.14 is refused with a sentence and not with a syntax error.

The stamp inside `.venv` says that it is ours and, once set-up has ended, what was installed. It
says "unfinished" while anything is being installed, so what a killed set-up leaves behind is never
used. Starting with a finished stamp costs one read of `setup.cfg` and one `execv`.
"""

import hashlib
import importlib.util
import json
import os
import platform
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
EXTRAS = {
    "compress": "",
    "decompress": "",
    "compress_corpus": "corpus",
    "decompress_corpus": "corpus",
    "train": "train",
    "export": "train",
    "recode": "",
    "evaluate": "eval",
    "inspect": "eval",
    "serve": "serve",
    "test": "dev",
}
EVALUATION = (
    "bjontegaard",
    "flip_evaluator",
    "imagecodecs",
    "jinja2",
    "matplotlib",
    "pillow_heif",
    "plotly",
)
SERVING = ("aiohttp", "grpc_health", "prometheus_client", "tensorflow_serving")
# OpenTelemetry has no module of its own name; this one it brings along.
TRACING = ("deprecated",)
# One module each is enough to tell whether an extra of setup.cfg was installed.
MARKS = {
    "": ("tfclic", "tensorflow", "tensorflow_compression"),
    "train": ("bjontegaard", "matplotlib", "ml_collections", "tensorflow_serving"),
    "eval": EVALUATION,
    "portable": ("jax",),
    "corpus": ("apache_beam",),
    "corpus-dask": ("apache_beam", "bokeh", "distributed"),
    "serve": SERVING,
    "tracing": (*SERVING, *TRACING),
    "dev": (
        *EVALUATION,
        *SERVING,
        *TRACING,
        "ml_collections",
        "jax",
        "apache_beam",
        "bokeh",
        "distributed",
        "imageio_ffmpeg",
        "psnr_hvsm",
        "sewar",
        "pytest",
        "xdist",
        "playwright",
        "ruff",
        "importlinter",
        "mypy",
        "scipy",
        "shtab",
    ),
}
# For which Pythons there is any TensorFlow that models run on; and which extras need TensorFlow
# 2.14, and up to which Python there is that.
FIRST, LAST = (3, 9), (3, 13)
OLDER, LAST_OF_OLDER = ("dev", "portable", "train"), (3, 11)
VENV = os.path.join(ROOT, ".venv")
VENV_PYTHON = os.path.join(VENV, "bin", "python")
STAMP = os.path.join(VENV, "tfclic-setup.json")
LOCK = VENV + ".lock"
UNFINISHED = {"unfinished": True}


class SetupError(Exception):
    """Set-up cannot go on: one sentence for the user, and the exit status."""

    def __init__(self, sentence, exit_status=1):
        super().__init__(sentence)
        self.exit_status = exit_status


def launch(name):
    """Runs `tfclic.cli.<name>` with this process's arguments; does not come back."""
    extra = EXTRAS[name]
    if not extra and any(word.split("=")[0] == "--server" for word in sys.argv[1:]):
        extra = EXTRAS["serve"]
    if extra == "corpus" and asks_for_dask(sys.argv[1:]):
        extra = "corpus-dask"
    if name == "serve" and any(word.split("=")[0] == "--traces" for word in sys.argv[1:]):
        extra = "tracing"
    if usable_here(extra):
        run(name, sys.argv[1:])
        sys.exit(0)
    try:
        if not is_ready(read_stamp(), extra):
            set_up(name, extra)
        os.execv(VENV_PYTHON, [VENV_PYTHON, os.path.realpath(__file__), name] + sys.argv[1:])
    except SetupError as error:
        say(error, name)
        sys.exit(error.exit_status)
    except OSError as error:
        say(f"cannot set up {VENV}: {error.strerror or error} ({error.filename}).", name)
        sys.exit(1)
    except KeyboardInterrupt:
        say("set-up was interrupted; the next start does it again.", name)
        sys.exit(130)


def asks_for_dask(arguments):
    """True if the arguments of a program say `--runner dask`."""
    words = [word for argument in arguments for word in argument.split("=", 1)]
    return any(pair == ("--runner", "dask") for pair in zip(words, words[1:]))


def run(name, arguments):
    """Runs `tfclic.cli.<name>` in this Python as `python -m` does, but always this checkout's.

    The current folder is not on the path: no file that lies beside a user's photographs may be
    imported in place of a module.
    """
    import runpy

    here = os.path.join(ROOT, "bin")
    sys.path[:] = [ROOT] + [entry for entry in sys.path if entry not in (ROOT, here)]
    sys.argv[:] = [os.path.join(here, name)] + arguments
    try:
        runpy.run_module("tfclic.cli." + name, run_name="__main__", alter_sys=True)
    except KeyboardInterrupt:
        # while its modules are imported; later it says so itself
        say("Interrupted.", name)
        sys.exit(130)


def say(sentence, name="tfclic"):
    print(f"{name}: {sentence}", file=sys.stderr, flush=True)


def usable_here(extra):
    """True if this Python, other than `.venv`'s, imports tfclic and what it needs for `extra`."""
    if os.path.realpath(sys.prefix) == os.path.realpath(VENV):
        return False
    needed = list(MARKS[""] + MARKS[extra])
    if extra not in OLDER and not has_compression(sys.version_info[:2]):
        needed.remove("tensorflow_compression")
    for module in needed:
        spec = importlib.util.find_spec(module)
        # A folder that merely has the name is found as a namespace package, without an origin.
        if spec is None or spec.origin is None:
            return False
    return True


def read_stamp():
    """What the stamp says: {} if there is none, `UNFINISHED` if it cannot be read."""
    try:
        with open(STAMP, encoding="utf-8") as file:
            return json.load(file)
    except FileNotFoundError:
        return {}
    except ValueError:
        return UNFINISHED


def write_stamp(stamp):
    temporary = STAMP + ".tmp"
    with open(temporary, "w", encoding="utf-8") as file:
        json.dump(stamp, file)
    os.replace(temporary, STAMP)


def new_stamp(extras, version):
    """The stamp of a finished `.venv` with `extras`, made by a Python of `version`, [3, minor]."""
    with open(os.path.join(ROOT, "setup.cfg"), "rb") as file:
        requirements = hashlib.sha256(file.read()).hexdigest()
    python = os.path.realpath(VENV_PYTHON)
    stamp = {"root": ROOT, "python": python, "version": version}
    return dict(stamp, requirements=requirements, extras=extras)


def is_whole(stamp):
    """True if `.venv` was finished, and neither the checkout nor its Python has changed place."""
    python = os.path.realpath(VENV_PYTHON)
    return stamp.get("root") == ROOT and stamp.get("python") == python and os.path.exists(python)


def is_ready(stamp, extra):
    """True if `.venv` is whole and has what `setup.cfg` now asks for, `extra` included."""
    if not is_whole(stamp) or not is_current(stamp):
        return False
    return extra in stamp["extras"] or "dev" in stamp["extras"] or not extra


def is_current(stamp):
    """True if `setup.cfg` asks for what was installed."""
    return stamp == new_stamp(stamp["extras"], stamp.get("version"))


def has_compression(version):
    """True if there is a TensorFlow Compression for this machine and a Python of `version`."""
    return platform.machine() == "x86_64" and tuple(version) <= LAST_OF_OLDER


def suits(version, extras):
    """True if there is what `extras` need for a Python of `version`, (3, minor)."""
    return FIRST <= tuple(version) <= (LAST_OF_OLDER if set(extras) & set(OLDER) else LAST)


def set_up(name, extra):
    """Makes or completes `.venv`, or waits until another process has done so."""
    check_processor(extra)
    with open(LOCK, "a") as lock:
        wait_for(lock)
        stamp = read_stamp()
        if is_ready(stamp, extra):
            return
        extras = sorted(set(stamp.get("extras", [])) | ({extra} if extra else set()))
        version = stamp.get("version") or list(FIRST)
        if not is_whole(stamp) or not suits(version, extras):
            check_python(name, sys.version_info, extras)
            clear(stamp)
            stamp, version = UNFINISHED, list(sys.version_info[:2])
            say("setting up .venv (once, about two minutes) ...")
        elif not is_current(stamp):
            say("setup.cfg has changed; updating .venv ...")
        else:
            say(f"adding what {name} needs to .venv ...")
        write_stamp(UNFINISHED)
        for command in steps(extras, fresh=stamp is UNFINISHED):
            if not succeeds(command, lock):
                # pip has undone what it began, so what was whole before is whole again.
                write_stamp(stamp)
                raise SetupError(".venv could not be set up; the lines above say why.")
        write_stamp(new_stamp(extras, version))
        say(".venv is ready.")


def wait_for(lock):
    import fcntl

    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("waiting for another process that is setting up .venv ...")
        fcntl.flock(lock, fcntl.LOCK_EX)


def check_processor(extra):
    """Raises SetupError unless there is what `extra` needs for this processor."""
    if extra in OLDER and not has_compression(FIRST):
        raise SetupError(
            "needs TensorFlow Compression, which there is for x86-64 processors alone.",
            exit_status=2,
        )


def check_python(name, version, extras):
    """Raises SetupError unless there is what `extras` need for a Python of `version`, a tuple."""
    if not suits(version[:2], extras):
        wanted = "3.9 to 3.13" if suits(LAST, extras) else "3.9, 3.10 or 3.11"
        found = ".".join(map(str, version[:3]))
        raise SetupError(
            f"needs Python {wanted}, and this is Python {found} ({sys.executable}); "
            f"start it as, for example, `python3.11 {os.path.join('bin', name)}`.",
            exit_status=2,
        )


def clear(stamp):
    """Leaves an empty `.venv` in place of ours; raises SetupError if it is somebody else's."""
    import shutil

    old = VENV + ".old"
    shutil.rmtree(old, ignore_errors=True)
    if os.path.isdir(VENV) and not os.listdir(VENV):
        return
    if os.path.lexists(VENV):
        if not stamp:
            raise SetupError(
                f"{VENV} was not made by this program: activate it if it has tfclic in it, "
                "or move it away."
            )
        # Renamed first: a removal that is cut short must not leave a `.venv` without its stamp.
        os.rename(VENV, old)
        shutil.rmtree(old, ignore_errors=True)
    os.mkdir(VENV)


def steps(extras, fresh):
    """The commands that make `.venv` (if `fresh`) and install the package with `extras` into it.

    `-I` keeps PYTHONPATH out: pip would take for installed what only this shell has.
    """
    package = ".[" + ",".join(extras) + "]" if extras else "."
    pip = [VENV_PYTHON, "-I", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    install = pip + ["--no-input", "--editable", package]
    return ([[sys.executable, "-I", "-m", "venv", VENV]] if fresh else []) + [install]


def succeeds(command, lock):
    """Runs `command` in the checkout; if it fails, shows the end of what it printed.

    The command holds the lock too: when this process alone is killed, the next start waits for it.
    """
    import subprocess

    done = subprocess.run(
        command,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=[lock.fileno()],
    )
    if done.returncode:
        lines = done.stdout.decode("utf-8", "replace").strip().splitlines()
        print("\n".join(lines[-20:]), file=sys.stderr)
    return done.returncode == 0


if __name__ == "__main__":
    run(sys.argv[1], sys.argv[2:])
