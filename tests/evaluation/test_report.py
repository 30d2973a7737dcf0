"""Tables of differences, and the page with the images."""

import json

import pytest

from tfclic import bd_rate
from tfclic.evaluation import report


def curve(name, rates, **meta):
    results = {"bpp": rates, "psnr-rgb": [26.0, 29.0, 32.0]}
    return {"name": name, "title": name.upper(), "meta": meta, "results": results}


def test_rows_are_sorted_and_leave_out_the_anchor():
    anchor = curve("anchor", [0.2, 0.4, 0.8])
    judged = [anchor, curve("worse", [0.4, 0.8, 1.6]), curve("better", [0.1, 0.2, 0.4])]
    unknown = {**curve("unknown", [1, 2, 3]), "results": {"bpp": [1, 2], "ms-ssim-db": [9, 10]}}
    judged[2]["meta"]["opt_metric"] = "mse"
    (table,) = report.differences([anchor], [*judged, unknown])
    assert table["anchor"] == "ANCHOR"
    assert [row["title"] for row in table["rows"]] == ["BETTER", "WORSE", "UNKNOWN"]
    assert [row["optimized"] for row in table["rows"]] == ["mse", "", ""]
    assert table["rows"][0]["metrics"]["psnr"].rate == pytest.approx(-50)
    assert table["rows"][2]["metrics"] == {"psnr": None, "ms-ssim": None}


def test_tables_are_by_what_is_asked_for():
    anchor, best, good = (curve(name, [0.2, 0.4, 0.8]) for name in ("anchor", "best", "good"))
    for each, values in ((anchor, [50, 70, 90]), (best, [70, 90, 95]), (good, [55, 75, 92])):
        each["results"]["vmaf"] = values
    (table,) = report.differences([anchor], [anchor, good, best], ["vmaf", "psnr"])
    assert table["metrics"] == ["vmaf", "psnr"]
    assert [row["title"] for row in table["rows"]] == ["BEST", "GOOD"]
    vmaf, psnr = report.in_order(table["rows"][0])
    assert vmaf.startswith("-") and vmaf.endswith(" % (70.0 to 90.0)")
    assert psnr == "+0.0 %, +0.00 dB (26.0 to 32.0 dB)" or psnr.startswith("-0.0 %")


@pytest.mark.parametrize(
    "difference, text",
    [
        (None, "-"),
        (bd_rate.Difference(-12.34, 0.56, 26, 32), "-12.3 %, +0.56 dB (26.0 to 32.0 dB)"),
        (bd_rate.Difference(-60.0, None, 26, 32), "-60.0 % (26.0 to 32.0 dB)"),
        (bd_rate.Difference(None, None, 26, 27), "too little overlap (26.0 to 27.0 dB)"),
        (bd_rate.Difference(None, None, 28, 27), "no overlap"),
        (bd_rate.Difference(None, None, None, None), "no two points"),
    ],
)
def test_a_difference_in_words(difference, text):
    assert report.in_words(difference) == text


def test_what_is_not_in_decibels_has_no_decibels():
    assert report.in_words(bd_rate.Difference(-9, 3, 60, 95), "") == "-9.0 % (60.0 to 95.0)"
    assert report.in_words(bd_rate.Difference(5, 0.1, 0.4, 0.9), "") == "+5.0 % (0.400 to 0.900)"


def test_a_page_without_images_has_the_tables(tmp_path):
    anchor, other = curve("<b>", [0.2, 0.4, 0.8]), curve("other", [0.1, 0.2, 0.4])
    for each in (anchor, other):
        each["meta"]["source"] = "published"
        each["description"] = "made"
    tables = report.differences([anchor], [anchor, other])
    # a folder whose name is no text
    report.write(tmp_path / "page.html", "made\udce9", [], [anchor, other], tables, [], (2, 1))
    page = (tmp_path / "page.html").read_text()
    assert "Codecs on made?" in page
    assert "-50.0 %, +3.00 dB (26.0 to 32.0 dB)" in page
    assert "against &lt;B&gt;" in page
    assert "<th>PSNR</th><th>MS-SSIM</th></tr>" in page
    assert 'id="view"' not in page


def test_names_of_images_do_not_end_the_page(tmp_path):
    name = "<!--<script></script>.png"
    gallery = [{"name": name, "width": 1, "height": 1, "versions": []}]
    report.write(tmp_path / "page.html", "made", [], [], [], gallery, (1, 1))
    page = (tmp_path / "page.html").read_text()
    assert "<!--" not in page and page.count("<script>") == page.count("</script>") == 1
    (line,) = (line for line in page.splitlines() if line.startswith("const gallery = "))
    assert json.loads(line[len("const gallery = ") : -1]) == gallery
