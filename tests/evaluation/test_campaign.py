"""Many measurements: resumed, and at equal bits."""

import numpy as np
import pytest
from PIL import Image

from tfclic import errors
from tfclic.evaluation import campaign, codecs


class Fake(codecs.Codec):
    """Files of `setting` hundred bytes; counts what it encodes."""

    source = name = title = "fake"
    suffix = ".fake"
    identity = "1"
    settings = [1, 10]
    limits = (0, 100)
    encoded = 0

    def encode(self, pixels, setting):
        self.encoded += 1
        return bytes(round(100 * setting))

    def decode(self, data):
        return np.full([20, 30, 3], 128, np.uint8)


@pytest.fixture
def codec():
    return Fake()


@pytest.fixture
def works(tmp_path, make_pixels):
    """The works of one image at both settings."""
    path = str(tmp_path / "a.png")
    Image.fromarray(make_pixels(20, 30)).save(path)
    return [campaign.Work("fake", (), path, campaign.digest(path), s) for s in Fake.settings]


def run(works, codec, folder):
    with campaign.Store(folder) as store:
        return dict(campaign.run(works, [codec], store, 1, 1))


def test_what_is_done_is_not_done_again(works, codec, tmp_path):
    first = run(works[:1], codec, tmp_path / "out")
    both = run(works, codec, tmp_path / "out")
    assert codec.encoded == 2
    assert both[works[0]] == first[works[0]]
    assert both[works[1]]["bytes"] == 1000
    file = tmp_path / "out" / both[works[1]]["file"]
    assert file.name == "a-10.fake" and file.read_bytes() == bytes(1000)


def test_what_cannot_be_verified_is_not_done_again_for_that(works, codec, tmp_path):
    run(works, codec, tmp_path / "out")
    works = [work._replace(is_verifying=True) for work in works]
    run(works, codec, tmp_path / "out")
    assert codec.encoded == 2
    codec.is_verifiable, codec.runtime = True, None
    with campaign.Store(tmp_path / "out") as store:
        assert store.find(codec, works[0]) is None


def test_a_measure_that_is_missing_is_measured(works, codec, tmp_path):
    run(works, codec, tmp_path / "out")
    more = [work._replace(more=("psnr-hvs-m",)) for work in works]
    found = run(more, codec, tmp_path / "out")
    assert codec.encoded == 4
    assert all(campaign.measurement(found[work]).more["psnr-hvs-m"] > 0 for work in more)
    # with more than is asked for it is done
    run(works, codec, tmp_path / "out")
    run(more, codec, tmp_path / "out")
    assert codec.encoded == 4


def test_half_a_line_is_what_was_not_done(works, codec, tmp_path):
    run(works, codec, tmp_path / "out")
    path = tmp_path / "out" / "measurements.jsonl"
    path.write_bytes(path.read_bytes()[:-40])
    run(works, codec, tmp_path / "out")
    assert codec.encoded == 3
    run(works, codec, tmp_path / "out")
    assert codec.encoded == 3


def test_a_changed_codec_image_or_lost_file_is_measured_again(works, codec, tmp_path, make_pixels):
    found = run(works, codec, tmp_path / "out")
    (tmp_path / "out" / found[works[0]]["file"]).unlink()
    run(works, codec, tmp_path / "out")
    assert codec.encoded == 3
    codec.identity = "2"
    run(works, codec, tmp_path / "out")
    assert codec.encoded == 5
    Image.fromarray(make_pixels(20, 30, seed=1)).save(works[0].path)
    changed = [work._replace(digest=campaign.digest(work.path)) for work in works]
    run(changed, codec, tmp_path / "out")
    assert codec.encoded == 7


def test_no_file_is_replaced_by_that_of_another_image_or_target(
    works, codec, tmp_path, make_pixels
):
    """Images of one name but for the ending, an image that has changed, and other equal bits."""
    other = str(tmp_path / "a.bmp")
    Image.fromarray(make_pixels(20, 30, seed=1)).save(other)
    works = [*works, works[0]._replace(path=other, digest=campaign.digest(other))]
    equal = works[0]._replace(setting=None, known=((1, 100), (10, 1000)))
    works += [equal._replace(target=target) for target in (300, 700)]
    run(works, codec, tmp_path / "out")
    encoded = codec.encoded
    for _ in range(2):
        found = run(works, codec, tmp_path / "out")
        files = [tmp_path / "out" / found[work]["file"] for work in works]
        assert len(set(files)) == len(works)
        sizes = [file.stat().st_size for file in files]
        assert sizes == [found[work]["bytes"] for work in works]
        assert codec.encoded == encoded
    # a folder of an earlier release has one file for several of them
    lines = (tmp_path / "out" / "measurements.jsonl").read_text()
    (tmp_path / "out" / "measurements.jsonl").write_text(lines.replace("a-1-2.fake", "a-1.fake"))
    found = run(works, codec, tmp_path / "out")
    assert found[works[0]]["file"] != found[works[2]]["file"]


@pytest.mark.parametrize(
    "target, integral", [(550, False), (333, False), (333, True), (5000, True)]
)
def test_the_setting_for_equal_bits_is_found(works, codec, tmp_path, target, integral):
    codec.integral = integral
    known = ((1, 100), (10, 1000))
    work = works[0]._replace(setting=None, target=target, known=known)
    found = run([work], codec, tmp_path / "out")[work]
    nearest = 100 * round(target / 100) if integral else target
    assert found["bytes"] == pytest.approx(nearest, rel=0.03)


def test_a_damaged_image_is_an_error_of_its_own(works, codec, tmp_path):
    (tmp_path / "a.png").write_bytes(b"damaged")
    found = run(works, codec, tmp_path / "out")
    assert all(isinstance(record, errors.ImageError) for record in found.values())
