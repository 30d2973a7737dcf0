"""docs/format.md is enough to read a file: everything up to `read` is made from that text alone."""

import collections
import io
import lzma
import struct
import zlib

import pytest

Fields = collections.namedtuple(
    "Fields", "grayscale fingerprint quality width height tile strings interleaved"
)


class Refused(Exception):
    """A file that is not one; the number of the reason in the document's list."""


def varint(data, position):
    """(value, position after it), or None where there is no varint."""
    value = 0
    for count in range(5):
        if position + count >= len(data):
            return None
        byte = data[position + count]
        value += (byte & 127) << (7 * count)
        if byte < 128:
            superfluous = byte == 0 and count > 0
            return None if superfluous else (value, position + count + 1)
    return None


def is_foreign(data):
    return not data or data[:3] != b"TFC"[: len(data)]


def read(data):
    """Reads a file, or raises Refused."""
    if is_foreign(data):
        raise Refused(1)
    if len(data) > 3 and data[3] & 15 > 4:
        raise Refused({5: 5, 6: 6}.get(data[3] & 15, 2))
    length = varint(data, 4)
    if len(data) < 17 or (length and length[0] > len(data)):
        raise Refused(3)
    checksum = fingerprint64(data[:-4]).to_bytes(8, "little")[:4]
    if (
        data[3] & 0xEF not in (1, 2, 3, 4)
        or not length
        or length[0] != len(data)
        or data[-4:] != checksum
    ):
        raise Refused(4)
    start = length[1]
    body = data[:-4]
    width = varint(body, start + 6)
    height = width and varint(body, width[1])
    if not height or not 1 <= width[0] < 1 << 21 or not 1 <= height[0] < 1 << 21:
        raise Refused(4)
    if width[0] * height[0] > 1 << 31:
        raise Refused(4)
    is_tiled, interleaved = data[3] % 2 == 0, data[3] & 15 > 2
    tile, strings = pieces(is_tiled, width[0], height[0], body[height[1] :])
    return Fields(
        grayscale=bool(data[3] & 16),
        fingerprint=data[start : start + 4],
        quality=int.from_bytes(data[start + 4 : start + 6], "little"),
        width=width[0],
        height=height[0],
        tile=tile,
        strings=strings,
        interleaved=interleaved,
    )


def read_parts(data):
    """Reads a file of version 5 or 6: a dict from kinds to what they mean; or raises Refused."""
    assert data[:3] == b"TFC" and data[3] & 15 in (5, 6)
    length = varint(data, 4)
    if len(data) < 9 or (length and length[0] > len(data)):
        raise Refused(3)
    body, checksum = data[:-4], zlib.crc32(data[:-4]).to_bytes(4, "little")
    if data[3] not in (5, 6) or not length or length[0] != len(data) or data[-4:] != checksum:
        raise Refused(4)
    found, before, position = {}, 0 if data[3] == 5 else -1, length[1]
    while position < len(body):
        kind, size = body[position], varint(body, position + 1)
        if kind <= before or not size or size[1] + size[0] > len(body):
            raise Refused(4)
        before, position = kind, size[1] + size[0]
        found[kind] = body[size[1] : position]
    if not found.get(1) or (
        found[1][:3] == b"TFC" and found[1][3:4] and found[1][3] & 15 in (5, 6)
    ):
        raise Refused(4)
    if data[3] == 6 and not found.get(0):
        raise Refused(4)
    if found.get(2) == b"":
        raise Refused(4)
    for kind in {129, 130, 131} & set(found):
        found[kind] = meant(found[kind])
    if any(kind not in (0, 1, 2, *range(128, 256)) for kind in found):
        raise Refused(2)
    return found


