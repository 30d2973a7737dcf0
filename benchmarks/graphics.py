"""What models make of graphics, which they were not trained on: text, charts, windows, patterns.

    python benchmarks/graphics.py [MODEL ...] [--qualities 50,80,90,100]

Images of 256x256 pixels are drawn here and coded; the table has bits per pixel and PSNR. Where a
higher quality is worse by more than 0.5 dB, which no photograph of a training would show, and below
45 dB, so that it could be seen, the row says so.

Exit status: 0; 1 if there are such rows.
"""

import argparse
import sys

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import tfclic
from tfclic import runtime

SIDE = 256
WORSE, SEEN = 0.5, 45.0  # dB
BLACK, WHITE, RED, CYAN = (0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 255, 255)


def text(ink, paper):
    """Lines of words."""
    random, image = np.random.default_rng(0), Image.new("RGB", (SIDE, SIDE), paper)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default()
    for top in range(4, SIDE, 14):
        letters = random.choice(list("abcdefghijklmnoprstuvwy     "), 44)
        draw.text((4, top), "".join(letters), fill=ink, font=font)
    return image


def chart():
    """Bars, curves and a grid on white."""
    random, image = np.random.default_rng(1), Image.new("RGB", (SIDE, SIDE), WHITE)
    draw = ImageDraw.Draw(image)
    for at in range(0, SIDE, 32):
        draw.line([(at, 0), (at, SIDE)], fill=(200,) * 3)
        draw.line([(0, at), (SIDE, at)], fill=(200,) * 3)
        draw.rectangle([at + 6, SIDE - int(random.integers(20, 150)), at + 22, SIDE], fill=RED)
    for colour in ((0, 0, 255), (0, 128, 0), BLACK):
        heights = 128 + 9 * np.cumsum(random.normal(size=SIDE // 8))
        draw.line([(8 * i, float(y)) for i, y in enumerate(heights)], fill=colour, width=2)
    return image


def windows():
    """Rectangles in plain colours, with outlines."""
    random, image = np.random.default_rng(2), Image.new("RGB", (SIDE, SIDE), (240,) * 3)
    draw = ImageDraw.Draw(image)
    for _ in range(30):
        left, top = (int(x) for x in random.integers(0, SIDE - 40, 2))
        width, height = (int(x) for x in random.integers(8, 90, 2))
        fill = tuple(int(x) for x in random.choice([0, 64, 128, 200, 255], 3))
        draw.rectangle([left, top, left + width, top + height], fill=fill, outline=BLACK)
    return image


def pattern(period, first, second, is_checked=False):
    """Stripes, or checks, of two colours."""
    columns = np.arange(SIDE) // period % 2
    chosen = columns[None] ^ (columns[:, None] if is_checked else 0)
    chosen = np.broadcast_to(chosen, (SIDE, SIDE))
    pixels = np.where(chosen[..., None], np.array(first), np.array(second))
    return Image.fromarray(pixels.astype(np.uint8))


def drawn():
    """Images by their names."""
    return {
        "text": text(BLACK, WHITE),
        "text, white on dark": text((230,) * 3, (20, 20, 30)),
        "text in red": text(RED, WHITE),
        "chart": chart(),
        "windows": windows(),
        "edge": pattern(SIDE // 2 + 7, WHITE, BLACK),
        "stripes of 8": pattern(8, WHITE, BLACK),
        "checks of 16": pattern(16, WHITE, BLACK, True),
        "checks of 4": pattern(4, WHITE, BLACK, True),
        "red and cyan stripes of 16": pattern(16, RED, CYAN),
    }


def measured(codec, pixels, quality):
    """Bits per pixel, and PSNR."""
    data = codec.compress(pixels, quality)
    error = np.mean((codec.decompress(data).astype(np.float64) - pixels) ** 2)
    return 8 * len(data) / pixels[..., 0].size, 10 * np.log10(255**2 / max(error, 1e-3))


def main():
    """Prints the table; returns the exit status."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("models", nargs="*", default=[runtime.DEFAULT_MODEL], metavar="MODEL")
    parser.add_argument(
        "--qualities", type=lambda text: [float(x) for x in text.split(",")],
        default=[50.0, 80.0, 90.0, 100.0], metavar="Q,Q,...",
    )  # fmt: skip
    args = parser.parse_args()
    found = False
    print("| model | image | " + " | ".join(f"{q:g}: bpp, dB" for q in args.qualities) + " | |")
    print("|---" * (3 + len(args.qualities)) + "|")
    for name in args.models:
        codec = tfclic.load(name)
        for title, image in drawn().items():
            pixels = np.asarray(image)
            results = [measured(codec, pixels, quality) for quality in args.qualities]
            levels = [psnr for _, psnr in results]
            falls = any(b < min(a - WORSE, SEEN) for a, b in zip(levels, levels[1:]))
            found |= falls
            cells = [f"{bpp:.2f}, {psnr:.1f}" for bpp, psnr in results]
            cells.append("worse" if falls else "")
            print(f"| {name} | {title} | " + " | ".join(cells) + " |", flush=True)
    return int(found)


if __name__ == "__main__":
    sys.exit(main())
