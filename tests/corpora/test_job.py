"""Names of outputs and units of work, and the folder of the outputs."""

import json

import pytest

pytest.importorskip("apache_beam")

from tfclic import errors
from tfclic.corpora import coding, job, records, storage

COMPRESSION = coding.Compression("toy", "00ff10ab")


def compression(fingerprint="00ff10ab", **options):
    return coding.Compression("toy", fingerprint, **options)


def made(pattern, output="out", **options):
    return job.Job(options.pop("coding", COMPRESSION), str(pattern), str(output), **options)


@pytest.mark.parametrize(
    "pattern, path, output",
    [
        ("in/**.jpg", "in/a/b.jpg", "a/b.jpg.tfclic"),
        ("in/a/*.jpg", "in/a/b.jpg", "b.jpg.tfclic"),
        ("in/a[bc]/*", "in/ab/c.png", "ab/c.png.tfclic"),
        ("in/a/b.jpg", "in/a/b.jpg", "b.jpg.tfclic"),
        ("*.jpg", "b.jpg", "b.jpg.tfclic"),
        ("gs://bucket/photos-*/x?.png", "gs://bucket/photos-1/xy.png", "photos-1/xy.png.tfclic"),
    ],
)
def test_the_tree_below_the_fixed_folders_is_kept(pattern, path, output):
    assert made(pattern).output_name(path) == output
    assert made(pattern).unit(path) == output


def test_photographs_that_differ_in_their_extension_do_not_collide():
    names = {made("in/*").output_name(f"in/photo.{end}") for end in ("jpg", "png", "jpeg")}
    assert len(names) == 3


def test_what_was_compressed_gets_its_name_back():
    back = made("coded/**", coding=coding.Decompression())
    assert back.output_name("coded/a/b.jpg.tfclic") == "a/b.jpg.png"
    assert back.output_name("coded/other") == "other.png"


def test_records_are_numbered_below_the_name_of_their_file():
    numbered = made("in/*.tfrecord", from_records=True)
    assert numbered.output_name("in/x.tfrecord#7") == "x.tfrecord/00000007.tfclic"
    assert numbered.unit("in/x.tfrecord#7") == numbered.unit("in/x.tfrecord") == "x.tfrecord"
    assert numbered.path("in/a#b.tfrecord#7") == "in/a#b.tfrecord"
    assert made("in/*").path("in/a#7") == "in/a#7"
    # as a file that cannot be read is called
    assert numbered.path("in/a#b.tfrecord") == "in/a#b.tfrecord"


def test_names_that_look_like_numbers_of_records_stay_apart():
    names = ["in/page#1", "in/page#01", "in/page#001", "in/page"]
    assert len({records.order(name) for name in names}) == len(names)


@pytest.mark.parametrize(
    "pattern, output, path, is_input",
    [
        ("in/**", "out", "in/out/a.png", True),
        ("in/**", "in/out", "in/out/a.png.tfclic", False),
        ("in/**", "./in/out/", "in/out/a.png.tfclic", False),
        ("in/**", "in/out", "in/out2/a.png", True),
        ("in/**", "in", "in/.tfclic/settings.json", False),
        ("in/**", "in", "in/a.png", True),
        ("**", "out", "out/a.png.tfclic", False),
        ("in/**", "in", "in/a/b.png.tfclic", False),
        ("in/**", "out", "in/a/b.png.tfclic", True),
        ("gs://b/in/**", "gs://b/in/out", "gs://b/in/out/a.png.tfclic", False),
        ("gs://b/in/**", "gs://b/out", "gs://b/in/out/a.png", True),
    ],
)
def test_what_a_job_writes_is_no_input(pattern, output, path, is_input):
    assert made(pattern, output).is_input(path) == is_input


def test_outputs_of_all_kinds_beside_the_inputs_are_none_of_them():
    back = made("in/**", "in", coding=coding.Decompression())
    assert back.is_input("in/a.png.tfclic") and not back.is_input("in/a.png.png")
    sharded = made("in/**", "in", to_records=True)
    assert not sharded.is_input("in/part-00003-of-00016.tfrecord")
    assert sharded.is_input("in/a.png.tfclic") and sharded.is_input("in/a/part-1-of-2.tfrecord")


