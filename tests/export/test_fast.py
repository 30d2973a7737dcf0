"""A model whose layers take 8 bits: by products of bytes where there are any, the same pixels."""

import hashlib
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tfclic import errors, models, runtime
from tfclic.export import integers, rough, saving, stored
from tfclic.export.transforming import everywhere
from tfclic.format import beside, header, interface, model
from tfclic.runtime import c_api, catalog, graphs, session
from tfclic.training import building

PROGRAM = """
import hashlib, pathlib, sys
from tfclic import runtime

codec = runtime.load(sys.argv[1])
pixels = [codec.decompress(pathlib.Path(path).read_bytes()) for path in sys.argv[2:]]
print(codec._graphs._fast is None, *(hashlib.sha256(each.tobytes()).hexdigest() for each in pixels))
"""
LAST = {"analysis": -2, "synthesis": -1}  # the layer that makes latents, or pixels
# where products of bytes do not exist, or saturate
ELSEWHERE = [{"TF_ENABLE_ONEDNN_OPTS": "0"}, {"ONEDNN_MAX_CPU_ISA": "SSE41"}]


@pytest.fixture(scope="module", autouse=True)
def small():
    """Makes what is done to large kernels be done to those of a tiny codec."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rough, "LEAST", 1)
        yield


@pytest.fixture(scope="module")
def codec(make_codec):
    made = make_codec(widths=(16, 16, 16))
    for name in ("analysis", "synthesis"):
        # beside linear transforms these begin as nothing
        last = getattr(made, f"nonlinear_{name}").layers[LAST[name]]
        kernel = (last if name == "analysis" else last.conv).kernel
        kernel.assign(tf.random.stateless_normal(kernel.shape, [1, 2], stddev=0.02))
    return made


@pytest.fixture(scope="module")
def seen(codec, make_pixels):
    return integers.measured(codec, [make_pixels(64, 64)])


@pytest.fixture(scope="module")
def path(codec, seen, export_for_reading, tmp_path_factory):
    """The folder of a tiny codec's export."""
    folder, how = tmp_path_factory.mktemp("fast"), {"seen": seen, "transforms": model.INTEGER8}
    return export_for_reading(codec, folder, "tiny", {}, {}, header.INTERLEAVED, **how)


@pytest.fixture(scope="module")
def floats(path):
    """The export without its faster graph."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graphs, "_faster", lambda _: None)
        loaded = runtime.load(path)
        loaded._graphs.session_of(interface.SYNTHESISE)
        return loaded


@pytest.fixture(scope="module")
def pixels(make_pixels, soft):
    return soft(make_pixels(150, 200))


@pytest.fixture(scope="module")
def files(floats, pixels):
    made = [(0, 1024), (50, 64), (100, 1024)]
    return [floats.compress(pixels, quality, tile=tile) for quality, tile in made]


def digest(pixels):
    return hashlib.sha256(pixels.tobytes()).hexdigest()


def test_pixels_are_the_same_by_bytes(path, floats, files):
    here = runtime.load(path)
    assert here.model.card.transforms == model.INTEGER8
    for data in files:
        np.testing.assert_array_equal(here.decompress(data), floats.decompress(data))
        for region in [(0, 0, 200, 150), (60, 60, 70, 80)]:
            found, want = (codec.decompress(data, region) for codec in (here, floats))
            np.testing.assert_array_equal(found, want)


@pytest.mark.parametrize("settings", ELSEWHERE, ids=["no oneDNN", "SSE4.1"])
def test_machines_without_such_products_make_the_same_pixels(
    path, floats, files, settings, tmp_path
):
    paths = [tmp_path / f"{number}.tfclic" for number in range(len(files))]
    for file, data in zip(paths, files):
        file.write_bytes(data)
    command = [sys.executable, "-c", PROGRAM, path, *paths]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **settings})
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == ["True", *(digest(floats.decompress(data)) for data in files)]


@pytest.mark.parametrize("name", ["coarse_to_fine_small", "cca_small", "elic_small", "hyperprior"])
def test_other_systems_have_the_same_pixels_by_bytes(name, tiny_system, make_pixels, has_bytes):
    if not has_bytes:
        pytest.skip("This machine has no products of bytes.")
    made = models.build(tiny_system(name).model)
    building.build_variables(made)
    coding = made.entropy_coder()
    eight = integers.IntegerSynthesis(
        made, coding, integers.measured(made, [make_pixels(64, 64)]), True
    )
    random = np.random.default_rng(0)
    latents = tf.constant(random.integers(-9, 10, [4, 8, coding.channels]), tf.int16)
    hyper_latents = tf.constant(
        random.integers(-9, 10, [1, 2, coding.layout.hyper_channels]), tf.int16
    )

    def pixels():
        return eight.at_codes(latents, hyper_latents, everywhere(tf.constant(50.0)))

    with saving.unoptimized(), eight.computing_in_bytes():
        by_bytes = tf.function(pixels, autograph=False).get_concrete_function()
    assert any(each.type == "QuantizedConv2DWithBias" for each in by_bytes.graph.get_operations())
    np.testing.assert_array_equal(by_bytes(), pixels())


def test_what_was_measured_is_kept_for_another_export(path, seen):
    kept = stored.ranges(catalog.find(str(path)))
    assert kept.keys() == seen.keys()
    for name, around in seen.items():
        for found, want in zip(kept[name], around):
            np.testing.assert_array_equal(found, np.float32(want))


def test_a_damaged_graph_of_bytes_is_refused(path, tmp_path):
    copy = shutil.copytree(path, tmp_path / "tiny")
    graph = copy / model.FAST / model.GRAPH
    graph.write_bytes(graph.read_bytes()[:-1] + b"x")
    with pytest.raises(errors.ModelError, match="fast/saved_model.pb is not the file"):
        runtime.load(copy)


def test_bytes_are_taken_only_where_they_are_sound(path, files, floats, monkeypatch):
    answers = iter([np.False_, c_api.SessionError(c_api.INVALID_ARGUMENT, "No OpKernel")])
    call = session.Session.call

    def answer(self, function, *arguments):
        if function is not beside.PROBE:
            return call(self, function, *arguments)
        found = next(answers)
        if isinstance(found, Exception):
            raise found
        return beside.Probed(found)

    monkeypatch.setattr(session.Session, "call", answer)
    for _ in range(2):
        loaded = runtime.load(path)
        assert loaded._graphs.session_of(interface.SYNTHESISE) is loaded._graphs._session
        np.testing.assert_array_equal(loaded.decompress(files[0]), floats.decompress(files[0]))
    assert next(answers, None) is None


def test_the_analysis_is_nearly_that_of_floats(path, floats, pixels):
    here = runtime.load(path)
    if here._graphs.session_of(interface.ANALYSE) is here._graphs._session:
        pytest.skip("This machine has no products of bytes.")
    found, want = (
        each._graphs.session_of(interface.ANALYSE).call(interface.ANALYSE, pixels)
        for each in (here, floats)
    )
    found, want = found.latents, want.latents
    error = np.abs(found - want).max()
    assert 0 < error < 0.02 * np.abs(want).max()
    known = here.evaluate(pixels, 50)
    np.testing.assert_array_equal(floats.decompress(known["file"]), known["reconstruction"])
