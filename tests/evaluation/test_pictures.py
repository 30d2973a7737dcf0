"""Pictures: a page for each, and in them the numbers that they are of."""

import io
import re

import numpy as np
import pytest
from PIL import Image

from tfclic import errors
from tfclic.runtime.statistics import Part

pytest.importorskip("matplotlib")

from tfclic.evaluation import inspection, pictures  # noqa: E402


@pytest.fixture
def view(explanation, make_pixels):
    places = [(0, 0), (129, 89), (60, 40)]
    qualities = np.linspace(20, 60, 54, dtype=np.float32).reshape(6, 9)
    # the last letter is a byte of a file's name that is no text
    image = "made, $5, 写真, \udce9", make_pixels(90, 130)
    return inspection.view(*image, explanation, 200, None, places, qualities)


def pages(pdf):
    return len(re.findall(rb"/Type /Page\b", pdf))


def test_a_pdf_has_a_page_for_each_picture(view):
    pdf = pictures.encode(view, "x.PDF")
    assert pdf.startswith(b"%PDF") and pages(pdf) == len(pictures.PICTURES) == 8


def test_a_png_has_them_below_each_other(view):
    sizes = [draw(view).get_size_inches() * pictures.DPI for draw in pictures.PICTURES]
    with Image.open(io.BytesIO(pictures.encode(view, "x.png"))) as image:
        assert image.width == pytest.approx(max(width for width, _ in sizes), abs=2)
        assert image.height == pytest.approx(sum(height for _, height in sizes), abs=8)


def test_a_single_gaussian_is_drawn_too(view):
    single = {name: view.found[name][..., :1] for name in ("weights", "means", "scales")}
    single["weights"] = np.ones_like(single["weights"])
    figure = pictures.mixture_maps(view._replace(found={**view.found, **single}))
    assert len([axes for axes in figure.axes if axes.images]) == 2 + 4
    assert pages(pictures.encode(view._replace(found={**view.found, **single}), "x.pdf")) == 8


def test_what_takes_no_bits_is_drawn_without_complaint(view):
    parts = {name: Part(*(0 * array for array in part)) for name, part in view.parts.items()}
    with np.errstate(all="raise"):
        assert pictures.channel_bits(view._replace(parts=parts, header_bits=8))
        assert pictures.bits_map(view._replace(parts=parts))


def test_a_model_without_mixtures_and_slices_has_the_other_pictures(view):
    found = {name: view.found[name] for name in ("latents", "latents_bits")}
    grayscale = view.pixels[..., 0]
    less = dict(found=found, pixels=grayscale, levels={}, correlations={}, slices=[6])
    less["qualities"] = None
    assert pages(pictures.encode(view._replace(**less), "x.pdf")) == 2


def shown(figure, title):
    """The array of the one map in `figure` whose title has `title` in it."""
    (axes,) = (axes for axes in figure.axes if title in axes.get_title())
    return axes.images[-1].get_array()


def test_maps_show_the_channel_and_have_labelled_colour_bars(view):
    figure, found = pictures.mixture_maps(view), view.found
    np.testing.assert_array_equal(shown(figure, "latent"), found["latents"])
    np.testing.assert_array_equal(shown(figure, "bits"), found["latents_bits"])
    for k in range(3):
        weight = shown(figure, f"weight $w$, Gaussian {k + 1}")
        np.testing.assert_array_equal(weight, found["weights"][..., k])
        normalised = (found["latents"] - found["means"][..., k]) / found["scales"][..., k]
        title = f"/\\sigma$, Gaussian {k + 1}"
        np.testing.assert_allclose(shown(figure, title), normalised, rtol=1e-4, atol=1e-5)
    maps = [axes for axes in figure.axes if axes.images]
    bars = [axes for axes in figure.axes if not axes.images]
    assert len(maps) == 2 + 4 * 3 and len(bars) == 6
    assert all(axes.get_xlabel() for axes in bars)


def test_the_bits_map_lies_over_the_image(view):
    figure = pictures.bits_map(view)
    left, right = figure.axes[:2]
    np.testing.assert_array_equal(right.images[-1].get_array(), view.bits_per_pixel())
    assert left.get_xlim() == right.get_xlim() == (0, 130)
    assert left.get_ylim() == right.get_ylim() == (90, 0)
    assert "beyond the edges" in figure.get_suptitle()


def test_channels_are_sorted_and_shares_are_of_the_file(view):
    figure = pictures.channel_bits(view)
    heights = [bar.get_height() for bar in figure.axes[0].patches]
    channels = view.parts["latents"].channels / (90 * 130)
    np.testing.assert_allclose(heights, np.sort(channels)[::-1])
    (shares,) = (axes for axes in figure.axes if "share of the file" in axes.get_xlabel())
    assert sum(bar.get_width() for bar in shares.patches) == pytest.approx(100)
    assert any("header" in text.get_text() for text in shares.get_legend().get_texts())


def test_slices_are_drawn_in_the_order_of_coding(view):
    bars, channels = pictures.slice_bits(view).axes
    found = view.parts["latents"].channels / (90 * 130)
    heights = [bar.get_height() for bar in bars.patches]
    np.testing.assert_allclose(heights, [found[0], found[1:3].sum(), found[3:].sum()])
    np.testing.assert_allclose([bar.get_height() for bar in channels.patches], found)
    assert len(channels.lines) == 2


def test_distributions_sum_to_1_and_mark_what_is_coded(view):
    figure = pictures.distributions(view)
    locator, *drawn = figure.axes
    assert [text.get_text() for text in locator.texts] == ["1", "2", "3"]
    for axes, place in zip(drawn, view.positions):
        total = sum(bar.get_height() for bar in axes.patches)
        assert 1 - 4 * pictures.TAIL <= total <= 1 + 1e-6
        coded = view.found["latents"][place.row, place.column]
        lines = {line.get_label(): line.get_xdata() for line in axes.lines}
        assert lines["what is coded"][0] == coded
        assert f"{coded} is coded: {view.found['latents_bits'][place[2:]]:.2f} bits" in (
            axes.get_title()
        )


def test_latents_between_whole_numbers_are_as_far_from_their_means(view):
    moved = {name: view.found[name] + 0.25 for name in ("latents", "means")}
    figures = [
        pictures.distributions(each)
        for each in (view, view._replace(found={**view.found, **moved}))
    ]
    for whole, between in zip(*(figure.axes[1:] for figure in figures)):
        assert whole.get_title().split("coded:")[1] == between.get_title().split("coded:")[1]
        a, b = ([bar.get_x() for bar in axes.patches] for axes in (whole, between))
        np.testing.assert_allclose(np.array(a) + 0.25, b)


def test_other_endings_are_refused():
    pictures.check_ending("a.PNG")
    with pytest.raises(errors.UsageError, match="x.svg: pictures are written to .pdf or .png"):
        pictures.check_ending("x.svg")


def test_qualities_are_drawn_where_they_are(view):
    figure = pictures.qualities_map(view)
    assert "Qualities from 20 to 60" in figure.get_suptitle()
    *_, shown = figure.axes[1].images
    np.testing.assert_array_equal(shown.get_array(), view.qualities)
    assert shown.get_extent() == [0, 144, 96, 0] and shown.get_clim() == (0, 100)
    assert pictures.qualities_map(view._replace(qualities=None)) is None
