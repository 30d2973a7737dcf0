"""Files that are wrong on purpose: mutations with the length and the checksum made right again."""

import collections
import zlib

import tensorflow as tf

Parts = collections.namedtuple("Parts", "flags fingerprint quality sizes payload")
Parts.__doc__ = """A file but for its magic, length and checksum; all bytes, `flags` a single one.

In `payload` is all that follows the sizes: the index of the tiles, if any, and the strings.
"""

SIDES = [0, 1, 2, 15, 16, 17, 63, 64, 65, 127, 128, 129, 255, 256, 1000, 1024, 2048, 4032, 4096]
SIDES += [4097, 10_000, 65_535]
SIDES += [65_536, (1 << 21) - 64, (1 << 21) - 1, 1 << 21, 1 << 28, (1 << 31) - 1, 1 << 31, 1 << 32]
SIDES += [(1 << 35) - 1, 1 << 35, 1 << 42, (1 << 63) - 1, (1 << 64) - 1]


def varint(value, superfluous=0):
    """The bytes of a varint, with some superfluous ones."""
    groups = [value & 127]
    while value := value >> 7:
        groups.append(value & 127)
    groups += [0] * superfluous
    return bytes([group | 128 for group in groups[:-1]] + groups[-1:])


def _end_of_varint(data, position):
    while data[position] & 128:
        position += 1
    return position + 1


def take_apart(data):
    """The `Parts` of a sound file."""
    start = _end_of_varint(data, 4)
    end = _end_of_varint(data, _end_of_varint(data, start + 6))
    pieces = data[start : start + 4], data[start + 4 : start + 6], data[start + 6 : end]
    return Parts(data[3:4], *pieces, data[end:-4])


def put_together(parts):
    """The file of `Parts`, with the length and the checksum that it has to have."""
    rest = parts.fingerprint + parts.quality + parts.sizes + parts.payload
    length = next(n for n in range(len(rest) + 8, len(rest) + 16) if _fits(n, len(rest)))
    body = b"TFC" + parts.flags + varint(length) + rest
    return body + bytes(tf.fingerprint([body]).numpy()[0, :4])


def take_off(data):
    """The parts of a sound file with more than an image: a list of (kind, content)."""
    found, position = [], _end_of_varint(data, 4)
    while position < len(data) - 4:
        start = _end_of_varint(data, position + 1)
        size = sum((byte & 127) << 7 * i for i, byte in enumerate(data[position + 1 : start]))
        found.append((data[position], data[start : start + size]))
        position = start + size
    return found


def put_around(parts, lie=0):
    """The file of such parts, the length and the checksum right, the first length off by `lie`."""
    version = 5 + any(kind == 0 for kind, _ in parts)
    rest = b""
    for kind, content in parts:
        rest += bytes([kind]) + varint(max(len(content) + lie, 0)) + content
        lie = 0
    length = next(n for n in range(len(rest) + 8, len(rest) + 16) if _fits(n, len(rest)))
    body = b"TFC" + bytes([version]) + varint(length) + rest
    return body + zlib.crc32(body).to_bytes(4, "little")


def _fits(length, rest):
    return 3 + 1 + len(varint(length)) + rest + 4 == length