def codes_of(content, q, height, width):
    """Rows, lists, of the quality codes of all latents of a map; or raises Refused."""
    rows, columns = -(-height // 32), -(-width // 32)
    if len(content) < 4:
        raise Refused(4)
    peak, way = content[0] + 256 * content[1], content[2]
    reader = zlib.decompressobj(-15)
    try:
        stream = reader.decompress(content[3:], rows * columns + 1)
    except zlib.error:
        raise Refused(4) from None
    if len(stream) != rows * columns or not reader.eof or reader.unused_data:
        raise Refused(4)
    if peak == 0 or way > 3:
        raise Refused(4)
    d = {}
    for r in range(rows):
        for c in range(columns):
            left = d.get((r, c - 1), 0) if way & 1 else 0
            above = d.get((r - 1, c), 0) if way & 2 else 0
            both = d.get((r - 1, c - 1), 0) if way == 3 else 0
            d[r, c] = (stream[columns * r + c] + left + above - both) % 256
    if 128 in d.values():
        raise Refused(4)
    d = {place: value - 256 * (value > 128) for place, value in d.items()}

    def code(i, j):
        a, b = min(i // 2, rows - 1), min(j // 2, columns - 1)
        e = min(max(i // 2 + (1 if i % 2 else -1), 0), rows - 1)
        f = min(max(j // 2 + (1 if j % 2 else -1), 0), columns - 1)
        total = 9 * d[a, b] + 3 * d[a, f] + 3 * d[e, b] + d[e, f]
        return min(max(q + ((peak * total) // 2032), 0), 65535)

    h, w = 4 * -(-height // 64), 4 * -(-width // 64)
    return [[code(i, j) for j in range(w)] for i in range(h)]


def alpha_of(content, height, width):
    """The rows, lists of values, of an alpha plane; or raises Refused."""
    kind = content[0] >> 2
    if kind > 5:
        raise Refused(4)
    if kind == 5:
        coded = green_of(content[1:], height, width)
    else:
        coded = bytes_of(content[1:], kind)
    if len(coded) != height * width:
        raise Refused(4)
    rows = []
    for start in range(0, height * width, width):
        row, left = list(coded[start : start + width]), 0
        if content[0] & 1:
            for x in range(width):
                left = row[x] = (row[x] + left) % 256
        if content[0] & 2 and rows:
            row = [(a + b) % 256 for a, b in zip(row, rows[-1])]
        rows.append(row)
    return rows


def bytes_of(stream, lc):
    """What a raw stream of LZMA holds; or raises Refused."""
    properties = {"lc": lc, "lp": 0, "pb": 0, "dict_size": 1 << 22}
    lzma1 = [{"id": lzma.FILTER_LZMA1, **properties}]
    reader = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=lzma1)
    try:
        found = reader.decompress(stream)
    except lzma.LZMAError:
        raise Refused(4) from None
    if not reader.eof or reader.unused_data:
        raise Refused(4)
    return found


def green_of(bitstream, height, width):
    """The greens of a lossless WebP bitstream; or raises Refused. Its reader is a library's."""
    from PIL import Image

    sides = struct.pack("<I", (width - 1) + ((height - 1) << 14))
    chunk = b"\x2f" + sides + bitstream
    chunk = b"VP8L" + struct.pack("<I", len(chunk)) + chunk + bytes(len(chunk) % 2)
    file = b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk
    try:
        return Image.open(io.BytesIO(file)).convert("RGB").getchannel("G").tobytes()
    except (OSError, ValueError):
        raise Refused(4) from None


def meant(content):
    """What the content of a part with metadata means."""
    if content[:1] == b"\1":
        stream = zlib.decompressobj()
        try:
            meaning = stream.decompress(content[1:], (1 << 24) + 1)
        except zlib.error:
            raise Refused(4) from None
        if not stream.eof or stream.unused_data:
            raise Refused(4)
    else:
        meaning = content[1:]
    if content[:1] not in (b"\0", b"\1") or not 1 <= len(meaning) <= 1 << 24:
        raise Refused(4)
    return meaning


def pieces(is_tiled, width, height, rest):
    """Size of the tiles, None if there is one, and their strings."""
    if not is_tiled:
        if max(width, height) > 4096:
            raise Refused(4)
        return None, [rest]
    if len(rest) < 2 or not 1 <= rest[0] <= 64 or not 1 <= rest[1] <= 64:
        raise Refused(4)
    tile = 64 * rest[0], 64 * rest[1]
    count = -(-width // tile[0]) * -(-height // tile[1])
    lengths = [int.from_bytes(rest[i : i + 4], "little") for i in range(2, 2 + 4 * count, 4)]
    payload = rest[2 + 4 * count :]
    if count < 2 or len(rest) < 2 + 4 * count or sum(lengths) != len(payload):
        raise Refused(4)
    ends = [sum(lengths[: i + 1]) for i in range(count)]
    return tile, [payload[end - size : end] for end, size in zip(ends, lengths)]


# FarmHash's Fingerprint64: little-endian words, all arithmetic modulo 2**64.
K0, K1, K2 = 0xC3A5C85C97CB3127, 0xB492B66FBE98F273, 0x9AE16A3B2F90404F
MASK = (1 << 64) - 1


def rotated(x, bits):
    x &= MASK
    return (x >> bits | x << (64 - bits)) & MASK


def shifted(x):
    x &= MASK
    return x ^ x >> 47


def mixed(a, b, factor):
    x = shifted((a ^ b) * factor)
    x = shifted(((b ^ x) & MASK) * factor)
    return x * factor & MASK


def fingerprint64(data):
    """FarmHash64 of bytes, an int."""
    size = len(data)
    factor = (K2 + 2 * size) & MASK

    def word(position, count=8):
        position %= size  # negative ones count from the end
        return int.from_bytes(data[position : position + count], "little")

    if size > 64:
        return long_fingerprint64(data, word)
    if size > 32:
        a, d = word(0) * K2, word(-16) * K2
        b, c = word(8), word(-8) * factor
        y = (rotated(a + b, 43) + rotated(c, 30) + d) & MASK
        z = mixed(y, (a + rotated(b + K2, 18) + c) & MASK, factor)
        e, f = word(16) * factor, word(24)
        g, h = (y + word(-32)) * factor, (z + word(-24)) * factor
        first = rotated(e + f, 43) + rotated(g, 30) + h
        return mixed(first & MASK, (e + rotated(f + a, 18) + g) & MASK, factor)
    if size > 16:
        a, b = word(0) * K1, word(8)
        c, d = word(-8) * factor, word(-16) * K2
        first = rotated(a + b, 43) + rotated(c, 30) + d
        return mixed(first & MASK, (a + rotated(b + K2, 18) + c) & MASK, factor)
    if size >= 8:
        a, b = word(0) + K2, word(-8)
        c, d = rotated(b, 37) * factor + a, (rotated(a, 25) + b) * factor
        return mixed(c & MASK, d & MASK, factor)
    if size >= 4:
        return mixed(size + (word(0, 4) << 3), word(-4, 4), factor)
    if size:
        y = data[0] + (data[size >> 1] << 8)
        z = size + (data[-1] << 2)
        return shifted(y * K2 & MASK ^ z * K0 & MASK) * K2 & MASK
    return K2


def long_fingerprint64(data, word):
    def absorb(position, a, b):
        w, x, y, z = (word(position + 8 * i) for i in range(4))
        a = (a + w) & MASK
        b = rotated(b + a + z, 21)
        total = a + x + y
        return (total + z) & MASK, (b + rotated(total, 44) + a) & MASK

    def step(position, factor, multiple):
        nonlocal x, y, z, v, w
        x = rotated(x + y + v[0] + word(position + 8), 37) * factor
        y = rotated(y + v[1] + word(position + 48), 42) * factor
        x = (x ^ w[1] * multiple) & MASK
        y = (y + v[0] * multiple + word(position + 40)) & MASK
        z = rotated(z + w[0], 33) * factor & MASK
        v = absorb(position, v[1] * factor, x + w[0])
        w = absorb(position + 32, z + w[1], y + word(position + 16))
        z, x = x, z

    size = len(data)
    y = (81 * K1 + 113) & MASK
    z = shifted(y * K2 + 113) * K2 & MASK
    x, v, w = (81 * K2 + word(0)) & MASK, (0, 0), (0, 0)
    for position in range(0, size - 1 - (size - 1) % 64, 64):
        step(position, K1, 1)
    factor = (K1 + ((z & 255) << 1)) & MASK
    w = ((w[0] + (size - 1) % 64) & MASK, w[1])
    v = ((v[0] + w[0]) & MASK, v[1])
    w = ((w[0] + v[0]) & MASK, w[1])
    step(size - 64, factor, 9)
    first = mixed(v[0], w[0], factor) + shifted(y) * K0 + z
    return mixed(first & MASK, (mixed(v[1], w[1], factor) + x) & MASK, factor)


class Coder:
    """The range coder's reader."""

    def __init__(self, string):
        self.base, self.size, self.value = 0, 1 << 32, 0
        self.bytes = iter(string)
        for _ in range(4):
            self.next_byte()

    def next_byte(self):
        self.value = (self.value << 8 | next(self.bytes, 0)) % (1 << 32)

    def symbol(self, precision, row):
        place = (self.value - self.base) % (1 << 32)
        bounds = [self.size * mass >> precision for mass in row]
        symbol = next(s for s in range(len(row) - 1) if bounds[s] <= place < bounds[s + 1])
        self.base = (self.base + bounds[symbol]) % (1 << 32)
        self.size = bounds[symbol + 1] - bounds[symbol]
        if self.size <= 1 << 16:
            self.base, self.size = (self.base << 16) % (1 << 32), self.size << 16
            self.next_byte()
            self.next_byte()
        return symbol


class Lane:
    """One of the interleaved coder's."""

    def __init__(self, bits):
        self.length, self.bits = len(bits), iter(bits)
        self.size, self.value, self.taken = 1 << 48, 0, 0
        self.next_bits(48)

    def next_bits(self, count):
        for _ in range(count):
            self.value = 2 * self.value + int(next(self.bits, "0"))
        self.taken += count

    def symbol(self, row):
        part = self.size >> 16
        symbol = next(
            s for s in range(len(row) - 1) if self.value < part * row[s + 1] or s == len(row) - 2
        )
        start, end = part * row[symbol], part * row[symbol + 1]
        self.value -= start
        self.size = (self.size if row[symbol + 1] == 65536 else end) - start
        if self.size < 1 << 32:
            self.size <<= 16
            self.next_bits(16)
        return symbol

    def has_ended(self):
        z = self.size.bit_length() - 1
        return self.value < 1 << z and self.taken == self.length + z


class Lanes:
    """The interleaved coder's reader."""

    def __init__(self, string):
        bits = "".join(f"{byte:08b}" for byte in string)
        count, unused, k = (int(bits[a:b], 2) for a, b in ((0, 8), (8, 11), (11, 16)))
        count += 1
        assert unused == 0 or int(bits[-unused:], 2) == 0
        bits = bits[16 : len(bits) - unused]
        over = [int("0" + bits[k * i : k * (i + 1)], 2) for i in range(count)]
        bits = bits[k * count :]
        m, remainder = divmod(len(bits) - sum(over), count)
        assert m >= 0 and remainder == 0
        self.lanes = []
        for e in over:
            self.lanes.append(Lane(bits[: m + e]))
            bits = bits[m + e :]
        self.number = 0

    def symbol(self, precision, row):
        assert precision == 16
        lane = self.lanes[self.number % len(self.lanes)]
        self.number += 1
        return lane.symbol(row)

    def has_ended(self):
        return all(lane.has_ended() for lane in self.lanes)


def decisions(coder, probabilities):
    """The answers to questions of such probabilities, of 4096."""
    return [coder.symbol(16, [0, 65536 - 16 * k, 65536]) for k in probabilities]


def channels_in_use(coder, table):
    """The numbers of the channels that a string says it has, by the model's `table`."""
    digits = decisions(coder, [2048] * len(table).bit_length())
    level = int("".join(map(str, digits)), 2)
    if level >= len(table):
        return list(range(len(table[0])))
    answers = decisions(coder, table[level])
    return [channel for channel, answer in enumerate(answers) if answer] or [0]


def channels_in_use_by_groups(coder, channels):
    """The same of models that were exported before 26 November 2026."""

    def ask(count):
        return decisions(coder, [2048] * count)

    groups = -(-channels // 8)
    digits = ask((groups + 1).bit_length())
    if all(digits):
        return list(range(channels))
    number = min(int("".join(map(str, digits)), 2), groups)
    some = [group for group, answer in enumerate(ask(number)) if answer]
    whole = dict(zip(some, ask(len(some))))
    members = {group: [1] * 8 if whole[group] else None for group in some}
    mixed = [group for group in some if not whole[group]]
    answers = ask(8 * len(mixed))
    members.update({group: answers[8 * i : 8 * i + 8] for i, group in enumerate(mixed)})
    found = [8 * group + i for group in some for i in range(8) if members[group][i]]
    return [channel for channel in found if channel < channels] or [0]


# Here the document ends, and the library comes in.


def with_checksum(body):
    return body + fingerprint64(body).to_bytes(8, "little")[:4]


@pytest.fixture(scope="module")
def file(toy_codec, make_pixels):
    return toy_codec.compress(make_pixels(11, 300, 1), quality=80)


@pytest.mark.parametrize("grayscale", [False, True])
def test_every_field_is_what_the_library_says(toy_codec, make_pixels, grayscale):
    data = toy_codec.compress(make_pixels(11, 300, 1 if grayscale else 3), quality=80)
    known, fields = toy_codec.info(data), read(data)
    assert fields.grayscale == known["grayscale"] == grayscale
    assert fields.fingerprint.hex() == known["fingerprint"]
    assert fields.quality * 100 / 65535 == pytest.approx(known["quality"], abs=1e-4)
    assert (fields.width, fields.height) == (known["width"], known["height"]) == (300, 11)
    (string,) = fields.strings
    assert fields.tile is None and len(string) == known["payload_bytes"]
    assert string.startswith(b"\x89PNG") and len(data) == known["file_bytes"]


def test_tiles_are_where_the_text_says(toy_codec, make_pixels):
    import io

    import numpy as np
    from PIL import Image

    pixels = make_pixels(150, 100)
    fields = read(toy_codec.compress(pixels, quality=80, tile=64))
    assert fields.tile == (64, 64) and len(fields.strings) == 6
    width, height = fields.tile
    for i, string in enumerate(fields.strings):
        top, left = i // 2 * height, i % 2 * width
        tile = pixels[top : top + height, left : left + width]
        decoded = np.array(Image.open(io.BytesIO(string)))
        assert np.array_equal(decoded[: tile.shape[0], : tile.shape[1]], tile)


def test_the_checksum_is_farmhash():
    import tensorflow as tf

    data = bytes((7 * i * i + i) % 256 for i in range(700))
    for size in [*range(260), 511, 512, 513, 639, 640, 641, 700]:
        known = tf.fingerprint([data[:size]]).numpy()[0].tobytes()
        assert fingerprint64(data[:size]).to_bytes(8, "little") == known, size


def test_damaged_copies_are_refused_for_the_reasons_that_the_library_gives(file):
    import tensorflow as tf

    from tfclic.export import container

    parse = tf.function(container.parse, [tf.TensorSpec([], tf.string)], autograph=False)
    damaged = [file[:size] for size in range(0, len(file), 7)]
    damaged += [
        file[:place] + bytes([file[place] ^ pattern]) + file[place + 1 :]
        for place in [*range(20), len(file) // 2, len(file) - 4, len(file) - 1]
        for pattern in (1, 2, 16, 128, 255)
    ]
    sized = (
        b"\0\5",
        b"\5\0",
        b"\x85\0\5",
        b"\x80\x80\x80\x01\1",
        b"\xff\xff\x3f\xff\xff\x3f",
        b"\5\x85",
    )
    damaged += [with_checksum(b"TFC\1" + bytes([15 + len(s)]) + b"abcd\0\0" + s) for s in sized]
    damaged += [with_checksum(b"TFC" + bytes([flags]) + file[4:-4]) for flags in (0, 2, 0x21, 0x91)]
    for data in damaged:
        with pytest.raises(Refused) as refused:
            read(data)
        assert refused.value.args == (int(parse(data).status),), data[:24]


@pytest.mark.parametrize(("name", "reader"), [("range", Coder), ("interleaved", Lanes)])
def test_the_coders_and_the_order_of_the_hyper_latents(codec, name, reader):
    import numpy as np
    import tensorflow as tf

    coding = codec.entropy_coder()
    hyper = np.round(np.random.default_rng(0).normal(0, 20, [2, 3, 4])).clip(-127, 127)
    write = tf.function(lambda *arrays: coding.compress(*arrays, name))
    string = write(hyper.astype(np.float32), tf.zeros([8, 12, 6])).numpy()
    coder = reader(string)
    table = coding.names["latents"].table.numpy().tolist()
    assert channels_in_use(coder, table) == list(range(6))
    rows = coding.streams["hyper_latents"].table.numpy().tolist()
    read_back = [coder.symbol(16, rows[channel][1:]) for _ in range(6) for channel in range(4)]
    np.testing.assert_array_equal(np.reshape(read_back, [2, 3, 4]) - 127, hyper)


def test_the_channels_in_use():
    import numpy as np
    import tensorflow as tf

    from tfclic.entropy import active, coders

    random = np.random.default_rng(1)
    for levels, channels in ((1, 6), (3, 24), (9, 100)):
        names = active.Names(active.assumed(levels, channels))
        for share in (0, 0.1, 0.5, 0.95, 1):
            chosen = np.flatnonzero(random.random(channels) < share)
            encoder = coders.RangeEncoder(coders.NO_TABLE)
            chosen = tf.constant(chosen, tf.int32)
            state, _ = names.code(encoder, encoder.start(), chosen)
            coder = Coder(encoder.finish(state).numpy())
            found = channels_in_use(coder, names.table.numpy().tolist())
            assert found == (chosen.numpy().tolist() or [0])


def test_the_channels_in_use_of_a_file_of_a_shipped_model():
    import pathlib

    import numpy as np
    import tensorflow as tf

    from tfclic import runtime

    folder = pathlib.Path(__file__).parents[1] / "vectors"
    data = next(folder.glob("gmm_attention_small-large-*.tfclic")).read_bytes()
    model = runtime.Library().codec_of(data)
    latents = model.decode_latents(data)
    coder = Coder(read(data).strings[0])
    variables = tf.train.load_checkpoint(str(model.model.path / "variables" / "variables"))
    table = "coding/names/latents/table/.ATTRIBUTES/VARIABLE_VALUE"
    if variables.has_tensor(table):
        found = channels_in_use(coder, variables.get_tensor(table).tolist())
    else:
        found = channels_in_use_by_groups(coder, latents.shape[2])
    assert 1 < len(found) < latents.shape[2]
    assert found == np.flatnonzero(latents.any((0, 1))).tolist()


@pytest.mark.parametrize("lanes", [1, 5, None])
def test_strings_of_the_interleaved_coder(lanes):
    import numpy as np
    import tensorflow as tf

    from tfclic.entropy import coders, interleaved

    random = np.random.default_rng(2)
    probability = random.integers(1, 4096, 4000).astype(np.int32)
    truth = random.random(4000) < probability / 4096
    encoder = interleaved.Encoder(coders.NO_TABLE, lanes)
    write = tf.function(lambda *given: encoder.finish(encoder.decide(encoder.start(), *given)[0]))
    reader = Lanes(write(probability, truth).numpy())
    rows = ([0, 65536 - 16 * int(k), 65536] for k in probability)
    assert [reader.symbol(16, row) for row in rows] == truth.astype(int).tolist()
    assert reader.has_ended()
    if lanes is None:
        bits = -np.log2(np.where(truth, probability, 4096 - probability) / 4096).sum()
        assert len(reader.lanes) == int(bits**0.5 / 7)


def test_files_of_the_interleaved_coder():
    from tfclic.format import header

    known = header.Header(False, b"abcd", 7, 64, 60, 64, 64, (2,), b"\0\0", True)
    fields = read(header.pack(known, lambda body: fingerprint64(body).to_bytes(8, "little")))
    assert fields.interleaved and fields.strings == [b"\0\0"] and fields.tile is None


def test_files_with_metadata(file):
    from tfclic import errors
    from tfclic.format import header, picture

    metadata = picture.Metadata(b"a profile", b"II*\0 Exif", b"<xmp/>" * 50)
    data = picture.pack(picture.Picture(file, metadata))
    assert read_parts(data) == {1: file, 129: metadata[0], 130: metadata[1], 131: metadata[2]}
    damaged = [data[:size] for size in range(5, len(data), 7)]
    damaged += [
        data[:place] + bytes([data[place] ^ pattern]) + data[place + 1 :]
        for place in [*range(4, 20), len(data) - 30, len(data) - 1]
        for pattern in (1, 16, 128, 255)
    ]
    unknown = data[:3] + bytes([5]) + header.varint(len(file) + 16) + b"\1"
    unknown += header.varint(len(file)) + file + b"\3\0"
    damaged.append(unknown + zlib.crc32(unknown).to_bytes(4, "little"))
    for each in damaged:
        with pytest.raises(Refused) as refused:
            read_parts(each)
        with pytest.raises(errors.FileFormatError) as told:
            picture.parse(each)
        assert str(told.value) == header.SENTENCES[refused.value.args[0]]


@pytest.mark.parametrize("way", range(4))
def test_maps_of_qualities(file, way):
    import numpy as np

    from tfclic import errors
    from tfclic.format import picture, quality_map

    nodes = np.random.default_rng(way).integers(-127, 128, (4, 7)).astype(np.int8)
    known = quality_map.QualityMap(50000, nodes)
    written = quality_map._deflated(quality_map._differences(nodes.astype(np.uint8), way))
    for content in (quality_map.encode(known), b"\x50\xc3" + bytes([way]) + written):
        data = picture.pack(picture.Picture(file, quality_map=content))
        assert data[3] == 6 and read_parts(data) == {0: content, 1: file}
        found = codes_of(content, 20000, 100, 201)
        assert found == known.codes(20000, (0, 0, 8, 16)).tolist()
    damages = [content[:size] for size in range(len(content))]
    damages += [content + b"\0", b"\0\0" + content[2:], content[:2] + b"\4" + content[3:]]
    damages.append(b"\1\0\0" + quality_map._deflated(np.full([4, 7], 128, np.uint8)))
    for damaged in damages:
        with pytest.raises(Refused):
            codes_of(damaged, 20000, 100, 201)
        with pytest.raises(errors.FileFormatError, match="corrupted"):
            quality_map.decode(damaged, 100, 201)
    forged = b"TFC\5" + data[4:-4]
    forged += zlib.crc32(forged).to_bytes(4, "little")
    with pytest.raises(Refused) as refused:
        read_parts(forged)
    assert refused.value.args == (4,)
    with pytest.raises(errors.FileFormatError, match="corrupted"):
        picture.parse(forged)


@pytest.mark.parametrize("way", range(4))
def test_alpha_planes(file, way):
    import numpy as np

    from tfclic import errors
    from tfclic.format import alpha, picture, vp8l

    plane = np.add.outer(np.arange(20) * 3, np.arange(30) ** 2).astype(np.uint8)
    coded = bytes([way | 3 << 2]) + alpha._coded(plane, way, 3, 6)
    webp = bytes([way | 5 << 2]) + vp8l.encode(alpha._differences(plane, way))
    for content in (alpha.encode(plane), coded, webp):
        data = picture.pack(picture.Picture(file, alpha=content))
        assert alpha_of(read_parts(data)[2], 20, 30) == plane.tolist()
    damages = [coded[:-1], coded + b"\0", coded[:1] + bytes(30), b"\x14" + coded[1:]]
    damages += [b"\x18" + coded[1:], webp[:-3], webp[:1]]
    for damaged in damages:
        with pytest.raises(Refused):
            alpha_of(damaged, 20, 30)
        with pytest.raises(errors.FileFormatError, match="corrupted"):
            alpha.decode(damaged, 20, 30)
