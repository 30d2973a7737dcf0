"""Training on several devices or machines: who computes which part of a batch, and who writes.

Every process runs the same loop. All replicas of the model hold the same state, and each measures
its rows of the same batch (see `step.make_step`). The process of the first replica is the chief: it
alone writes, and it alone reads the checkpoint, which the others get from it; so only the images
have to be on every machine.
"""

from __future__ import annotations

import contextlib
import faulthandler
import hashlib
import json
import os
import re
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfclic import errors

CHOICES = ("none", "mirrored", "multiworker")
PATIENCE = 600  # seconds for the other workers to come
_JOBS = ("chief", "worker")
# What a collective operation ends with when its peer is gone, depending on who notices and how.
_LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
)


class WorkerLost(errors.TfclicError):
    """Another process of the run has ended or cannot be reached."""


def open_replicas(name: str) -> Replicas:
    """Returns the `Replicas` of the strategy called `name`, one of CHOICES.

    "mirrored" takes all GPUs of this machine (without any, all logical CPU devices); "multiworker"
    those of all machines in TF_CONFIG. It waits for them, and ends the process with status 1 when
    they take longer than PATIENCE. To be called before TensorFlow computes anything.

    Raises:
      errors.UsageError: TF_CONFIG is missing or malformed, or its address cannot be used.
      WorkerLost: a worker came and went.
    """
    if name == "none":
        return Replicas()
    if name == "mirrored":
        return Replicas(tf.distribute.MirroredStrategy())
    address = own_address(os.environ.get("TF_CONFIG", ""))
    try:
        with _patience():
            return Replicas(tf.distribute.MultiWorkerMirroredStrategy())
    except _LOST:
        raise WorkerLost("A worker of TF_CONFIG ended before the start.") from None
    except tf.errors.UnknownError:
        raise errors.UsageError(
            f"This worker's address in TF_CONFIG, {address}, cannot be used."
        ) from None


def own_address(tf_config: str) -> str:
    """Returns "host:port" of this worker; raises errors.UsageError if TF_CONFIG is unusable."""
    see = "docs/training.md shows an example"
    if not tf_config:
        raise errors.UsageError(
            f"The strategy multiworker needs the environment variable TF_CONFIG; {see}."
        )
    try:
        content = json.loads(tf_config)
        cluster, task = content["cluster"], content["task"]
        if not set(cluster) <= set(_JOBS):
            raise ValueError(f"its cluster may have {' and '.join(_JOBS)}, nothing else")
        for address in [a for job in cluster.values() for a in job]:
            if not re.fullmatch(r"\S+:\d+", address):
                raise ValueError(f"{address} is not host:port")
        if int(task["index"]) < 0:
            raise ValueError("its task has a negative index")
        return cluster[task["type"]][int(task["index"])]
    except json.JSONDecodeError:
        reason = "it is not JSON"
    except ValueError as error:
        reason = str(error)
    except (LookupError, TypeError, AttributeError):
        reason = "it must have a cluster with a list of workers, and a task that is one of them"
    raise errors.UsageError(f"TF_CONFIG is not understood: {reason}; {see}.")


@contextlib.contextmanager
def _patience() -> Iterator[None]:
    """Ends the process if the context takes longer than PATIENCE.

    TensorFlow waits for the other workers without end, and with Python's lock held: no thread and
    no signal handler of Python would run. What ends it has to do without.
    """
    print(
        f"Waiting for the other workers, at most {PATIENCE} seconds.", file=sys.stderr, flush=True
    )
    numbers = (signal.SIGINT, signal.SIGTERM)
    handlers = [signal.signal(number, signal.SIG_DFL) for number in numbers]
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        faulthandler.dump_traceback_later(PATIENCE, exit=True, file=nowhere)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()
            for number, handler in zip(numbers, handlers):
                signal.signal(number, handler)


