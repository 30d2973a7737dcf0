"""The benchmark of what exactness costs counts the same latents three ways."""

import pytest
from PIL import Image


@pytest.fixture(scope="module")
def rate_cost(load_benchmark):
    return load_benchmark("rate_cost")


def test_three_counts_agree(rate_cost, codec, make_pixels, soft, tmp_path):
    Image.fromarray(soft(make_pixels(100, 130))).save(tmp_path / "photo.png")
    Image.fromarray(soft(make_pixels(64, 64, 1)[..., 0])).save(tmp_path / "gray.png")
    paths = [tmp_path / name for name in ("gray.png", "photo.png")]
    found = rate_cost.measure(rate_cost.Counter(codec), paths, 100.0)
    assert found["photo.png"]["pixels"] == 13000
    # the float count has no names of channels; of so few positions they are a number alone
    names = codec.entropy_coder().names["latents"].rows.bit_length()
    for counts in found.values():
        assert counts["exact"] == pytest.approx(counts["float"] + names, rel=0.01)
        assert counts["file"] == pytest.approx(counts["exact"], rel=0.02, abs=8 * 24)


def test_summary_names_the_worst(rate_cost):
    images = {
        "a": {"pixels": 1000, "float": 1000.0, "exact": 1010.0, "file": 1010.0},
        "b": {"pixels": 2000, "float": 2000.0, "exact": 2000.0, "file": 2300.0},
    }
    figures = rate_cost.summary(images)
    assert figures["float"] == 1 and figures["worst_cost"] == pytest.approx(1)
    assert figures["cost"] == pytest.approx(0.5)
    assert figures["worst_file"] == pytest.approx(15)
    assert figures["outside"] == 1  # 300 bits are more than 0.5 % and 24 bytes
