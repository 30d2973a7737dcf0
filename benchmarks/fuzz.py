"""Feeds mutated files to the reader, for some minutes, and checks how it takes them.

    python benchmarks/fuzz.py [--model NAME|PATH] [--coder NAME] [--minutes 10]
        [--ways whole,region,...] [IMAGE ...]

Files of made images (and of IMAGEs) are mutated, and most of them get the right length and checksum
again, so that the parts behind these are reached; some of them have alpha, metadata and a map of
qualities beside the image, whose parts are mutated. A worker process decodes them. Each file has to
be refused as damaged (exit status 4), or as another model's if its fingerprint was changed, or as
another coder's, which the model has not, if its version was; or give an image of the size that its
header says, which is allowed: with a right checksum it may be a valid file. A crash, a hang, more
than 4 GB of memory or any other error is a finding: the file is kept, and the exit status is 1. A
hang is more than 10 s of processor time, all cores together, which other work on the machine does
not lengthen; or more than two minutes by the clock. Mutations that got a new answer are mutated
further. Each file is decoded in one of the --ways: all of it, a part of the image, a small image,
some of its slices, or the beginning of it alone; the latter two are of models with slices, and
take seconds for each megapixel that a file claims: nothing vouches for what is there of it.
"""

import argparse
import collections
import multiprocessing
import os
import pathlib
import random
import resource
import sys
import time

import numpy as np
from forging import Mutator
from tqdm import tqdm

from tfclic import errors, images, runtime
from tfclic.format import alpha, header, picture
from tfclic.format.picture import Metadata
from tfclic.runtime import catalog

SECONDS, CLOCK_SECONDS, MEGABYTES = 10, 120, 4096
SECONDS_A_MEGAPIXEL = 4  # more, where what is not sound becomes pixels instead of a refusal
SIZES = [(1, 1, 1), (64, 64, 3), (65, 130, 3), (256, 192, 3), (40, 700, 1)]
QUALITIES = (0, 50, 100)
TILES = (1024, 64)


def made_images(rng):
    """Smooth images with some noise, and a flat one."""
    yield np.full([128, 128, 3], 128, np.uint8)
    for height, width, channels in SIZES:
        rows, columns = np.mgrid[:height, :width] / rng.uniform(5, 40)
        waves = [np.sin(rows + shift) + np.cos(columns - shift) for shift in range(channels)]
        noisy = np.stack(waves, -1) + rng.normal(0, 0.2, [height, width, channels])
        yield np.clip(128 + 50 * noisy, 0, 255).astype(np.uint8)


def corpus(model, coder, paths, seed):
    """Makes the files to start from; returns them."""
    codec, rng = runtime.Codec(model, coder), np.random.default_rng(seed)
    pixels = [*made_images(rng), *(images.read(p).pixels for p in paths)]
    files = [
        codec.compress(image, quality, tile=tile)
        for image in pixels
        for quality in QUALITIES
        for tile in TILES
        if tile > 64 or max(image.shape) > 64
    ]
    files += [codec.compress(each, metadata=kept) for each, kept in dressed(pixels, rng)]
    if codec.has_maps:
        mask = rng.uniform(0, 100, [5, 7])
        files += [codec.compress(each, mask, metadata=kept) for each, kept in dressed(pixels, rng)]
    return files


def dressed(pixels, rng):
    """Yields (pixels with alpha, metadata): soft, hard and noisy planes."""
    for image in pixels:
        height, width = image.shape[:2]
        ramp = np.linspace(0, 255, height * width).reshape(height, width).astype(np.uint8)
        noise = rng.integers(0, 256, [height, width], np.uint8)
        for plane in (ramp, 255 * (ramp > 99), noise):
            text = b"<x:xmpmeta/>" * int(rng.integers(1, 9))
            kept = Metadata(rng.bytes(90), b"II*\0" + bytes(40), text)
            yield alpha.joined(image, plane.astype(np.uint8)), kept


def whole(codec, data, chance):
    return codec.decompress(data), size_of(codec, data)


def region(codec, data, chance):
    height, width = size_of(codec, data)
    x, y = chance.randrange(width), chance.randrange(height)
    across, down = chance.randint(1, width - x), chance.randint(1, height - y)
    return codec.decompress(data, (x, y, across, down)), (down, across)


