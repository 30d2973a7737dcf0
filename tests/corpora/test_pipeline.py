"""Corpora of made images through the pipeline, in this process and over the toy model."""

import dataclasses
import io
import json
import os

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("apache_beam")

from apache_beam.options.pipeline_options import PipelineOptions

from tfclic import errors
from tfclic.corpora import coding, pipeline, records
from tfclic.corpora.job import Job


def run(job, anew=False):
    """Works through a corpus; returns the totals."""
    job.prepare(anew)
    return pipeline.run(job, PipelineOptions([]))


def manifest(job):
    """The manifest of a job, a dict by the names of the inputs below its folder."""
    with open(job.manifest) as file:
        records = [json.loads(line) for line in file]
    return {job.relative(record["input"]): record for record in records}


@pytest.fixture
def photos(tmp_path, make_pixels):
    """A folder with three photographs, in two folders, and a file that is none."""
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    for i, name in enumerate(("a.png", "a.bmp", "sub/a.png")):
        Image.fromarray(make_pixels(20 + i, 30, seed=i)).save(folder / name)
    (folder / "bad.png").write_bytes(b"not an image")
    return folder


def test_each_image_becomes_what_compress_makes_of_it(job, photos, toy_codec):
    totals = run(job)
    assert (totals["made"], totals["kept"], totals["failed"]) == (3, 0, 1)
    assert totals["exit_status"] == errors.ImageError.exit_status
    found = manifest(job)
    assert list(found) == ["a.bmp", "a.png", "bad.png", "sub/a.png"]
    for name in ("a.bmp", "a.png", "sub/a.png"):
        pixels = np.array(Image.open(photos / name))
        with open(os.path.join(job.output, found[name]["output"]), "rb") as file:
            data = file.read()
        assert data == toy_codec.compress(pixels, 10)
        assert found[name]["output"] == name + ".tfclic"
        assert found[name]["bytes"] == len(data)
        assert (found[name]["height"], found[name]["width"]) == pixels.shape[:2]
        assert found[name]["bpp"] == pytest.approx(8 * len(data) / pixels[..., 0].size, abs=1e-5)
    assert "bad.png is not an image of a known kind." in found["bad.png"]["error"]
    assert "output" not in found["bad.png"]
    assert totals["bytes"] == sum(each.get("bytes", 0) for each in found.values())
    assert not os.path.exists(job.journals)


def test_psnr_is_of_what_the_file_decodes_to(job, photos, toy_codec, compression):
    from tfclic.evaluation import metrics

    run(dataclasses.replace(job, coding=dataclasses.replace(compression, psnr=True)))
    pixels = np.array(Image.open(photos / "a.png"))
    expected = metrics.psnr(pixels, toy_codec.decompress(toy_codec.compress(pixels, 10)))
    assert manifest(job)["a.png"]["psnr"] == pytest.approx(expected, abs=1e-3)


def test_psnr_of_a_transparent_image_is_that_of_its_colours(toy_folder, make_pixels):
    pixels = make_pixels(20, 30, 4)
    pixels[:9, :, 3] = 0
    png = coding.images.encode(pixels, ".png")
    compression = coding.Compression("toy", "00ff10ab", quality=100, psnr=True)
    data, facts = compression(png, "it")
    # nothing is lost of what is seen, and what is hidden was not compared with what it had been
    assert facts["psnr"] is None
    decoded, _ = coding.Decompression()(data, "it")
    found = np.array(Image.open(io.BytesIO(decoded)))
    assert np.array_equal(found[9:], pixels[9:]) and np.array_equal(found[..., 3], pixels[..., 3])


def test_a_second_start_does_what_is_left(job, photos, make_pixels, monkeypatch):
    run(job)
    before = manifest(job)
    coded = []
    original = coding.Compression.__call__

    def counting(self, data, name):
        coded.append(os.path.relpath(name, photos))
        return original(self, data, name)

    monkeypatch.setattr(coding.Compression, "__call__", counting)
    assert run(job)["kept"] == 3
    assert manifest(job) == before and coded == ["bad.png"]
    os.remove(os.path.join(job.output, "a.png.tfclic"))
    Image.fromarray(make_pixels(5, 5)).save(photos / "bad.png")
    Image.fromarray(make_pixels(5, 5)).save(photos / "new.png")
    totals = run(job)
    assert (totals["made"], totals["kept"], totals["failed"]) == (3, 2, 0)
    assert sorted(coded[1:]) == ["a.png", "bad.png", "new.png"]
    assert manifest(job)["a.png"] == before["a.png"]
    assert os.path.exists(os.path.join(job.output, "a.png.tfclic"))