class Replicas:
    """All replicas of a strategy, and which of them belong to this process.

    Attributes:
      strategy: tf.distribute.Strategy, in whose scope codec and state are made.
      count: replicas in all processes.
      own: list of the numbers of this process's replicas, 0 .. count - 1.
      is_chief: whether this process is the one that writes.
      alone: whether there are no other processes.
    """

    def __init__(self, strategy: tf.distribute.Strategy | None = None) -> None:
        """strategy: TensorFlow's default, a single replica, if None."""
        self.strategy = strategy or tf.distribute.get_strategy()
        self.count = self.strategy.num_replicas_in_sync
        self.own: list[int] = []

        def note(context: tf.distribute.ReplicaContext) -> tf.Tensor:
            self.own.append(context.replica_id_in_sync_group)
            return tf.constant(0)

        self.strategy.experimental_distribute_values_from_function(note)
        self.is_chief = 0 in self.own
        self.alone = len(self.own) == self.count
        self._gather = tf.function(self._gathered)

    def rows(self, batch_size: int) -> range:
        """Returns the range of a batch's rows that this process's replicas measure.

        Raises:
          errors.UsageError: the replicas cannot share the batch evenly.
        """
        if batch_size % self.count:
            raise errors.UsageError(
                f"training.batch_size is {batch_size}, and {self.count} replicas are to share it: "
                "it must be a multiple."
            )
        size = batch_size // self.count
        return range(self.own[0] * size, (self.own[-1] + 1) * size)

    def parts(self, images: tf.Tensor) -> tf.Tensor:
        """Splits this process's rows between its replicas, for the step of `step.make_step`."""
        if self.count == 1:
            return images
        parts = dict(zip(self.own, tf.split(images, len(self.own))))
        return self.strategy.experimental_distribute_values_from_function(
            lambda context: parts[context.replica_id_in_sync_group]
        )

    def gather(self, numbers: Sequence[int]) -> npt.NDArray[np.int64]:
        """Returns the `numbers` (list of n int64) of all processes: int64 array [processes, n]."""
        if self.alone:
            return np.asarray([numbers], np.int64)
        return self._gather(tf.constant(numbers, tf.int64)).numpy()[:: len(self.own)]

    def part(self) -> None:
        """Waits until all processes have come here, each about to end.

        Whoever leaves first can take its answer to the others' last exchange along. Of this one
        nothing is needed, so its loss is none.
        """
        with contextlib.suppress(*_LOST, tf.errors.InternalError):
            self.gather([0])

    def _gathered(self, numbers: tf.Tensor) -> tf.Tensor:
        def place() -> tf.Tensor:
            context = tf.distribute.get_replica_context()
            row = tf.one_hot(context.replica_id_in_sync_group, self.count, dtype=tf.int64)
            return context.all_reduce(tf.distribute.ReduceOp.SUM, row[:, None] * numbers)

        return self.strategy.experimental_local_results(self.strategy.run(place))[0]

    def check_same(self, **contents: Any) -> None:
        """Raises errors.UsageError, naming what, if a JSON content differs between processes."""
        texts = [json.dumps(content, sort_keys=True).encode() for content in contents.values()]
        hashes = [int.from_bytes(hashlib.sha256(text).digest()[:7], "big") for text in texts]
        everywhere = self.gather(hashes)
        differing = (everywhere != everywhere[:1]).any(axis=0)
        if differing.any():
            names = " and ".join(n for n, differs in zip(contents, differing) if differs)
            raise errors.UsageError(f"The workers do not agree on the {names}.")

    def share(self, variables: Iterable[tf.Variable]) -> None:
        """Gives all processes the chief's values of a list of variables."""
        if self.alone:
            return

        def take_over() -> None:
            context = tf.distribute.get_replica_context()
            first = tf.equal(context.replica_id_in_sync_group, 0)
            for variable in variables:
                given = tf.where(first, variable, tf.zeros_like(variable))
                value = context.all_reduce(tf.distribute.ReduceOp.SUM, given)
                tf.raw_ops.AssignVariableOp(resource=variable.handle, value=value)

        tf.function(lambda: self.strategy.run(take_over))()

    @contextlib.contextmanager
    def guarded(self) -> Iterator[None]:
        """Turns TensorFlow's errors about lost workers into WorkerLost."""
        try:
            yield
        except tf.errors.OpError as error:
            if self.alone or not (isinstance(error, _LOST) or "ollective" in error.message):
                raise
            found = re.search(r"/job:(\w+)/(?:replica:0/)?task:(\d+)", error.message)
            who = f"{found[1].capitalize()} {found[2]}" if found else "Another worker"
            raise WorkerLost(
                f"{who} no longer answers, so this one has stopped; when all are started again, "
                "the run goes on from its last checkpoint."
            ) from None
