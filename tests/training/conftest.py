"""Made photographs, and a small configuration of the codec in fake.py."""

import importlib.util
import pathlib

import ml_collections
import numpy as np
import pytest
from PIL import Image

from tfclic import configuration
from tfclic.export import saving


def _load_fake():
    path = pathlib.Path(__file__).with_name("fake.py")
    spec = importlib.util.spec_from_file_location("tfclic_tests_fake", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


FAKE = _load_fake()


@pytest.fixture(autouse=True)
def unoptimized():
    """Steps that are made a few times only run as they are traced, which optimizing outlasts."""
    with saving.unoptimized():
        yield


@pytest.fixture
def fake():
    """The module of the fake codec."""
    return FAKE


def make_photo(path, height, width, seed):
    """Writes a smooth random image."""
    noise = np.random.default_rng(seed).integers(0, 256, [height // 16 + 2, width // 16 + 2, 3])
    small = Image.fromarray(noise.astype(np.uint8))
    path.parent.mkdir(parents=True, exist_ok=True)
    small.resize((width, height), Image.Resampling.BICUBIC).save(path)


@pytest.fixture
def photos(tmp_path):
    """A folder of eight images of different kinds and sizes, the shorter sides at least 72."""
    folder = tmp_path / "photos"
    for i, ending in enumerate(["jpg", "png", "webp", "JPEG", "jpg", "png", "bmp", "jpg"]):
        make_photo(folder / ("deep/er" if i % 2 else "") / f"p{i}.{ending}", 72 + 9 * i, 150, i)
    return folder


@pytest.fixture
def config():
    """A configuration whose steps take milliseconds."""
    model = {"name": "fake", "channels": 4, "lmbdas": (0.001, 0.01)}
    training = {
        "objective": "mse",
        "steps": 6,
        "batch_size": 2,
        "crop_size": 64,
        "learning_rate": 1e-3,
        "final_learning_rate": 1e-4,
        "warmup_steps": 2,
        "decay_share": 0.5,
        "clip_norm": 1.0,
        "ema_decay": 0.9,
        "downscale_min": 0.5,
        "seed": 3,
        "validation_images": 2,
        "checkpoint_every": 2,
        "validate_every": 3,
        "log_every": 1,
        "precision": "auto",
    }
    return configuration.complete(ml_collections.ConfigDict({"model": model, "training": training}))