def test_what_is_in_journals_is_done(job):
    run(job)
    found = manifest(job)
    os.remove(job.manifest)
    journal = records.Journal(job)
    journal.add(found["a.png"])
    journal.flush()
    totals = run(job)
    assert (totals["made"], totals["kept"]) == (2, 1)
    assert manifest(job) == found


def test_an_unexpected_error_of_one_image_stays_with_it(job, monkeypatch):
    original = coding.images.decode

    def decode(data, name, *how):
        if name.endswith("a.bmp"):
            raise ZeroDivisionError("made")
        return original(data, name, *how)

    monkeypatch.setattr(coding.images, "decode", decode)
    totals = run(job)
    assert (totals["made"], totals["failed"]) == (2, 2)
    assert manifest(job)["a.bmp"]["error"] == "ZeroDivisionError: made"


def test_a_model_that_is_another_where_the_work_is_done_stops_the_job(job, compression):
    other = dataclasses.replace(compression, fingerprint="00000000")
    with pytest.raises(Exception, match="has the fingerprint 00ff10ab where the work is done"):
        run(dataclasses.replace(job, coding=other))
    assert not os.path.exists(job.manifest)


def test_what_was_compressed_is_decompressed(job, photos, tmp_path, toy_codec):
    run(job)
    with open(os.path.join(job.output, "half.tfclic"), "wb") as file:
        file.write(toy_codec.compress(np.zeros([8, 8, 3], np.uint8))[:-9])
    back = Job(coding.Decompression(), f"{job.output}/**.tfclic", str(tmp_path / "back"))
    totals = run(back)
    assert (totals["made"], totals["failed"], totals["exit_status"]) == (3, 1, 4)
    found = manifest(back)
    assert "half.tfclic: " in found["half.tfclic"]["error"]
    for name in ("a.bmp", "a.png", "sub/a.png"):
        pixels = np.array(Image.open(photos / name))
        made = Image.open(os.path.join(back.output, name + ".png"))
        assert np.array_equal(np.array(made), toy_codec.decompress(toy_codec.compress(pixels, 10)))
        assert found[name + ".tfclic"]["bytes"] == manifest(job)[name]["bytes"]


def test_two_inputs_for_one_output_are_told_apart(tmp_path, toy_codec, toy_folder, make_pixels):
    for name in ("a", "a.tfclic"):
        (tmp_path / name).write_bytes(toy_codec.compress(make_pixels(5, 5)))
    job = Job(coding.Decompression(), f"{tmp_path}/a*", str(tmp_path / "back"))
    assert run(job)["failed"] == 1
    assert "would both become a.png" in manifest(job)["a.tfclic"]["error"]


def test_images_become_records_and_records_images(job, photos, tmp_path, toy_codec):
    sharded = dataclasses.replace(job, to_records=True, shards=2)
    assert run(sharded)["made"] == 3
    pattern = os.path.join(job.output, "*.tfrecord")
    back = Job(coding.Decompression(), pattern, str(tmp_path / "back"), from_records=True)
    assert run(back)["made"] == 3
    by_key = {record["key"]: record for record in manifest(back).values()}
    assert sorted(by_key) == ["a.bmp", "a.png", "sub/a.png"]
    for key, record in by_key.items():
        pixels = np.array(Image.open(photos / key))
        made = np.array(Image.open(os.path.join(back.output, record["output"])))
        assert np.array_equal(made, toy_codec.decompress(toy_codec.compress(pixels, 10)))
    # shards that are there are kept whole, failures included; a missing one is made again
    totals = run(sharded)
    assert (totals["made"], totals["kept"], totals["failed"]) == (0, 3, 1)
    before = manifest(sharded)
    os.remove(os.path.join(job.output, before["a.png"]["output"]))
    assert run(sharded)["made"] >= 1
    assert manifest(sharded) == before


