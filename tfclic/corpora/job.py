"""What is to be done with a corpus, and where everything of it lies.

The folder of the outputs has the outputs, in a tree like that of the inputs; `manifest.jsonl`, once
all is done; and `.tfclic/` with what the next start of an interrupted job needs: the settings, the
journals of what is done, and files that are not finished.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from tfclic import errors
from tfclic.corpora import records, storage

if TYPE_CHECKING:
    from tfclic.corpora.coding import Coding


_PART = re.compile(r"part-\d{5,}-of-\d{5,}\.tfrecord")  # a TFRecord file that is made of images


@dataclasses.dataclass(frozen=True)
class Job:
    """A corpus to work through.

    Attributes:
      coding: what is done with each image, one of `tfclic.corpora.coding`.
      pattern: glob of the inputs: `*` is anything but a slash, `**` anything.
      output: folder of the outputs.
      from_records: whether the inputs are TFRecord files, not files of one image each.
      to_records: whether the outputs are.
      shards: how many TFRecord files there are, if image files go into them.
      feature: where `tf.train.Example`s have the bytes.
      threads: of TensorFlow in each process.
    """

    coding: Coding
    pattern: str
    output: str
    from_records: bool = False
    to_records: bool = False
    shards: int = 16
    feature: str = "image/encoded"
    threads: int = 1

    @property
    def manifest(self) -> str:
        """Path of the manifest, JSON lines sorted by input."""
        return storage.join(self.output, "manifest.jsonl")

    @property
    def state(self) -> str:
        """Path of the folder with all that is neither output nor manifest."""
        return storage.join(self.output, ".tfclic")

    @property
    def journals(self) -> str:
        """Path of the folder with the records of what is done, while there is no manifest."""
        return storage.join(self.state, "journals")

    @property
    def records(self) -> tuple[str, ...]:
        """Patterns of the files with records of what is done."""
        return storage.literal(self.manifest), storage.join(storage.literal(self.journals), "*")

    @property
    def unfinished(self) -> str:
        """Path of the folder with files that are being written."""
        return storage.join(self.state, "unfinished")

    @property
    def totals(self) -> str:
        """Path of the file that a pipeline's last step leaves its totals in."""
        return storage.join(self.state, "totals.json")

    @property
    def settings_path(self) -> str:
        """Path of the file that tells what the outputs in this folder were made from, and how."""
        return storage.join(self.state, "settings.json")

    @property
    def has_large_units(self) -> bool:
        """Whether a unit may be of many images."""
        return self.from_records or self.to_records

    def relative(self, path: str) -> str:
        """The part of an input's path that differs among inputs: what follows the fixed folders."""
        return path[len(self._fixed) :]

    @property
    def _fixed(self) -> str:
        """The folders of the pattern that have no wildcards, up to the last slash."""
        fixed = re.split(r"[*?\[]", self.pattern)[0]
        return fixed[: fixed.rfind("/") + 1]

    def is_input(self, path: str) -> bool:
        """Whether a file that the pattern matches is one of the inputs, and none of this job's own.

        A folder of outputs below that of the inputs has no inputs.
        """
        return not path.startswith(self._own) and not self.is_named_like_an_output(path)

    def is_named_like_an_output(self, path: str) -> bool:
        """Whether outputs lie beside the inputs, and a file that the pattern matches is called so.

        It may be of an earlier start, of another job, or of an image that is gone: it is no input.
        """
        if not self.is_beside_inputs or self.from_records:
            return False
        if self.to_records:
            return bool(_PART.fullmatch(self.relative(path)))
        return path.endswith(self.coding.suffix)

    @functools.cached_property
    def is_beside_inputs(self) -> bool:
        """Whether the folder of outputs is that of the inputs."""
        return os.path.realpath(self.output) == os.path.realpath(self._fixed)

    @functools.cached_property
    def _own(self) -> tuple[str, ...]:
        """What paths begin with, as the pattern gives them, of what the job itself writes."""
        below = os.path.relpath(os.path.realpath(self.output), os.path.realpath(self._fixed))
        if below.split(os.sep)[0] == os.pardir:
            return ()
        if self.is_beside_inputs:
            return (f"{self._fixed}.tfclic/", f"{self._fixed}manifest.jsonl")
        return (f"{self._fixed}{below}/",)

    def path(self, name: str) -> str:
        """The input file of the input called `name`: a path, or PATH#INDEX of a TFRecord."""
        return records.order(name)[0] if self.from_records else name

    def unit(self, name: str) -> str:
        """The unit of work, one for each output file of image files or else for each input file.

        Args:
          name: of an input, as the manifest has it: a path, or PATH#INDEX of a TFRecord.

        Returns:
          The same in each start. Of TFRecord outputs it is the name of the file.
        """
        if self.from_records:
            return re.sub(r"\.gz$", "", self.relative(self.path(name)))
        if self.to_records:
            shard = zlib.crc32(os.fsencode(self.relative(name))) % self.shards
            return f"part-{shard:05d}-of-{self.shards:05d}.tfrecord"
        return self.output_name(name)

    def output_name(self, name: str) -> str:
        """The output of the input called `name`, below the folder of outputs."""
        if self.from_records:
            path, _, index = name.rpartition("#")
            return self.coding.output_name(f"{self.relative(path)}/{int(index):08d}")
        return self.coding.output_name(self.relative(name))

    def prepare(self, anew: bool) -> None:
        """Makes the folder of the outputs ready, or sees that it holds what this job left there.

        Args:
          anew: whether to forget what is done, and do it again.

        Raises:
          errors.UsageError: other inputs or settings filled this folder, it cannot be written, or
            it is that of the inputs, which records would replace.
        """
        self._keep_inputs()
        settings = json.loads(json.dumps(self._settings()))
        try:
            if anew:
                storage.remove(self.state)
                storage.remove(self.manifest)
            if storage.exists(self.settings_path):
                self._compare(json.loads(storage.read(self.settings_path)), settings)
            storage.remove(self.unfinished)
            storage.make_folder(self.unfinished)
            text = json.dumps(settings, indent=1) + "\n"
            storage.write(self.settings_path, text.encode(), self.unfinished)
        except (storage.StorageError, ValueError) as error:
            raise errors.UsageError(str(error)) from error

    def _keep_inputs(self) -> None:
        """Refuses the folder of TFRecord inputs for outputs that are called the same."""
        from_records_to_records = self.from_records and self.to_records
        # without the .gz they are called otherwise
        if self.is_beside_inputs and from_records_to_records and self.pattern[-3:] != ".gz":
            raise errors.UsageError(
                f"The outputs in {self.output} would replace the inputs; take another folder."
            )

    def _settings(self) -> dict[str, Any]:
        settings: dict[str, Any] = {"coding": type(self.coding).__name__, "input": self.pattern}
        settings.update(self.coding.settings(), to_records=self.to_records)
        if self.from_records:
            settings["feature"] = self.feature
        elif self.to_records:
            settings["shards"] = self.shards
        return settings

    def _compare(self, there: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
        for key in {**wanted, **there}:
            if there.get(key) != wanted.get(key):
                raise errors.UsageError(
                    f"{self.output} was filled with {_in_words(key, there.get(key))}, not "
                    f"{_in_words(key, wanted.get(key))}; take another folder, or --force to do it "
                    "all again."
                )


def _in_words(key: str, value: Any) -> str:
    """A setting as whoever started the program said it."""
    if key == "coding":
        return {"Compression": "files of compress_corpus"}.get(value, "images of decompress_corpus")
    if key == "metadata":
        return "metadata" if value else "--strip"
    if key == "to_records":
        return "--output_format " + ("tfrecord" if value else "files")
    if key == "fingerprint":
        return f"the model of fingerprint {value}"
    if key == "background" and value:
        value = "#" + bytes(value).hex()
    if value is None or value is False:
        return f"no --{key}"
    if value is True:
        return f"--{key}"
    return f"--{key} {value:g}" if isinstance(value, float) else f"--{key} {value}"


@dataclasses.dataclass(frozen=True)
class Image:
    """An image of the corpus, not read yet.

    Attributes:
      name: as the manifest has it.
      load: function without arguments that returns `(data, key)`: its bytes, and what a TFRecord
        calls it (str, or None). Raises errors.TfclicError or storage.StorageError.
    """

    name: str
    load: Callable[[], tuple[bytes, str | None]]


def images(job: Job, path: str) -> Iterator[Image]:
    """Yields the `Image`s of an input file, in order."""
    if not job.from_records:
        yield Image(path, lambda: (storage.read(path), None))
        return
    from tfclic.corpora import tfrecords

    for index, record in enumerate(tfrecords.read(path)):
        load = functools.partial(tfrecords.image, record, job.feature)
        yield Image(f"{path}#{index}", load)
