"""Files decode in other environments than their encoder's; a small part of the benchmark."""

import pytest
from PIL import Image


@pytest.fixture(scope="module")
def portability(load_benchmark):
    return load_benchmark("portability")


@pytest.fixture(scope="module")
def images(tmp_path_factory, make_pixels):
    folder = tmp_path_factory.mktemp("images")
    for name, size in (("landscape", (64, 130)), ("portrait", (100, 70))):
        Image.fromarray(make_pixels(*size)).save(folder / f"{name}.png")
    return folder


def test_three_environments_agree(portability, tiny_model, images):
    chosen = portability.chosen_images(images, 1)
    assert [path.stem for path in chosen] == ["landscape", "portrait"]
    found = portability.measure(tiny_model, chosen, (10, 90), portability.QUICK, {})
    assert found["files"] == 4
    assert found["other_files"]["default"] == found["other_pixels"]["default"] == 0
    zeros = dict.fromkeys(portability.QUICK, 0)
    assert found["failures"] == dict.fromkeys(portability.QUICK, zeros)
    table = portability.table(found)
    assert all(f"| {name} | 0/4 | 0/4 | 0/4 |" in table for name in portability.QUICK)


def test_a_difference_is_a_failure(portability, toy_model, images, monkeypatch):
    def dishonest(name, task, pythons):
        done = portability.work(task)
        if name == "no oneDNN" and "files" in task:
            next(iter(done.values()))["latents"] = "others"
        return done

    monkeypatch.setattr(portability, "in_environment", dishonest)
    names = ("default", "no oneDNN")
    found = portability.measure(
        toy_model, portability.chosen_images(images, 1)[:1], (50,), names, {}
    )
    assert found["failures"]["default"] == {"default": 0, "no oneDNN": 1}
