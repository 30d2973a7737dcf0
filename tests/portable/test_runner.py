"""The script that trains a portable folder: alone, interrupted, out of time, from broken files."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tfclic import configuration
from tfclic.portable import folder as folders
from tfclic.portable import packs
from tfclic.portable.runner import files, inputs, progress, run
from tfclic.training import sources


@pytest.fixture
def folder(fake, config, photos, tmp_path):
    """A portable folder of the fake codec."""
    tf.keras.utils.set_random_seed(1)
    store = sources.open_source(str(photos), 64)
    options = packs.Options(side=72, pack_bytes=200_000, steps_per_call=2)
    codec = fake.FakeCodec(config.model.lmbdas)
    folders.export_folder(tmp_path / "out", "fake", config, codec, "float32", store, options)
    return tmp_path / "out"


class Log(list):
    """A stream that keeps what is written, and may do something at each line."""

    def __init__(self, then=lambda: None):
        super().__init__()
        self._then = then

    def write(self, text):
        self.append(text)
        if "step " in text:
            self._then()

    def flush(self):
        pass

    def isatty(self):
        return False


def make_run(folder, *arguments, then=lambda: None):
    """Returns a Run that logs each call, and its Log."""
    options = run.make_parser().parse_args([str(folder), "--platform=cpu", *arguments])
    log = Log(then)
    return run.Run(options, progress.Line(0.0, log)), log


def assert_same(one, other):
    for name, array in one.items():
        np.testing.assert_allclose(array, other[name], atol=1e-6, err_msg=name)


def test_the_script_needs_neither_tensorflow_nor_the_rest_of_tfclic(folder, tmp_path):
    for name in ("tensorflow", "tfclic", "ml_collections", "tqdm"):
        (tmp_path / "not_here").mkdir(exist_ok=True)
        (tmp_path / "not_here" / f"{name}.py").write_text(f"raise ImportError('{name}')\n")
    paths = [str(tmp_path / "not_here"), *(p for p in sys.path if p.endswith("-packages"))]
    done = subprocess.run(
        [sys.executable, str(folder / "portable_run.py"), "--platform=cpu", "--steps=3"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "step 3/3  loss " in done.stderr
    assert "images/s" in done.stderr
    arrays, progress = files.read_state(folder)
    assert progress["step"] == int(arrays["step"]) == 3
    assert progress["runs"][0]["images"] == 6


def test_an_interrupted_run_resumes_to_the_same_result(folder, tmp_path):
    whole, _ = make_run(folder, f"--output={tmp_path}/whole")
    whole.train()
    expected, _ = files.read_state(tmp_path / "whole")
    assert int(expected["step"]) == 6

    parts = f"--output={tmp_path}/parts"
    first, log = make_run(folder, parts, then=lambda: first.caught.append(signal.SIGINT))
    first.train()
    assert 0 < first.step < 6
    assert "is saved" in log[-1] or "is saved" in log[-2]
    second, _ = make_run(folder, parts)
    assert second.step == first.step
    second.train()
    arrays, progress = files.read_state(tmp_path / "parts")
    assert_same(expected, arrays)
    assert [run["first_step"] for run in progress["runs"]] == [0, first.step]
    assert sum(run["images"] for run in progress["runs"]) == 12


def test_without_time_nothing_is_trained_and_nothing_lost(folder):
    before, _ = files.read_state(folder)
    run, log = make_run(folder, "--minutes=1e-6")
    run.train()
    assert any("no time for a single step" in text for text in log)
    after, progress = files.read_state(folder)
    assert progress["step"] == 0
    assert_same(before, after)


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_checkpoint(folder, capsys):
    arrays, progress = files.read_state(folder)
    arrays["weights/analysis/bias"] = np.full_like(arrays["weights/analysis/bias"], np.nan)
    files.write_state(folder, arrays, progress)
    before = (folder / "state.json").read_bytes()
    assert run.main([str(folder), "--platform=cpu"]) == 1
    assert "Stopped at step 0: loss nan; step 0 is saved." in capsys.readouterr().err
    assert (folder / "state.json").read_bytes() == before


def test_a_signal_saves_first(folder, capsys, monkeypatch):
    real = run.Run._take

    def take(self, *arguments):
        real(self, *arguments)
        if not self.caught:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(run.Run, "_take", take)
    assert run.main([str(folder), "--platform=cpu"]) == 143
    assert "finished and saved first" in capsys.readouterr().err
    assert files.read_state(folder)[1]["step"] in (2, 4)


def make_arrays():
    random = np.random.default_rng(0)
    arrays = {"weights/a": random.normal(size=(50, 40)).astype(np.float32)}
    arrays["ema/a"] = arrays["weights/a"] + np.float32(1e-3) * arrays["weights/a"][::-1]
    arrays["first_moment/a"] = 1e-2 * arrays["weights/a"]
    arrays["second_moment/a"] = arrays["weights/a"] ** 2
    arrays["step"] = np.array(7)
    return arrays


def test_state_is_kept_in_pieces_and_a_lost_or_damaged_one_is_named(tmp_path):
    arrays = make_arrays()
    for _ in range(2):
        files.write_state(tmp_path, arrays, {"step": 7}, limit=10_000)
    pieces = sorted(tmp_path.glob("state-*.bin"))
    assert [p.stat().st_size for p in pieces[:-1]] == [10_000] * (len(pieces) - 1)
    assert len(pieces) == 4
    back, progress = files.read_state(tmp_path)
    assert progress == {"step": 7}
    for name, array in arrays.items():
        np.testing.assert_array_equal(back[name], array)
    data = bytearray(pieces[1].read_bytes())
    data[5] ^= 1
    pieces[1].write_bytes(data)
    with pytest.raises(files.PortableError, match=f"{pieces[1].name} is damaged"):
        files.read_state(tmp_path)
    pieces[1].unlink()
    with pytest.raises(files.PortableError, match=f"{pieces[1].name} is missing"):
        files.read_state(tmp_path)


def test_compact_state_is_half_the_size_and_keeps_the_weights(tmp_path):
    arrays = make_arrays()
    files.write_state(tmp_path, arrays, {"step": 7}, compact=True)
    (piece,) = tmp_path.glob("state-*.bin")
    assert piece.stat().st_size == 50 * 40 * (4 + 2 + 2) + 8
    back, _ = files.read_state(tmp_path)
    np.testing.assert_array_equal(back["weights/a"], arrays["weights/a"])
    np.testing.assert_allclose(back["ema/a"], arrays["ema/a"], atol=2e-5)
    np.testing.assert_allclose(back["second_moment/a"], arrays["second_moment/a"], rtol=1 / 256)
    assert not back["first_moment/a"].any()


def test_what_a_run_lacks_is_said_in_a_sentence(folder, capsys):
    for pack in folder.glob("pack-*.zip"):
        pack.unlink()
    assert run.main([str(folder)]) == 1
    assert "There is no pack with images of at least 64 pixels." in capsys.readouterr().err
    (folder / "pack-00000000.zip").write_bytes(b"PK\x03\x04")
    assert run.main([str(folder)]) == 1
    assert "pack-00000000.zip is damaged" in capsys.readouterr().err
    (folder / "portable.json").unlink()
    assert run.main([str(folder)]) == 1
    assert "portable.json cannot be read" in capsys.readouterr().err


def test_every_step_has_its_own_crops_flips_and_levels(make_pixels):
    images = [make_pixels(300, 196, seed=1), make_pixels(196, 300, seed=2)]
    meta = {
        "batch": 4,
        "crop": 64,
        "levels": 3,
        "config": configuration.complete({"training": {"seed": 5}}),
    }
    batches = inputs.Batches(images, meta, seed=5)
    calls = list(batches.calls(2, 9, per_call=3))
    assert [list(steps) for steps, _ in calls] == [[2, 3, 4], [5, 6, 7], [8]]
    crops, seeds, levels = (np.concatenate(x) for x in zip(*(fed for _, fed in calls)))
    assert seeds.tolist() == [[5, step] for step in range(2, 9)]
    assert set(levels.ravel().tolist()) == {0, 1, 2}
    assert len({crop.tobytes() for crop in crops.reshape([-1, 64, 64, 3])}) == 28
    for one, two in zip(batches.step(6), (crops[4], seeds[4], levels[4])):
        np.testing.assert_array_equal(one, two)


def test_levels_are_stratified_where_configured(make_pixels):
    training = {"seed": 5, "level_sampling": "stratified"}
    meta = {"batch": 3, "crop": 64, "levels": 6, "config": {"training": training}}
    batches = inputs.Batches([make_pixels(96, 96)], meta, seed=5)
    for _, _, levels in map(batches.step, range(50)):
        assert levels.dtype == np.int32 and (levels // 2).tolist() == [0, 1, 2]


def test_the_modules_that_travel_import_each_other_and_nothing_of_tfclic(folder):
    there = {path.stem for path in (folder / "runner").iterdir()}
    assert there == {"__init__", "run", "files", "inputs", "device", "progress"}
    for path in (folder / "runner").iterdir():
        for line in path.read_text().splitlines():
            assert "import tfclic" not in line and "from tfclic" not in line
            if line.startswith("from . import "):
                names = line.partition("  #")[0][len("from . import ") :].split(", ")
                assert set(names) <= there