def test_shards_are_the_same_in_each_start_and_all_are_used():
    sharded = made("in/**", to_records=True, shards=5)
    units = [sharded.unit(f"in/{i}.png") for i in range(100)]
    assert units == [sharded.unit(f"in/{i}.png") for i in range(100)]
    assert set(units) == {f"part-{i:05d}-of-00005.tfrecord" for i in range(5)}
    # what lies elsewhere but is called the same is the same image
    moved = made("/elsewhere/**", to_records=True, shards=5)
    assert units == [moved.unit(f"/elsewhere/{i}.png") for i in range(100)]


def test_names_that_are_not_unicode_have_units():
    assert made("in/*", to_records=True, shards=1).unit("in/\udcff.png").startswith("part-00000")


def test_a_folder_goes_on_with_the_settings_that_filled_it(tmp_path):
    first = made("in/*", tmp_path)
    first.prepare(anew=False)
    settings = json.loads((tmp_path / ".tfclic" / "settings.json").read_text())
    assert settings["quality"] == 50 and settings["fingerprint"] == "00ff10ab"
    first.prepare(anew=False)
    # where the model lies does not matter
    made("in/*", tmp_path, coding=coding.Compression("/toy", "00ff10ab")).prepare(anew=False)


@pytest.mark.parametrize(
    "other, words",
    [
        ({"coding": compression(quality=0.0)}, "--quality 50, not --quality 0;"),
        ({"coding": compression(fingerprint="00ff10ac")}, "fingerprint 00ff10ab, not the model"),
        ({"coding": compression(strip=True)}, "metadata, not --strip"),
        (
            {"coding": compression(background=(255, 128, 0))},
            "no --background, not --background #ff8000",
        ),
        ({"coding": compression(effort=2)}, "no --effort, not --effort 2"),
        ({"coding": compression(psnr=True)}, "no --psnr, not --psnr"),
        ({"coding": coding.Decompression()}, "files of compress_corpus, not images of decompress"),
        ({"pattern": "other/*"}, r"--input in/\*, not --input other/\*"),
        ({"to_records": True}, "--output_format files, not --output_format tfrecord"),
    ],
)
def test_other_settings_are_refused_unless_all_is_done_again(tmp_path, other, words):
    made("in/*", tmp_path).prepare(anew=False)
    (tmp_path / "manifest.jsonl").touch()
    other = made(other.pop("pattern", "in/*"), tmp_path, **other)
    with pytest.raises(errors.UsageError, match=f"was filled with .*{words}.*--force"):
        other.prepare(anew=False)
    other.prepare(anew=True)
    assert not (tmp_path / "manifest.jsonl").exists()
    other.prepare(anew=False)


def test_what_a_killed_process_left_unfinished_is_removed(tmp_path):
    job_ = made("in/*", tmp_path)
    job_.prepare(anew=False)
    (tmp_path / ".tfclic" / "unfinished" / "half").touch()
    job_.prepare(anew=False)
    assert list((tmp_path / ".tfclic" / "unfinished").iterdir()) == []


def test_a_folder_that_cannot_be_written_is_a_usage_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(errors.UsageError, match="cannot be made: Not a directory."):
        made("in/*", tmp_path / "file" / "out").prepare(anew=False)


def test_files_appear_whole_or_not_at_all(tmp_path, monkeypatch):
    target, unfinished = str(tmp_path / "new" / "file"), str(tmp_path / "unfinished")
    storage.write(target, b"first", unfinished)
    assert storage.read(target) == b"first"
    storage.write(target, b"second", unfinished)
    assert storage.read(target) == b"second"
    monkeypatch.setattr(storage, "publish", lambda *_: exit(1))
    with pytest.raises(SystemExit):
        storage.write(target, b"third", unfinished)
    assert storage.read(target) == b"second"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["file"]


def test_folders_of_outputs_may_be_called_like_patterns(tmp_path):
    other = made("in/*", tmp_path / "out1")
    named = made("in/*", tmp_path / "out[1]")
    for each in (other, named):
        each.prepare(anew=False)
        for path in (each.manifest, storage.join(each.journals, "a")):
            storage.write(path, b"{}\n", each.unfinished)
    found = [path for pattern in named.records for path in storage.listed(pattern)]
    assert found == [named.manifest, storage.join(named.journals, "a")]
    for anew in (False, True):
        named.prepare(anew)
    assert storage.exists(other.manifest) and not storage.exists(named.manifest)


def test_errors_of_storage_are_sentences(tmp_path):
    missing = str(tmp_path / "missing.gz")
    with pytest.raises(storage.StorageError) as caught:
        storage.read(missing)
    assert str(caught.value) == f"{missing} cannot be read: No such file or directory."
    assert storage.match(str(tmp_path / "none" / "*")) == []
