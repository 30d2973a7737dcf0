"""What alpha planes take: as in `.tfclic` files, and as WebP codes them without loss.

    python benchmarks/alpha.py [IMAGE ...] [--model NAME]

Planes of 768x512 are made: an ellipse, its shadow, text, hair and the like; of each IMAGE the luma
is taken, as it is and with more contrast. WebP's are the bytes of the chunk ALPH of a file that it
writes with its slowest method, beside a gray picture.

With a model, an ellipse is cut out of each IMAGE, black around it, and coded: as it is, and with
what is hidden continued (`tfclic.format.hidden`), which is what files have.
"""

import argparse
import io
import struct
import time

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

import tfclic
from tfclic.format import alpha, hidden

SIZE = WIDTH, HEIGHT = 768, 512
QUALITIES = 30, 60
FINER = 4  # shapes are drawn so many times as large


def made():
    """Yields (name, "L" image) of planes as programs make them."""
    rng = np.random.default_rng(0)
    disc = drawn(lambda pen: pen.ellipse((500, 300, 2500, 1800), fill=255))
    yield "ellipse", disc
    yield "ellipse, hard edge", disc.point(lambda value: 255 * (value > 128))
    small = disc.resize((160, 120), Image.Resampling.LANCZOS)
    yield "the same, 160x120", small.point(lambda value: 255 * (value > 99))
    yield "shadow", disc.filter(ImageFilter.GaussianBlur(20))
    soft = np.array(disc.filter(ImageFilter.GaussianBlur(4)), np.float64)
    noise = soft + rng.normal(0, 3, [HEIGHT, WIDTH])
    yield "noise", Image.fromarray(np.clip(noise, 0, 255).astype(np.uint8))
    yield (
        "rounded corners",
        drawn(
            lambda pen: pen.rounded_rectangle(
                (0, 0, FINER * WIDTH - 1, FINER * HEIGHT - 1), 120, 255
            )
        ),
    )
    text, font = Image.new("L", SIZE), ImageFont.load_default(24)
    for line in range(16):
        words = f"Sphinx of black quartz, judge my vow {line} 0123456789"
        ImageDraw.Draw(text).text((10, 30 * line), words, fill=255, font=font)
    yield "text", text
    yield "hair", drawn(lambda pen: hair(pen, rng))
    ramp = np.linspace(0, 255, WIDTH)[None].repeat(HEIGHT, 0)
    yield "gradient", Image.fromarray(np.round(ramp).astype(np.uint8))
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    fading = 255 - 0.7 * np.hypot(columns - 400, rows - 250)
    yield "vignette", Image.fromarray(np.clip(fading, 0, 255).astype(np.uint8))
    icon = Image.new("L", (64, 64))
    ImageDraw.Draw(icon).rounded_rectangle((4, 4, 60, 60), 12, fill=255)
    yield "icon, 64x64", icon.filter(ImageFilter.GaussianBlur(1))


def drawn(draw):
    """The plane on which the function `draw` has drawn with a pen, with soft edges."""
    large = Image.new("L", (FINER * WIDTH, FINER * HEIGHT))
    draw(ImageDraw.Draw(large))
    return large.resize(SIZE, Image.Resampling.LANCZOS)


def hair(pen, rng):
    pen.ellipse((800, 400, 2200, 2000), fill=255)
    for angle in rng.uniform(0, 2 * np.pi, 1500):
        length, end = rng.uniform(1, 1.5), angle + rng.normal(0, 0.1)
        root = 1500 + 700 * np.cos(angle), 1200 + 800 * np.sin(angle)
        tip = 1500 + 700 * length * np.cos(end), 1200 + 800 * length * np.sin(end)
        pen.line((*root, *tip), fill=int(rng.integers(100, 256)), width=2)


def of_image(path):
    """Yields (name, plane) of an image's luma."""
    luma = Image.open(path).convert("L")
    yield f"{path}, luma", luma
    contrast = np.clip(4 * (np.array(luma, np.int32) - 100), 0, 255)
    yield f"{path}, contrast", Image.fromarray(contrast.astype(np.uint8))


def of_webp(plane):
    """Bytes that WebP takes for a plane."""
    picture = Image.new("RGB", plane.size, (90, 90, 90))
    picture.putalpha(plane)
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=80, method=6, alpha_quality=100)
    data, position = buffer.getvalue(), 12
    while data[position : position + 4] != b"ALPH":
        (size,) = struct.unpack_from("<I", data, position + 4)
        position += 8 + size + size % 2
    return 8 + struct.unpack_from("<I", data, position + 4)[0]


def cut_out(model, paths):
    """Prints the bytes that the model takes for the colours of images with a hidden part."""
    codec = tfclic.load(model)
    print("\n| image | quality | black | continued | share |\n|---|---|---|---|---|")
    for path in paths:
        pixels = np.array(Image.open(path).convert("RGB"))
        plane = np.array(dict(made())["ellipse"].resize(pixels.shape[1::-1]))
        pixels[plane == 0] = 0
        continued = hidden.filled(pixels, plane == 0)
        for quality in QUALITIES:
            before, after = (len(codec.compress(each, quality)) for each in (pixels, continued))
            print(f"| {path} | {quality} | {before:,} | {after:,} | {after / before:.2f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("images", metavar="IMAGE", nargs="*")
    parser.add_argument("--model", metavar="NAME", help="codes images with a hidden part, too")
    args = parser.parse_args()
    worst = 0
    print("| plane | bytes | WebP | share | s to code | s to decode |\n|---|---|---|---|---|---|")
    for name, plane in [*made(), *(pair for path in args.images for pair in of_image(path))]:
        pixels = np.array(plane)
        started = time.perf_counter()
        coded = alpha.encode(pixels)
        between = time.perf_counter()
        decoded = alpha.decode(coded, *pixels.shape)
        ended = time.perf_counter()
        if not np.array_equal(decoded, pixels):
            raise SystemExit(f"{name} did not come back")
        ours, theirs = len(coded) + 3, of_webp(plane)  # its kind and length too
        worst = max(worst, ours / theirs)
        seconds = f"{between - started:.2f} | {ended - between:.3f}"
        print(f"| {name} | {ours:,} | {theirs:,} | {ours / theirs:.3f} | {seconds} |")
    print(f"\nat most {worst:.3f} times WebP's bytes")
    if args.model:
        cut_out(args.model, args.images)


if __name__ == "__main__":
    main()
