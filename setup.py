"""Puts into a wheel what lies beside the package: configurations and the default model."""

import pathlib
import shutil

from setuptools import setup
from setuptools.command.build_py import build_py

FOLDERS = ["configs", "saved_models/gmm_attention_small"]


class BuildWithData(build_py):
    """Copies FOLDERS into the package; an editable installation finds them in the checkout."""

    def run(self):
        super().run()
        if self.editable_mode:
            return
        for folder in FOLDERS:
            target = pathlib.Path(self.build_lib, "tfclic", folder)
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(folder, target, ignore=shutil.ignore_patterns("__pycache__"))


setup(cmdclass={"build_py": BuildWithData})
