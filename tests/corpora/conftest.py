"""What the tests of corpora share."""

import pytest

from tfclic.corpora import coding
from tfclic.corpora.job import Job


@pytest.fixture
def compression(toy_folder):
    return coding.Compression("toy", "00ff10ab", quality=10)


@pytest.fixture
def job(photos, tmp_path, compression):
    return Job(compression, f"{photos}/**", str(tmp_path / "coded"))
