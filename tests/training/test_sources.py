import sys
import types

import numpy as np
import pytest
from PIL import Image

from tfclic import errors
from tfclic.training import sources


def test_folder_is_searched_recursively_in_a_fixed_order(photos):
    store = sources.open_source(str(photos), 64)
    assert len(store) == 8
    assert store.names == sorted(store.names)
    assert "deep/er/p3.JPEG" in store.names
    for index, size in enumerate(store.sizes):
        image = store.load(index)
        assert image.dtype == np.uint8
        assert image.shape == (*size, 3)
    assert "8 images" in store.description


def test_kept_and_not_kept_images_are_the_same(photos):
    kept = sources.open_source(str(photos), 64)
    decoded_at_use = sources.open_source(str(photos), 64, decoded_limit=0)
    assert kept.fingerprint() == decoded_at_use.fingerprint()
    for index in range(len(kept)):
        np.testing.assert_array_equal(kept.load(index), decoded_at_use.load(index))


def test_unreadable_and_small_images_are_counted_in_one_warning(photos, caplog):
    (photos / "notes.txt").write_text("not an image by its name")
    (photos / "broken.jpg").write_bytes(b"not a JPEG")
    whole = (photos / "p0.jpg").read_bytes()
    (photos / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    Image.new("RGB", (300, 20)).save(photos / "flat.png")
    with caplog.at_level("WARNING"):
        store = sources.open_source(str(photos), 64)
    assert len(store) == 8
    assert len(caplog.records) == 1
    message = caplog.records[0].getMessage()
    assert "3 of the 11" in message
    assert "2 unreadable, 1 smaller than 64 pixels" in message


def test_gray_and_palette_images_become_rgb(tmp_path):
    Image.new("L", (70, 80), 7).save(tmp_path / "gray.png")
    Image.new("P", (70, 80)).save(tmp_path / "palette.gif")
    store = sources.open_source(str(tmp_path), 64)
    assert [store.load(i).shape for i in range(2)] == [(80, 70, 3), (80, 70, 3)]


def test_gray_of_16_bits_keeps_its_range(tmp_path):
    ramp = np.linspace(0, 65535, 64 * 64).reshape(64, 64)
    Image.fromarray(ramp.astype(np.uint16)).save(tmp_path / "a.png")
    Image.fromarray((ramp / 65535).astype(np.float32)).save(tmp_path / "b.tif")
    store = sources.open_source(str(tmp_path), 64)
    expected = np.round(ramp[..., None] / 257) * [1, 1, 1]
    for index in range(2):
        np.testing.assert_allclose(store.load(index), expected, atol=1)


def test_gray_of_12_bits_keeps_its_range(tmp_path, tiff_of_12_bits):
    (tmp_path / "a.tif").write_bytes(tiff_of_12_bits([0, 1028, 2056, 4095]))
    pixels = sources.open_source(str(tmp_path), 1).load(0)
    assert pixels.tolist() == [[[0] * 3, [64] * 3, [128] * 3, [255] * 3]]


def test_links_that_lead_back_show_no_image_twice(photos):
    before = sources.open_source(str(photos), 64)
    (photos / "deep" / "up").symlink_to("..")
    (photos / "deep" / "er" / "itself").symlink_to(".")
    after = sources.open_source(str(photos), 64)
    assert after.names == before.names
    (photos / "other").symlink_to("deep")  # which does not
    assert "other/er/p3.JPEG" in sources.open_source(str(photos), 64).names


def test_whatever_a_damaged_image_raises_it_is_left_out(photos):
    Image.new("RGB", (70, 80)).save(photos / "damaged.dds")
    data = bytearray((photos / "damaged.dds").read_bytes())
    data[80:84] = bytes(4)  # the pixel format, at which Pillow raises NotImplementedError
    (photos / "damaged.dds").write_bytes(data)
    assert len(sources.open_source(str(photos), 64)) == 8


def test_fingerprint_follows_the_images(photos):
    before = sources.open_source(str(photos), 64).fingerprint()
    Image.new("RGB", (90, 90)).save(photos / "new.png")
    assert sources.open_source(str(photos), 64).fingerprint() != before


@pytest.mark.parametrize("made", [False, True])
def test_a_folder_without_images_is_refused(tmp_path, made):
    folder = tmp_path / "folder"
    if made:
        folder.mkdir()
    with pytest.raises(errors.UsageError, match="folder"):
        sources.open_source(str(folder), 64)


def test_missing_tensorflow_datasets_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(errors.UsageError, match="pip install tensorflow-datasets"):
        sources.open_source("tfds:clic", 64)


def test_tensorflow_datasets_give_encoded_images(photos, monkeypatch):
    class ImageFeature:
        pass

    files = sorted(photos.glob("*.*"))

    class Builder:
        info = types.SimpleNamespace(features={"label": object(), "hr": ImageFeature()})

        def download_and_prepare(self):
            self.ready = True

        def as_dataset(self, split, shuffle_files, decoders):
            assert self.ready
            assert split == "train"
            assert not shuffle_files
            assert decoders == {"hr": "skipped"}
            examples = [{"hr": f.read_bytes()} for f in files]
            return types.SimpleNamespace(as_numpy_iterator=lambda: iter(examples))

    stand_in = types.ModuleType("tensorflow_datasets")
    stand_in.builder = {"mine": Builder()}.__getitem__
    stand_in.features = types.SimpleNamespace(Image=ImageFeature)
    stand_in.decode = types.SimpleNamespace(SkipDecoding=lambda: "skipped")
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", stand_in)

    store = sources.open_source("tfds:mine", 64)
    assert store.names == [f"mine/{i:08d}" for i in range(len(files))]
    np.testing.assert_array_equal(store.load(1), np.asarray(Image.open(files[1]).convert("RGB")))
    with pytest.raises(errors.UsageError, match="tfds:other cannot be loaded"):
        sources.open_source("tfds:other", 64)
