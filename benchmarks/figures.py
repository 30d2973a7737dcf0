"""The pictures of the documents: curves, one crop at equal bytes, and the served page.

    python benchmarks/figures.py curves docs/rate_distortion.svg
    python benchmarks/figures.py crop docs/side_by_side.webp [IMAGE] [--at X,Y]
    python benchmarks/figures.py page docs/serving_page.png [IMAGE]

Curves are those of models' cards, measured by `bin/evaluate --card`, and stored ones. The crop is
of a made image, hills in the evening, unless an IMAGE is given: as it is, as JPEG and WebP of at
most as many bytes as the model's file has, and as that. The page (`bin/serve --ui`) shows it with
the map of its bits and a box of another quality; that takes playwright and a Chromium.
"""

import argparse
import io
import shutil

import matplotlib
import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

import tfclic
from tfclic import images, runtime
from tfclic.evaluation import curves
from tfclic.runtime import catalog

STORED = {
    "vtm": ("VTM", "#7f7f7f"),
    "local-avif444": ("AVIF 4:4:4", "#e08214"),
    "local-webp": ("WebP", "#2ca25f"),
    "local-jpeg": ("JPEG", "#b2182b"),
}
OURS = "#1f4e79"
MOST_BPP, LEAST_BPP, LEAST_PSNR, MOST_PSNR = 2.6, 0.1, 25.5, 43.5
SIDE, CROP, LABEL = 512, 200, 22  # pixels
PAGE_SIZE = {"width": 800, "height": 900}
BOX = 0.55, 0.28, 0.2, 0.16
BEGUN = 2000  # milliseconds until the page is at work on what a box changes


def points_of(results):
    """The (bits per pixel, PSNR) of a curve, in words."""
    pairs = zip(results["bpp"], results["psnr-rgb"])
    return " ".join(f"{rate:.3f},{psnr:.2f}" for rate, psnr in pairs)


