"""Turning a trained codec into a SavedModel that is the codec: image in, file out, and back."""

import contextlib
import json
import os
import pathlib
import shutil
import tempfile

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from tfclic.codec import catalog, container, exported, warm_up


@contextlib.contextmanager
def unoptimized():
    """Makes functions that are traced here run as they are.

    A process that compresses one photograph would spend longer optimizing graphs than running them,
    and they run no faster afterwards.
    """
    before = tf.config.optimizer.get_experimental_options()
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False, **before})


def functions(path):
    """What a reader of the graph has to know of a SavedModel: where its functions begin and end.

    Args:
      path: folder of the SavedModel.

    Returns:
      JSON-compatible, as `tfclic.codec.session.Session` takes it.
    """
    proto = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    (graph,) = proto.meta_graphs
    return {
        name: {
            side: {key: info.name for key, info in sorted(getattr(signature, side).items())}
            for side in ("inputs", "outputs")
        }
        for name, signature in sorted(graph.signature_def.items())
        if not name.startswith("__")
    }


def save(codec, folder, name, config=None, training=None):
    """Writes `folder/name/VERSION/`, a SavedModel with its card; the version is the next free one.

    It is a servable as it stands, with warm-up requests where these can be made (`warm_up`).

    Args:
      codec: a trained codec.
      folder: where models are, such as saved_models/.
      name: of the model.
      config: JSON-compatible description of the configuration, for the card.
      training: JSON-compatible description of the training run, for the card.

    Returns:
      The path of the version's folder.

    Raises:
      errors.ModelError: the model cannot be made exact.
    """
    with unoptimized():
        graph = exported.ExportedCodec(codec)
    parent = pathlib.Path(folder) / name
    parent.mkdir(parents=True, exist_ok=True)
    version = 1 + max((int(p.name) for p in parent.iterdir() if p.name.isdigit()), default=0)
    target = parent / str(version)
    card = {
        "name": name,
        "version": version,
        "fingerprint": graph.fingerprint.hex(),
        "format_version": container.VERSION,
        "config": config or {},
        "training": training or {},
    }
    work = pathlib.Path(tempfile.mkdtemp(prefix=".export-", dir=parent))
    try:
        # gradients would double the functions that every start has to read
        options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
        with unoptimized():
            tf.saved_model.save(graph, str(work), graph.signatures(), options)
        card["functions"] = functions(work)
        if warm_up.is_possible():
            warm_up.write(work, name, card["functions"])
        (work / catalog.CARD).write_text(json.dumps(card, indent=1) + "\n")
        work.chmod(0o755)
        os.replace(work, target)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    return target
