"""What reads headers, metadata, alpha and maps, on mutations of made files; without any model.

    python benchmarks/fuzz_parsers.py [--minutes 1] [--seed 0]

Mutated files get the length and the checksum that they should have, so that these do not end it.
Those that reach lines of `tfclic/format` that none before has reached are mutated further. Whatever
is raised but errors.FileFormatError, and whatever is returned that is not as it should be, is a
finding. `benchmarks/fuzz.py` does it to whole decoders, where this cannot see lines.
"""

import argparse
import os
import random
import resource
import sys
import time
import zlib

import numpy as np

from tfclic import errors
from tfclic.format import alpha, header, picture, quality_map

FOLDER = os.path.dirname(header.__file__)
MOST_DECODED = 1 << 20  # pixels of alpha planes


def checksum(body):
    """In the place of FarmHash, which Python has not."""
    return zlib.crc32(body).to_bytes(header.CHECKSUM_BYTES, "little")


def files():
    """A file with one tile, one with several, and two with all that may be beside an image."""
    plane = (np.arange(300 * 200) % 251).astype(np.uint8).reshape(200, 300)
    images = []
    for tile, lengths in (((256, 320), (18,)), ((128, 192), (3, 4, 5, 6))):
        fields = header.Header(False, b"\1\2\3\4", 300, 300, 200, *tile, lengths, bytes(18))
        images.append(header.pack(fields, checksum))
    metadata = picture.Metadata(b"icc" * 50, b"II*\0" + b"e" * 60, b"<x>" * 40)
    whole = picture.Picture(images[-1], metadata, alpha.encode(plane))
    nodes = (np.arange(70) % 5).astype(np.int8).reshape(7, 10)
    coded = quality_map.encode(quality_map.QualityMap(9999, nodes))
    return [*images, picture.pack(whole), picture.pack(whole._replace(quality_map=coded))]


def mutated(data, chance):
    """The bytes with some changed; `chance` is a random.Random."""
    data = bytearray(data)
    for _ in range(chance.choice([1, 1, 2, 3, 6])):
        place = chance.randrange(max(1, len(data)))
        several = bytes(chance.randrange(256) for _ in range(chance.randrange(1, 9)))
        kind = chance.randrange(4)
        if kind == 0:
            data[place : place + 1] = several[:1]
        elif kind == 1:
            data[place:place] = several
        elif kind == 2:
            del data[place : place + len(several)]
        else:
            data[place : place + 5] = b"\xff\xff\xff\xff\x07"
    return bytes(data)


def sealed(data):
    """The same with the length and the checksum that it should have."""
    if len(data) < header.SHORTEST_FILE or not data.startswith(header.MAGIC):
        return data
    _, start = header.read_varint(data, header.START)
    rest = data[start : -header.CHECKSUM_BYTES]
    length = header.length_varint(header.START + len(rest) + header.CHECKSUM_BYTES)
    body = data[: header.START] + length + rest
    return body + checksum(body)


def understood(data):
    """Whether a file is taken for sound; raises AssertionError if what it says cannot be."""
    header.claimed_size(data)
    try:
        parts = picture.parse(data)
        fields = header.parse(parts.image, checksum)
        assert header.is_size(fields.width, fields.height)
        assert sum(fields.lengths) == len(fields.payload) <= len(data)
        assert all(len(each) <= picture.MAX_METADATA_BYTES for each in parts.metadata)
        if parts.alpha and fields.width * fields.height <= MOST_DECODED:
            plane = alpha.decode(parts.alpha, fields.height, fields.width)
            assert plane.shape == (fields.height, fields.width)
        if parts.quality_map:
            found = quality_map.decode(parts.quality_map, fields.height, fields.width)
            assert found.nodes.shape == quality_map.sides(fields.height, fields.width)
            codes = found.codes(fields.quality, (0, 0, 4, 4))
            assert 0 <= codes.min() <= codes.max() <= header.MAX_QUALITY_CODE
        return True
    except errors.FileFormatError:
        return False


def fuzz(seconds, chance):
    """Tries files for so long; returns counts and findings, a dict."""
    reached, pool = set(), files()
    found = {"files": 0, "understood": 0, "seconds": 0.0, "findings": []}

    def trace(frame, event, _):
        if not frame.f_code.co_filename.startswith(FOLDER):
            return None
        if event == "line":
            reached.add((frame.f_code.co_filename, frame.f_lineno))
        return trace

    end = time.monotonic() + seconds
    while time.monotonic() < end:
        data, before = sealed(mutated(chance.choice(pool), chance)), len(reached)
        began = time.process_time()
        sys.settrace(trace)
        try:
            found["understood"] += understood(data)
        except Exception as error:
            found["findings"].append((repr(error), data))
        finally:
            sys.settrace(None)
        found["seconds"] = max(found["seconds"], time.process_time() - began)
        found["files"] += 1
        if len(reached) > before:
            pool.append(data)
    return {**found, "lines": len(reached)}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    found = fuzz(60 * args.minutes, random.Random(args.seed))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print("| files | understood | findings | lines reached | longest (ms) | memory (MB) |")
    print("|---|---|---|---|---|---|")
    counts = f"{found['files']} | {found['understood']} | {len(found['findings'])}"
    print(f"| {counts} | {found['lines']} | {1000 * found['seconds']:.1f} | {memory:.0f} |")
    for error, data in found["findings"][:10]:
        print(error, data.hex())
    sys.exit(1 if found["findings"] else 0)


if __name__ == "__main__":
    main()