class Mutator:
    """Makes new files out of a corpus.

    Args:
      files: list of bytes, sound files.
      rng: random.Random.
    """

    def __init__(self, files, rng):
        self.files, self.rng, self.seeds = list(files), rng, len(files)

    def keep(self, data):
        """Adds a file to the corpus."""
        self.files.append(data)

    def next(self):
        """A new file, and what was done to get it."""
        data = self.rng.choice(self.files)
        if self.rng.random() < 0.15:
            return self.scrambled(data), "bytes changed anywhere"
        if data[:4] in (b"TFC\x05", b"TFC\x06"):
            return self.dressed(data), "parts changed, checksum made right"
        try:
            parts = take_apart(data)
        except IndexError:  # kept mutations need not have a header
            parts = take_apart(self.files[self.rng.randrange(self.seeds)])
        changes = [self.flags, self.fingerprint, self.quality, self.sizes, self.payload]
        chosen = self.rng.choices(changes, [1, 1, 2, 6, 6], k=self.rng.choice([1, 1, 1, 2, 3]))
        for change in chosen:
            parts = change(parts)
        done = ", ".join(change.__name__ for change in chosen)
        return put_together(parts), f"{done} changed, checksum made right"

    def dressed(self, data):
        """A file with more than an image, something of its parts changed."""
        rng = self.rng
        try:
            parts = take_off(data)
        except IndexError:
            parts = []
        if not parts:
            return self.scrambled(data)
        lie, place = rng.choice([0] * 9 + [rng.randrange(-300, 300)]), rng.randrange(len(parts))
        kind, content = parts[place]
        bomb = zlib.compress(bytes(rng.choice([0, 1, 1 << 20, 1 << 25])))
        image = rng.choice([each for each in self.files[: self.seeds] if each[3] & 15 < 5])
        parts[place : place + 1] = rng.choice(
            [
                lambda: [(kind, self.scrambled(content))],
                lambda: [(kind, self.scrambled(content))],
                lambda: [(kind, content[: rng.randrange(len(content) + 1)])],
                lambda: [(kind, content[:1] + self.scrambled(content[1:]))],
                lambda: [(kind, bytes([rng.randrange(256)]) + content[1:])],
                lambda: [(kind, b"\1" + bomb)],
                lambda: [(rng.randrange(256), content)],
                lambda: [],
                lambda: [(kind, content)] * 2,
                lambda: [(kind, image)],
            ]
        )()
        return put_around(parts, lie)

    def flags(self, parts):
        return parts._replace(
            flags=bytes([self.rng.choice([1, 2, 3, 4, 0x11, 0x12, 0x13, self.rng.randrange(256)])])
        )

    def fingerprint(self, parts):
        return parts._replace(fingerprint=self.scrambled(parts.fingerprint + b"1234")[:4])

    def quality(self, parts):
        return parts._replace(quality=self.rng.randbytes(2))

    def sizes(self, parts):
        coded = b""
        for _ in range(2):
            side = self.rng.choice([*SIDES, self.rng.randrange(3000), self.rng.randrange(1 << 21)])
            coded += varint(side, self.rng.choice([0] * 9 + [self.rng.randrange(6)]))
        return parts._replace(sizes=self.rng.choice([coded] * 9 + [self.scrambled(coded)]))

    def payload(self, parts):
        rng, old = self.rng, parts.payload
        size = rng.choice([0, 1, 2, 3, 4, 8, 100, rng.randrange(20_000)])
        cut = rng.randrange(len(old) + 1)
        other = rng.choice(self.files)
        new = rng.choice(
            [
                lambda: self.scrambled(old),
                lambda: self.scrambled(old),
                lambda: old[:cut],
                lambda: old[:cut] + other[rng.randrange(len(other) + 1) :],
                lambda: old[:cut] + bytes(size),
                lambda: old[:cut] + b"\xff" * size,
                lambda: old + rng.randbytes(size),
                lambda: rng.randbytes(size),
                lambda: bytes(size),
                lambda: b"\xff" * size,
            ]
        )()
        return parts._replace(payload=new)

    def scrambled(self, data):
        """Bytes flipped, overwritten, inserted or removed, one to eight times."""
        rng, data = self.rng, bytearray(data)
        for _ in range(rng.randint(1, 8)):
            place, run = rng.randrange(len(data) + 1), rng.choice([1, 1, 1, 2, 4, 30])
            kind = rng.randrange(4)
            if kind == 0 and place < len(data):
                data[place] ^= 1 << rng.randrange(8)
            elif kind == 1:
                data[place : place + run] = rng.randbytes(len(data[place : place + run]))
            elif kind == 2:
                data[place:place] = rng.randbytes(run)
            else:
                del data[place : place + run]
        return bytes(data)
