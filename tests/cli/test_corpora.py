"""bin/compress_corpus and bin/decompress_corpus, over the toy model."""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("apache_beam")

import tfclic
from tfclic import machine
from tfclic.cli import common, compress_corpus, corpora, decompress_corpus, progress
from tfclic.corpora import pipeline, records

ROOT = pathlib.Path(__file__).parents[2]
HERE = "--direct_num_workers=1"
EXIF = b"II*\0\x08\0\0\0\0\0\0\0\0\0"  # without a single tag


def run(module, *words):
    """Runs a program in this process; returns its exit status."""
    name = module.__name__.rpartition(".")[2]
    parsed, rest = module.make_parser().parse_known_args([str(word) for word in words])
    parsed.rest = rest
    return common.guarded(getattr(module, name), parsed, name)


@pytest.fixture
def photos(tmp_path, make_pixels):
    """A folder with two photographs."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(2):
        Image.fromarray(make_pixels(20, 30, seed=i)).save(folder / f"{i}.png", exif=EXIF)
    return folder


def test_there_and_back(photos, tmp_path, toy_folder, toy_codec, capsys):
    coded, back = tmp_path / "coded", tmp_path / "back"
    words = [f"--input={photos}/**", f"--output={coded}", "--model=toy", "--quality=10", HERE]
    assert run(compress_corpus, *words) == 0
    told = capsys.readouterr()
    data = [(coded / f"{i}.png.tfclic").read_bytes() for i in range(2)]
    size = sum(map(len, data))
    rate = f"2 made, 0 kept, 0 failed, {size:,} bytes, {8 * size / 1200:.3f} bpp"
    assert told.out.startswith(f"{photos}/** -> {coded}: {rate}, ") and told.err == ""
    assert run(decompress_corpus, f"--input={coded}/*.tfclic", f"--output={back}", HERE) == 0
    for i in range(2):
        made = np.array(Image.open(back / f"{i}.png.png"))
        assert np.array_equal(made, toy_codec.decompress(data[i]))
        assert tfclic.metadata_of(data[i]).exif == EXIF
        assert Image.open(back / f"{i}.png.png").info["exif"] == b"Exif\0\0" + EXIF
    words = [*words[:1], f"--output={tmp_path}/stripped", *words[2:]]
    assert run(compress_corpus, *words, "--strip") == 0
    stripped = (tmp_path / "stripped" / "0.png.tfclic").read_bytes()
    assert tfclic.metadata_of(stripped) == tfclic.Metadata()


def test_patterns_and_outputs_may_be_in_the_current_folder(photos, toy_folder, monkeypatch, capsys):
    monkeypatch.chdir(photos)
    assert run(compress_corpus, "--input=*.png", "--output=coded", "--model=toy", HERE) == 0
    assert "./*.png -> coded: 2 made, 0 kept, 0 failed" in capsys.readouterr().out
    names = sorted(path.name for path in (photos / "coded").glob("*.png.tfclic"))
    assert names == ["0.png.tfclic", "1.png.tfclic"]


def test_outputs_beside_the_inputs_are_left_out_of_them(photos, toy_folder, capsys):
    words = [f"--input={photos}/**", f"--output={photos}", HERE]
    assert run(compress_corpus, *words, "--model=toy") == 0
    assert capsys.readouterr().err == ""
    assert run(compress_corpus, *words, "--model=toy") == 0
    told = capsys.readouterr()
    assert "0 made, 2 kept, 0 failed" in told.out
    sentence = f"2 files in {photos} are called like outputs, and are no inputs.\n"
    assert told.err == f"compress_corpus: {sentence}"
    assert run(decompress_corpus, *words, "--force") == 0
    told = capsys.readouterr()
    assert "2 made, 0 kept, 0 failed" in told.out and told.err == f"decompress_corpus: {sentence}"
    assert (photos / "1.png.png").exists() and not (photos / "1.png.tfclic.tfclic").exists()


def test_a_bad_image_is_told_in_the_manifest(photos, tmp_path, toy_folder, capsys):
    (photos / "bad.png").touch()
    coded = tmp_path / "coded"
    words = [f"--input={photos}/*", f"--output={coded}", "--model=toy", HERE]
    assert run(compress_corpus, *words) == 3
    told = capsys.readouterr()
    assert "2 made, 0 kept, 1 failed" in told.out
    assert told.err == f"compress_corpus: 1 failed; {coded}/manifest.jsonl tells why.\n"
    lines = (coded / "manifest.jsonl").read_text().splitlines()
    assert "not an image of a known kind" in json.loads(lines[2])["error"]


@pytest.mark.parametrize(
    "words, status, sentence",
    [
        (["--model=large"], 5, "There is no model large"),
        (["--input=none/*"], 2, "No file matches none/*."),
        (["--input=."], 2, ". is a folder; all files in it are './**'."),
        (["b.jpg", "c.jpg"], 2, "nor Beam knows b.jpg c.jpg. Quote the GLOB of --input."),
        (["--qualty=3"], 2, "Neither this program nor Beam knows --qualty=3."),
        (["--tile=65"], 2, "multiple of 64"),
        (["--workers=2"], 2, "--workers is for --runner dask."),
        (["--runner=dask", "--workers=here"], 2, "has to be tcp://HOST:PORT, or a number of"),
        (["--runner=dask"], 2, f"This program does not know {HERE}."),
        (["--background=bege"], 2, "is not an opaque colour"),
        (["--output=/dev/null/coded"], 2, "cannot be made: Not a directory."),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    photos, tmp_path, toy_folder, capsys, words, status, sentence
):
    given = [f"--input={photos}/*", f"--output={tmp_path / 'coded'}", "--model=toy", HERE]
    assert run(compress_corpus, *given, *words) == status
    told = capsys.readouterr()
    assert told.out == "" and told.err.count("\n") == 1 and sentence in told.err
    assert not (tmp_path / "coded").exists()


def test_a_scheduler_that_does_not_answer_is_one_sentence(
    photos, tmp_path, toy_folder, capsys, monkeypatch
):
    cluster = pytest.importorskip("tfclic.corpora.cluster")
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 0.1)
    words = [f"--input={photos}/*", f"--output={tmp_path / 'coded'}", "--model=toy"]
    assert run(compress_corpus, *words, "--runner=dask", "--workers=tcp://127.0.0.1:1") == 2
    told = capsys.readouterr().err
    assert told == "compress_corpus: There is no scheduler at tcp://127.0.0.1:1.\n"


def test_a_bar_tells_how_fast_it_goes_and_what_is_left(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with progress.shown() as shown:
        assert not shown.is_hidden
        shown.expect(20)
        shown.add(0, 10)
        shown.add(5, 0)
        bar = shown._bar
        assert (bar.n, bar.total, bar.initial) == (15, 20, 10)
        # the kept ones took no time: 5 in 2 seconds leave 2 seconds
        bar.start_t = bar._time() - 2
        assert "15/20 [00:02<00:02,  2.5" in str(bar).replace("2.50image/s", "2.5")


def test_what_the_local_runner_has_done_is_told_from_its_records(
    photos, tmp_path, toy_folder, monkeypatch
):
    coded = tmp_path / "coded"
    words = [f"--input={photos}/*", f"--output={coded}", "--model=toy", HERE]
    told = []

    class Shown(progress.Shown):
        is_hidden = False

        def expect(self, images):
            told.append(images)

        def add(self, made, kept):
            told.append((made, kept))

    @contextlib.contextmanager
    def shown():
        yield Shown(None)

    monkeypatch.setattr(progress, "shown", shown)
    assert run(compress_corpus, *words) == 0
    assert told[:2] == [(0, 0), 2]
    (photos / "2.png").write_bytes((photos / "0.png").read_bytes())
    told.clear()
    assert run(compress_corpus, *words) == 0
    assert told[:2] == [(0, 2), 3]


def test_records_are_recognised_by_their_name():
    parser = compress_corpus.make_parser()

    def from_records(*words):
        return corpora._from_records(parser.parse_args(["--output=o", *words]))

    assert from_records("--input=in/x.tfrecord-00000-of-00002")
    assert not from_records("--input=in.tfrecord/*.png")
    assert from_records("--input=in/*", "--input_format=tfrecord")
    assert not from_records("--input=*.tfrecord", "--input_format=files")


def options_of(*words):
    parsed, rest = compress_corpus.make_parser().parse_known_args(
        ["--input=i", "--output=o", *words]
    )
    parsed.rest = rest
    options, threads = corpora._beam_options(parsed)
    return options.get_all_options(), threads


def test_processes_share_the_cores(monkeypatch):
    monkeypatch.setattr(machine, "cores", lambda: 8)
    everything, threads = options_of()
    assert everything["direct_num_workers"] == 8 and threads == 1
    assert everything["direct_running_mode"] == "multi_processing"
    assert options_of("--direct_num_workers=2")[1] == 4
    assert options_of("--direct_num_workers=2", "--threads=3")[1] == 3
    everything, threads = options_of("--direct_num_workers=1")
    assert everything["direct_running_mode"] == "in_memory" and threads == 8


def test_other_runners_get_their_own_arguments():
    everything, threads = options_of("--runner=FlinkRunner", "--flink_master=here:8081", "--its=x")
    assert everything["runner"] == "FlinkRunner" and everything["flink_master"] == "here:8081"
    assert everything["direct_num_workers"] == 1 and threads == 1


def test_an_output_that_cannot_be_written_ends_the_job_in_one_sentence(
    photos, tmp_path, toy_folder, capfd
):
    coded = tmp_path / "coded"
    (coded / "1.png.tfclic" / "in the way").mkdir(parents=True)
    words = [f"--input={photos}/*", f"--output={coded}", "--model=toy", HERE]
    assert run(compress_corpus, *words) == 2
    told = capfd.readouterr()
    sentence = f"{coded}/1.png.tfclic cannot be written: Is a directory."
    assert (told.out, told.err) == ("", f"compress_corpus: {sentence}\n")


@pytest.mark.parametrize(
    "told, status, sentence",
    [
        (
            "Traceback:\n File x\ntfclic.errors.ModelError: It is another. [while running 'w']\n\n",
            5,
            "It is another.",
        ),
        ("Channel closed prematurely.", 1, "A worker was killed, perhaps for want of memory"),
        ("File x\nKeyError: 'x'\n\n", 1, "The pipeline failed: KeyError: 'x'"),
    ],
)
def test_errors_of_runners_become_sentences(
    photos, tmp_path, toy_folder, capsys, monkeypatch, told, status, sentence
):
    def fail(*_):
        raise RuntimeError(told)

    monkeypatch.setattr(pipeline, "run", fail)
    given = [f"--input={photos}/*", f"--output={tmp_path / 'coded'}", "--model=toy", HERE]
    assert run(compress_corpus, *given) == status
    complaint = capsys.readouterr().err
    assert complaint.startswith(f"compress_corpus: {sentence}") and complaint.count("\n") == 1


def start(photos, coded, *words):
    command = [sys.executable, "-m", "tfclic.cli.compress_corpus", f"--input={photos}/**.png"]
    command += [f"--output={coded}", "--model=toy", "--direct_num_workers=2", *words]
    command += ["--direct_running_mode=multi_processing"]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True, start_new_session=True
    )


def recorded(coded):
    """Of how many images, in all, journals tell that they are done."""
    journals = (coded / ".tfclic" / "journals").glob("*")
    return sum(len(path.read_bytes().splitlines()) for path in journals)


def test_two_processes_killed_and_restarted(tmp_path, toy_folder, toy_codec, make_pixels):
    photos, coded = tmp_path / "photos", tmp_path / "coded"
    photos.mkdir()
    count = 3 * records.FLUSH_RECORDS
    for i in range(count):
        Image.fromarray(make_pixels(64, 64, seed=i % 5)).save(photos / f"{i:03d}.png")
    # one process waits for this image, so that nothing is over before it is killed
    held = photos / "000.png"
    data = held.read_bytes()
    held.unlink()
    os.mkfifo(held)
    process = start(photos, coded)
    deadline = time.monotonic() + 120
    while recorded(coded) < records.FLUSH_RECORDS:
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    assert not (coded / "manifest.jsonl").exists()
    expected = {i: toy_codec.compress(make_pixels(64, 64, seed=i)) for i in range(5)}
    there, known = list(coded.glob("*.png.tfclic")), recorded(coded)
    assert records.FLUSH_RECORDS <= known <= len(there) < count
    for path in there:
        assert path.read_bytes() == expected[int(path.name[:3]) % 5]

    held.unlink()
    held.write_bytes(data)
    process = start(photos, coded)
    output, complaints = process.communicate(timeout=120)
    assert process.returncode == 0, complaints
    made, kept = (int(output.split(f" {word}")[0].split()[-1]) for word in ("made", "kept"))
    assert (made, kept) == (count - known, known)
    for i in range(count):
        assert (coded / f"{i:03d}.png.tfclic").read_bytes() == expected[i % 5]
    names = [json.loads(line)["output"] for line in open(coded / "manifest.jsonl")]
    assert names == [f"{i:03d}.png.tfclic" for i in range(count)]
    left = {path.name for path in coded.iterdir()} - set(names)
    assert left == {".tfclic", "manifest.jsonl"}
    assert sorted(path.name for path in (coded / ".tfclic").rglob("*")) == [
        "settings.json",
        "unfinished",
    ]
