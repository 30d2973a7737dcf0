"""The made photographs and the small codec of the training tests."""

import importlib.util
import pathlib

_path = pathlib.Path(__file__).parents[1] / "training" / "conftest.py"
_spec = importlib.util.spec_from_file_location("tfclic_tests_training", _path)
_training = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_training)
fake, photos, config = _training.fake, _training.photos, _training.config