def test_raw_records_and_a_damaged_file(tmp_path, photos, compression):
    import tensorflow as tf

    for name in ("0.tfrecord", "1.tfrecord"):
        with tf.io.TFRecordWriter(str(tmp_path / name)) as file:
            for image in ("a.png", "bad.png", "a.bmp"):
                file.write((photos / image).read_bytes())
    whole = (tmp_path / "1.tfrecord").read_bytes()
    (tmp_path / "1.tfrecord").write_bytes(whole[:-5])
    output = str(tmp_path / "coded")
    job = Job(compression, f"{tmp_path}/*.tfrecord", output, from_records=True)
    totals = run(job)
    assert (totals["made"], totals["failed"]) == (3, 3)
    found = manifest(job)
    assert list(found) == [
        *("0.tfrecord#0", "0.tfrecord#1", "0.tfrecord#2"),
        *("1.tfrecord", "1.tfrecord#0", "1.tfrecord#1"),
    ]
    assert found["0.tfrecord#2"]["output"] == "0.tfrecord/00000002.tfclic"
    assert os.path.exists(os.path.join(output, "0.tfrecord", "00000002.tfclic"))
    assert "damaged after 2 records" in found["1.tfrecord"]["error"]
    assert run(job)["kept"] == 3


def test_images_of_too_many_pixels_fail_and_can_be_allowed_later(job, compression, tmp_path):
    small = dataclasses.replace(compression, max_pixels=20 * 30)
    totals = run(dataclasses.replace(job, coding=small))
    assert (totals["made"], totals["failed"]) == (1, 3)
    assert "has more than 600 pixels" in manifest(job)["a.bmp"]["error"]
    assert run(job)["made"] == 2
    back = Job(coding.Decompression(600), f"{job.output}/**.tfclic", str(tmp_path / "back"))
    assert (totals := run(back))["made"] == 1 and totals["exit_status"] == 4


def test_a_name_that_is_not_unicode_is_worked_on(photos, job):
    try:
        os.rename(photos / "a.bmp", os.fsencode(photos) + b"/\xff.bmp")
    except OSError:
        pytest.skip("This file system has Unicode names only.")
    assert run(job)["made"] == 3
    assert os.path.exists(os.fsencode(job.output) + b"/\xff.bmp.tfclic")


def test_names_that_are_not_unicode_go_into_records_and_out_of_them(photos, job, tmp_path):
    try:
        os.rename(photos / "a.bmp", os.fsencode(photos) + b"/\xff.bmp")
    except OSError:
        pytest.skip("This file system has Unicode names only.")
    sharded = dataclasses.replace(job, to_records=True, shards=1)
    assert run(sharded)["made"] == 3
    (shard,) = (path for path in os.listdir(job.output) if path.startswith("part-"))
    os.rename(os.path.join(job.output, shard), os.fsencode(tmp_path) + b"/\xfe.tfrecord")
    back = Job(
        coding.Decompression(), f"{tmp_path}/*.tfrecord", str(tmp_path / "back"), from_records=True
    )
    assert run(back)["made"] == 3
    assert "\ufffd.bmp" in {record["key"] for record in manifest(back).values()}


def test_records_do_not_take_the_place_of_their_inputs(photos, tmp_path, compression):
    import tensorflow as tf

    path = tmp_path / "0.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as file:
        file.write((photos / "a.png").read_bytes())
    before = path.read_bytes()
    kinds = {"from_records": True, "to_records": True}
    job = Job(compression, f"{tmp_path}/*.tfrecord", str(tmp_path), **kinds)
    with pytest.raises(errors.UsageError, match="would replace the inputs; take another folder"):
        job.prepare(anew=False)
    assert path.read_bytes() == before


@pytest.mark.parametrize("place", ["photos/coded", "photos"])
def test_what_a_job_writes_below_its_inputs_is_no_input(photos, tmp_path, compression, place):
    (photos / "bad.png").unlink()
    job = Job(compression, f"{photos}/**", str(tmp_path / "x" / ".." / place))
    for made, kept in ((3, 0), (0, 3)):
        totals = run(job)
        assert (totals["made"], totals["kept"], totals["failed"]) == (made, kept, 0)
        assert list(manifest(job)) == ["a.bmp", "a.png", "sub/a.png"]
