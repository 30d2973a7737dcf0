import shutil

import numpy as np
import pytest

from tfclic import errors
from tfclic.training import data, sources


@pytest.fixture
def store(photos):
    return sources.open_source(str(photos), 64)


class Arrays:
    """A store of the given images."""

    def __init__(self, images):
        self._images = images
        self.names = [f"{i}.png" for i in range(len(images))]
        self.sizes = np.array([i.shape[:2] for i in images])

    def __len__(self):
        return len(self._images)

    def load(self, index):
        return self._images[index]


def test_split_is_disjoint_and_fixed_by_file_names(store, photos, tmp_path):
    training, held_out = data.split_validation(store, 1)
    assert sorted(training + held_out) == list(range(8))
    assert len(held_out) == 1
    moved = tmp_path / "elsewhere" / "deeper"
    shutil.copytree(photos, moved)
    again = sources.open_source(str(tmp_path / "elsewhere"), 64)
    name = store.names[held_out[0]]
    assert [again.names[i] for i in data.split_validation(again, 1)[1]] == [f"deeper/{name}"]


def test_split_leaves_most_images_for_training(store, caplog):
    training, held_out = data.split_validation(store, 100)
    assert (len(training), len(held_out)) == (7, 1)
    assert "1 image is held out for validation, not 100" in caplog.text
    assert data.split_validation(store, 0) == (list(range(8)), [])


def test_one_image_is_refused():
    with pytest.raises(errors.UsageError):
        data.split_validation(Arrays([np.zeros([64, 64, 3], np.uint8)]), 1)


def test_batches_depend_on_seed_and_step_alone(store):
    crops = data.RandomCrops(store, range(8), 64, 0.5, seed=5)
    batches = [crops.batch(step, 3) for step in range(4)]
    again = data.RandomCrops(store, range(8), 64, 0.5, seed=5)
    np.testing.assert_array_equal(again.batch(3, 3), batches[3])
    resumed = list(again.dataset(3, 2, 4).as_numpy_iterator())
    np.testing.assert_array_equal(resumed, batches[2:])
    part = list(again.dataset(3, 2, 4, range(1, 3)).as_numpy_iterator())
    np.testing.assert_array_equal(part, [batch[1:3] for batch in batches[2:]])
    other = data.RandomCrops(store, range(8), 64, 0.5, seed=6).batch(3, 3)
    assert not np.array_equal(other, batches[3])


def test_crops_are_cut_flipped_and_cover_the_image():
    rows, columns = np.mgrid[:70, :90].astype(np.uint8)
    image = np.stack([rows, columns, rows], -1)
    crops = data.RandomCrops(Arrays([image]), [0], 64)
    flips, tops, lefts = set(), set(), set()
    for number in range(200):
        crop = crops.crop(number)
        flip = bool(crop[0, 0, 1] > crop[0, -1, 1])
        crop = crop[:, ::-1] if flip else crop
        top, left = int(crop[0, 0, 0]), int(crop[0, 0, 1])
        np.testing.assert_array_equal(crop, image[top : top + 64, left : left + 64])
        flips.add(flip)
        tops.add(top)
        lefts.add(left)
    assert flips == {False, True}
    assert tops == set(range(7))
    assert len(lefts) > 20


def test_downscaling_is_antialiased_and_keeps_the_shorter_side():
    checks = np.indices([96, 192]).sum(0) % 2 * 255
    image = np.repeat(checks[..., None], 3, -1).astype(np.uint8)
    crops = data.RandomCrops(Arrays([image]), [0], 64, downscale_min=0.1)
    smallest = 0
    for number in range(40):
        crop = crops.crop(number)
        assert crop.shape == (64, 64, 3)
        # A checkerboard scaled down far enough and without aliases is a flat gray.
        smallest += np.abs(crop.astype(int) - 127).mean() < 30
    assert 5 < smallest < 40


def test_an_image_of_the_crop_size_comes_whole():
    image = np.random.default_rng(0).integers(0, 256, [64, 64, 3], np.uint8)
    crop = data.RandomCrops(Arrays([image]), [0], 64, downscale_min=0.5).crop(0)
    assert np.array_equal(crop, image) or np.array_equal(crop[:, ::-1], image)


def test_images_are_drawn_in_proportion_to_their_area():
    images = [np.full([64, 64, 3], 0, np.uint8), np.full([128, 192, 3], 255, np.uint8)]
    crops = data.RandomCrops(Arrays(images), [0, 1], 64)
    share = np.mean([crops.crop(i)[0, 0, 0] == 255 for i in range(400)])
    assert share == pytest.approx(6 / 7, abs=0.05)


def test_a_share_of_the_crops_is_drawn():
    flat = Arrays([np.full([128, 192, 3], 9, np.uint8)])
    crops = data.RandomCrops(flat, [0], 64, drawn_share=0.3)
    drawn = [crop for crop in map(crops.crop, range(300)) if (crop != 9).any()]
    assert len(drawn) / 300 == pytest.approx(0.3, abs=0.08)
    assert {crop.shape for crop in drawn} == {(64, 64, 3)}
    # a pure function of the seed and the number, and each another picture
    again = data.RandomCrops(flat, [0], 64, drawn_share=0.3)
    assert all(np.array_equal(crops.crop(i), again.crop(i)) for i in range(40))
    assert len({crop.tobytes() for crop in drawn}) == len(drawn)
    # black and white in the same one, which photographs hardly have
    assert np.mean([(crop.min(), crop.max()) == (0, 255) for crop in drawn]) > 0.5


def test_damaged_images_are_passed_over():
    images = Arrays([np.zeros([64, 64, 3], np.uint8), np.full([64, 64, 3], 9, np.uint8)])
    images.load = lambda i: None if i == 0 else images._images[1]
    crops = data.RandomCrops(images, [0, 1], 64)
    assert all(crops.crop(i)[0, 0, 0] == 9 for i in range(20))
    images.load = lambda i: None
    with pytest.raises(errors.ImageError):
        crops.crop(0)


def test_validation_images_are_middles_in_multiples_of_64():
    image = np.random.default_rng(0).integers(0, 256, [150, 700, 3], np.uint8)
    (middle,) = data.validation_images(Arrays([image]), [0])
    np.testing.assert_array_equal(middle, image[11:139, 94:606])