def scale(codec, data, chance):
    by = chance.choice((2, 4, 8, 16))
    height, width = size_of(codec, data)
    return codec.decompress(data, scale=1 / by), (-(-height // by), -(-width // by))


def slices(codec, data, chance):
    some = chance.randint(1, codec.slices)
    return codec.decompress(data, slices=some), size_of(codec, data)


def beginning(codec, data, chance):
    data = data[: chance.randint(len(data) // 3, len(data))]
    pixels, received = codec.decompress_beginning(data)
    assert 0 <= received.share <= 1
    return pixels, header.claimed_size(picture.beginning(data).image)[::-1]


def size_of(codec, data):
    known = codec.info(data)
    return known["height"], known["width"]


# By name: functions of a codec, a file and a random.Random, which give pixels and their (height,
# width) as it has to be.
WAYS = {each.__name__: each for each in (whole, region, scale, slices, beginning)}


def work(connection, model, coder, ways):
    """The worker: answers each file with (kind, sentence, seconds, megabytes at most so far)."""
    codec = runtime.Codec(model, coder)
    while True:
        data = connection.recv()
        kind, sentence, began = "refused", "", time.process_time()
        try:
            chance = random.Random(data)
            pixels, expected = WAYS[chance.choice(ways)](codec, data, chance)
            kind = "decoded"
            if pixels.shape[:2] != expected:
                kind, sentence = "error", f"an image of {pixels.shape}"
        except errors.FileFormatError as error:
            sentence = str(error)
        except errors.ModelError as error:
            kind = blamed(codec, data, str(error))
            sentence = str(error).split(";")[0]
        except BaseException as error:  # that there are no others is what is measured
            kind, sentence = "error", f"{type(error).__name__}: {error}"
        seconds = time.process_time() - began
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        peak /= 1 << (20 if sys.platform == "darwin" else 10)
        connection.send((kind, sentence, seconds, peak))


def blamed(codec, data, sentence):
    """The kind of an errors.ModelError: whether the file is the cause of it."""
    # by their places, since the end of a file may be unsound that a beginning does not reach
    image = picture.beginning(data).image
    _, start = header.read_varint(image, header.START)
    if image[start : start + header.FINGERPRINT_BYTES].hex() != codec.model.fingerprint:
        return "another model"
    is_interleaved = image[header.START - 1] & header.VERSION_BITS > header.OF_INTERLEAVED
    is_other = is_interleaved != (codec.coder == header.INTERLEAVED)
    # slices are of the range coder's strings
    if is_other and (sentence == header.RANGE_CODED or codec.slices > 1):
        return "another coder"
    return "error"


def processor_seconds(process):
    """What a process has used so far; 0 where there is no /proc to tell."""
    try:
        fields = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def allowed(data, ways):
    """Processor time that a file may take, seconds."""
    if not {"slices", "beginning"} & set(ways):
        return SECONDS
    try:
        size = header.claimed_size(picture.beginning(data).image)
    except errors.FileFormatError:
        size = None
    width, height = size or (0, 0)
    pixels = min(width * height, header.DEFAULT_MAX_PIXELS)
    return SECONDS + SECONDS_A_MEGAPIXEL * pixels / 1e6


class Worker:
    """A process that decodes, replaced when it dies or has to be killed."""

    def __init__(self, model, coder, ways, sound):
        """Starts it and has it decode a `sound` file, since the first one takes longer."""
        self.context, self.sound = multiprocessing.get_context("spawn"), sound
        self.chosen = model, coder, ways
        self.start()

    def start(self):
        self.connection, other = self.context.Pipe()
        self.process = self.context.Process(target=work, args=(other, *self.chosen), daemon=True)
        self.process.start()
        other.close()
        self.connection.send(self.sound)
        assert self.connection.recv()[0] == "decoded"

    def decode(self, data):
        """What `work` answers to `data`, where the kind may be hang, crash or memory too."""
        before, began = processor_seconds(self.process), time.perf_counter()
        most = allowed(data, self.chosen[-1])
        self.connection.send(data)
        while not self.connection.poll(0.2):
            used = processor_seconds(self.process) - before
            if used > most or time.perf_counter() - began > CLOCK_SECONDS:
                answer = ("hang", f"more than {used:.1f} s of processor time", used, 0)
                break
        else:
            answer = self._answer()
        if answer[2] > most and answer[0] != "hang":
            answer = ("hang", f"{answer[2]:.1f} s of processor time", *answer[2:])
        if answer[3] > MEGABYTES:
            answer = ("memory", f"{answer[3]:.0f} MB", *answer[2:])
        if answer[0] in ("hang", "crash", "memory"):
            self.stop()
            self.start()
        return answer

    def _answer(self):
        try:
            return self.connection.recv()
        except (EOFError, ConnectionError):
            self.process.join()
            return ("crash", f"the process ended with {self.process.exitcode}", 0, 0)

    def stop(self):
        self.process.kill()
        self.process.join()


def shortened(sentence):
    """A sentence without what differs from file to file."""
    return sentence.split(" file: ")[-1].split(" with fingerprint")[0]


class Tally:
    """Counts answers and keeps findings."""

    def __init__(self, folder):
        self.folder, self.answers = folder, collections.Counter()
        self.slowest, self.largest, self.findings = collections.Counter(), 0.0, []

    def add(self, data, done, answer):
        """Notes an answer; returns whether it is a new one."""
        kind, sentence, seconds, megabytes = answer
        key = (kind, shortened(sentence))
        self.answers[key] += 1
        self.slowest[kind] = max(self.slowest[kind], seconds)
        self.largest = max(self.largest, megabytes)
        if kind not in ("decoded", "refused", "another model", "another coder"):
            self.folder.mkdir(parents=True, exist_ok=True)
            path = self.folder / f"{len(self.findings):04}-{kind}.tfclic"
            path.write_bytes(data)
            self.findings.append(f"{path}: {sentence} ({done})")
        return self.answers[key] == 1

    def report(self, seconds):
        total = sum(self.answers.values())
        print(f"{total} files in {seconds / 60:.1f} minutes; {len(self.findings)} findings")
        slowest = ", ".join(f"{kind} {time:.2f} s" for kind, time in self.slowest.items())
        print(f"memory at most {self.largest:.0f} MB; most processor time: {slowest}")
        for (kind, sentence), count in self.answers.most_common():
            print(f"{count:8} {kind}{': ' if sentence else ''}{sentence}")
        for finding in self.findings:
            print("FAILED", finding)


def fuzz(chosen, mutator, seconds, tally):
    """Mutates and decodes until the time is over; `chosen` is the model, the coder and the ways."""
    worker, began = Worker(*chosen, mutator.files[0]), time.perf_counter()
    with tqdm(total=round(seconds), unit="s", mininterval=5) as bar:
        while (now := time.perf_counter() - began) < seconds:
            data, done = mutator.next()
            if tally.add(data, done, worker.decode(data)):
                mutator.keep(data)
            bar.update(min(int(now), bar.total) - bar.n)
            files = sum(tally.answers.values())
            bar.set_postfix(files=files, findings=len(tally.findings), refresh=False)
    worker.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("images", metavar="IMAGE", nargs="*")
    parser.add_argument("--model", default=runtime.DEFAULT_MODEL)
    parser.add_argument("--coder", choices=header.CODERS, help="of the files; default: the model's")
    parser.add_argument("--ways", default="whole", help=f"of {','.join(WAYS)}; default: whole")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--findings", default="fuzz-findings", help="folder for what is found")
    args = parser.parse_args()
    ways = args.ways.split(",")
    if unknown := set(ways) - set(WAYS):
        parser.error(f"There is no way {', '.join(sorted(unknown))}.")
    model = catalog.find(args.model)
    # in a process of its own, so that its memory is not counted
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        files = pool.apply(corpus, (model, args.coder, args.images, args.seed))
    mutator, tally = Mutator(files, random.Random(args.seed)), Tally(pathlib.Path(args.findings))
    began = time.perf_counter()
    fuzz((model, args.coder, ways), mutator, 60 * args.minutes, tally)
    print(f"{model} ({model.fingerprint}), seed {args.seed}, {len(files)} files to start from")
    tally.report(time.perf_counter() - began)
    return 1 if tally.findings else 0


if __name__ == "__main__":
    sys.exit(main())