def draw_curves(models):
    """A Figure: PSNR over bits per pixel on a logarithmic scale."""
    figure = Figure((7, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for name in models:
        results = catalog.find(name).card.results["kodak"]
        axes.plot(
            results["bpp"],
            results["psnr-rgb"],
            "o-",
            ms=3.5,
            lw=2,
            color=OURS,
            label=name,
            zorder=3,
        )
    for name, (label, colour) in STORED.items():
        results = curves.read(name)["results"]
        axes.plot(results["bpp"], results["psnr-rgb"], lw=1.4, color=colour, label=label)
    axes.set_xscale("log")
    ticks = [0.1, 0.2, 0.4, 0.8, 1.6]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.set(xlim=(LEAST_BPP, MOST_BPP), ylim=(LEAST_PSNR, MOST_PSNR))
    axes.set(xlabel="bits per pixel", ylabel="PSNR (dB)")
    axes.set_title("The 24 images of the Kodak suite, averages", fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=9)
    return figure


def hills():
    """A made image, uint8 [SIDE, SIDE, 3]: hills with trees before an evening sky."""
    rng = np.random.default_rng(3)
    rows, columns = np.mgrid[:SIDE, :SIDE] / SIDE
    sky = np.stack([0.95 - 0.5 * (0.6 - rows), 0.62 + 0.1 * rows, 0.45 + 0.5 * (0.7 - rows)], -1)
    sun = np.exp(-((rows - 0.36) ** 2 + (columns - 0.62) ** 2) / 0.006)[..., None]
    found = sky + sun * [0.25, 0.2, 0.05] + 0.06 * (fractal(rng, 1.2) - 0.5)[..., None]
    for layer in range(5):
        depth = layer / 4
        ridge = 0.42 + 0.11 * layer + 0.16 * (fractal(rng, 1.0)[layer] - 0.5)
        ridge += depth**2 * 0.02 * np.abs(rng.normal(size=SIDE))  # trees
        colour = np.array([0.55, 0.5, 0.6]) * (1 - depth) + np.array([0.12, 0.2, 0.08]) * depth
        texture = (fractal(rng, 0.55) - 0.5) * (0.1 + 0.35 * depth)
        inside = (rows > ridge[None])[..., None]
        found = np.where(inside, colour * (1 + texture[..., None]), found)
    return np.clip(np.round(255 * found), 0, 255).astype(np.uint8)


def fractal(rng, slope):
    """Noise of all sizes, 0..1 [SIDE, SIDE], the finer the weaker, by the power of `slope`."""
    frequencies = np.hypot(*np.meshgrid(np.fft.fftfreq(SIDE), np.fft.fftfreq(SIDE)))
    frequencies[0, 0] = 1
    spectrum = np.fft.fft2(rng.normal(size=(SIDE, SIDE))) / frequencies**slope
    found = np.fft.ifft2(spectrum).real
    return (found - found.min()) / (found.max() - found.min())


def as_peer(pixels, name, most):
    """(bytes, pixels) of the best file of at most so many bytes, JPEG or WebP."""
    best, options = None, {"JPEG": {"optimize": True}, "WEBP": {"method": 6}}[name]
    low, high = 1, 95
    while low <= high:
        buffer, quality = io.BytesIO(), (low + high) // 2
        Image.fromarray(pixels).save(buffer, name, quality=quality, **options)
        if len(buffer.getvalue()) <= most:
            best, low = buffer, quality + 1
        else:
            high = quality - 1
    if best is None:
        raise SystemExit(f"{name} cannot be so small; choose a higher --quality.")
    return len(best.getvalue()), np.array(Image.open(best).convert("RGB"))


def side_by_side(pixels, model, quality, corner):
    """The crops beside each other, a Pillow image."""
    codec = tfclic.load(model)
    data = codec.compress(pixels, quality)
    panels = {f"original, {pixels.size:,} bytes": pixels}
    for name in ("JPEG", "WEBP"):
        size, shown = as_peer(pixels, name, len(data))
        panels[f"{name.replace('EB', 'eb')}, {size:,} bytes"] = shown
    panels[f"tfclic, {len(data):,} bytes"] = codec.decompress(data)
    x, y = corner
    sheet = Image.new("RGB", (len(panels) * CROP, CROP + LABEL), "white")
    for index, (label, each) in enumerate(panels.items()):
        shown = np.broadcast_to(each.reshape(*each.shape[:2], -1), (*each.shape[:2], 3))
        sheet.paste(Image.fromarray(shown[y : y + CROP, x : x + CROP]), (index * CROP, LABEL))
        place = index * CROP + 6, 4
        ImageDraw.Draw(sheet).text(place, label, "black", ImageFont.load_default(12))
    return sheet


def page_shot(pixels, model, quality, box):
    """The page with an image, as PNG bytes.

    Args:
      pixels: uint8 `[H, W, 3]`.
      model: name of a shipped one.
      quality: 0..100.
      box: x, y, width, height of a box of another quality, in shares of the image's sides.
    """
    from playwright import sync_api
    from serving_load import Server

    server = Server(catalog.find(model).path, "--ui", name=model)
    with sync_api.sync_playwright() as playwright:
        try:
            names = "chromium", "chromium-browser", "google-chrome", "google-chrome-stable"
            path = next(filter(None, map(shutil.which, names)), None)
            browser = playwright.chromium.launch(executable_path=path)
            page = browser.new_page(viewport=PAGE_SIZE)
            page.goto(f"http://127.0.0.1:{server.rest_port}")
            page.wait_for_selector("#model option", state="attached")
            page.locator("#quality").fill(f"{quality:g}")
            png = images.encode(pixels, "hills.png")
            file = {"name": "hills.png", "mimeType": "image/png", "buffer": png}
            page.locator("#file").set_input_files(file)
            page.locator("#sizes tr").nth(2).wait_for()
            page.check("#show-heat")
            page.check("#draw")
            view = page.locator("#view").bounding_box()
            x, y = view["x"] + box[0] * view["width"], view["y"] + box[1] * view["height"]
            page.mouse.move(x, y)
            page.mouse.down()
            page.mouse.move(x + box[2] * view["width"], y + box[3] * view["height"], steps=3)
            page.mouse.up()
            page.locator("#areas li").wait_for()
            page.wait_for_timeout(BEGUN)
            sync_api.expect(page.locator("#status")).to_have_text("", timeout=60_000)
            return page.screenshot(full_page=True)
        finally:
            server.end()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("figure", choices=("curves", "crop", "page"))
    parser.add_argument("output", metavar="FILE")
    parser.add_argument("image", metavar="IMAGE", nargs="?")
    parser.add_argument("--model", metavar="NAME", default=runtime.DEFAULT_MODEL)
    parser.add_argument("--quality", type=float, default=50)
    parser.add_argument(
        "--at", default="240,150", help="upper left of the crop (default: %(default)s)"
    )
    args = parser.parse_args()
    if args.figure == "curves":
        # the same bytes whenever it is drawn
        with matplotlib.rc_context({"svg.hashsalt": "tfclic", "svg.fonttype": "none"}):
            points = points_of(catalog.find(args.model).card.results["kodak"])
            about = {"Date": None, "Description": f"{args.model}: {points}"}
            FigureCanvasSVG(draw_curves([args.model])).print_svg(args.output, metadata=about)
        return
    pixels = images.read(args.image).pixels if args.image else hills()
    if args.figure == "page":
        shot = Image.open(io.BytesIO(page_shot(pixels, args.model, args.quality, BOX)))
        shot.convert("P", palette=Image.Palette.ADAPTIVE).save(args.output, optimize=True)
        return
    corner = tuple(map(int, args.at.split(",")))
    side_by_side(pixels, args.model, args.quality, corner).save(args.output, quality=92, method=6)


if __name__ == "__main__":
    main()
