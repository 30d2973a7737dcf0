"""Turning a trained codec into a SavedModel that is the codec: image in, file out, and back."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from tfclic import errors
from tfclic.export import compact, exported, fast, refining, versions, warm_up
from tfclic.format import beside, graphs, header, model
from tfclic.format.model import GRAPH
from tfclic.runtime import checksums

if TYPE_CHECKING:
    from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef
    from tensorflow.types.experimental import ConcreteFunction

    from tfclic.exact.ranges import Ranges
    from tfclic.export.stored import StoredCodec
    from tfclic.format.model import Signature
    from tfclic.models.base import ImageCodec


@contextlib.contextmanager
def unoptimized() -> Iterator[None]:
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


def functions(path: pathlib.Path) -> dict[str, Signature]:
    """What a reader of the graph has to know of a SavedModel: where its functions begin and end.

    Args:
      path: folder of the SavedModel.

    Returns:
      JSON-compatible, as `tfclic.runtime.session.Session` takes it.
    """
    (graph,) = _read(path).meta_graphs
    return _functions(graph)


def _functions(graph: MetaGraphDef) -> dict[str, Signature]:
    return {
        name: {
            side: {key: info.name for key, info in sorted(getattr(signature, side).items())}
            for side in ("inputs", "outputs")
        }
        for name, signature in sorted(graph.signature_def.items())
        if not name.startswith("__")
    }


def slim(path: pathlib.Path) -> None:
    """Makes the graph of a SavedModel small, which is a good part of its bytes; see `compact`.

    Args:
      path: folder of the SavedModel.
    """
    proto = _read(path)
    for graph in proto.meta_graphs:
        compact.compact(graph)
    (path / GRAPH).write_bytes(proto.SerializeToString(deterministic=True))


def _write(
    module: tf.Module, signatures: Mapping[str, ConcreteFunction], path: pathlib.Path
) -> None:
    # gradients would double the functions that every start has to read
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    with unoptimized():
        tf.saved_model.save(module, str(path), signatures, options)
    slim(path)
    try:
        graphs.check((path / GRAPH).read_bytes())
    except graphs.GraphError as error:
        raise errors.ModelError(f"The model cannot be exported: its graph {error}.") from error


def _add_stock(graph: exported.ExportedCodec, path: pathlib.Path) -> dict[str, model.Signature]:
    """Adds a graph to the SavedModel at `path`, whose variables it shares.

    Returns:
      The functions that it has, JSON-compatible.
    """
    with tempfile.TemporaryDirectory(prefix=".graph-", dir=path.parent) as folder:
        _write(graph, graph.signatures(), pathlib.Path(folder))
        (stock,) = _read(pathlib.Path(folder)).meta_graphs
    proto = _read(path)
    proto.meta_graphs[0].meta_info_def.tags[:] = model.OF_RANGE
    proto.meta_graphs.append(stock)
    for each in proto.meta_graphs:
        # with it, whoever finds several graphs does nothing
        each.ClearField("object_graph_def")
    (path / GRAPH).write_bytes(proto.SerializeToString(deterministic=True))
    return _functions(stock)


def _add_beside(
    module: refining.Refinement | fast.Fast | None, target: pathlib.Path
) -> dict[str, model.Signature] | None:
    """Writes the graph of a module to a folder in that of a SavedModel, whose variables it reads.

    Returns:
      The functions that it has, JSON-compatible, `beside.RESTORE` among them; None: there is none.
    """
    if module is None:
        return None
    _write(module, module.functions, target)
    for entry in target.iterdir():
        if entry.name != GRAPH:
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    (graph,) = _read(target).meta_graphs
    saver = graph.saver_def
    names = {"inputs": [saver.filename_tensor_name], "outputs": [f"{saver.restore_op_name}:0"]}
    fields = {"inputs": beside.RESTORE.takes._fields, "outputs": beside.RESTORE.gives._fields}
    restore = {side: dict(zip(fields[side], each)) for side, each in names.items()}
    return {**functions(target), beside.RESTORE.name: restore}


def _read(path: pathlib.Path) -> saved_model_pb2.SavedModel:
    return saved_model_pb2.SavedModel.FromString((path / GRAPH).read_bytes())


def save(
    codec: ImageCodec,
    folder: str | os.PathLike[str],
    name: str,
    config: dict[str, Any] | None = None,
    training: dict[str, Any] | None = None,
    coder: str = header.RANGE,
    results: dict[str, Any] | None = None,
    like: StoredCodec | None = None,
    seen: Ranges | None = None,
    transforms: str = model.INTEGER,
    thumbnails: bytes | None = None,
) -> pathlib.Path:
    """Writes `folder/name/VERSION/`, a SavedModel with its card; the version is the next free one.

    It is a servable as it stands, with warm-up requests where these can be made (`warm_up`).

    Args:
      codec: a trained codec.
      folder: where models are, such as saved_models/.
      name: of the model.
      config: JSON-compatible description of the configuration, for the card.
      training: JSON-compatible description of the training run, for the card.
      coder: as for `exported.ExportedCodec`; or `model.BOTH`: a graph for each of them, both with
        the same variables, of which that in TensorFlow's own operations has the tags of a server.
      results: JSON-compatible results of measurements, for the card.
      like: as for `stored.StoredCodec`.
      seen: what `integers.measured` returned, for a synthesis in integers; None: in float32.
      transforms: in which, `model.INTEGER` or `model.INTEGER8`.
      thumbnails: the content of another export's file of them; None: there are none.

    Returns:
      The path of the version's folder.

    Raises:
      errors.ModelError: the model cannot be made exact, or consists of what nobody would load
        (`tfclic.format.graphs`); or the disk refuses it.
    """
    stock = None
    with unoptimized():
        if coder == model.BOTH:
            coder = header.RANGE
            stock = exported.ExportedCodec(codec, header.INTERLEAVED, like, seen, transforms)
        graph = exported.ExportedCodec(codec, coder, like, seen, transforms)
        refinement = None
        if graph.coding.is_differentiable and codec.moves_latents:
            refinement = refining.Refinement(graph, codec)
        faster = None
        if seen and graph.transforms == model.INTEGER8:
            faster = fast.Fast(graph, codec, seen)
    parent = pathlib.Path(folder) / name
    with versions.new_folder(parent) as work:
        _write(graph, graph.signatures(), work)
        signatures = functions(work)
        stock_signatures = _add_stock(stock, work) if stock else None
        card = model.Card(
            name=name,
            version=0,  # `versions.publish` counts
            fingerprint=graph.fingerprint.hex(),
            format_version=header.VERSION,
            coder=coder,
            slices=len(graph.coding.layout.latents),
            transforms=graph.transforms,
            pixels=graph.integers.digest() if graph.integers else None,
            config=config or {},
            training=training or {},
            functions=signatures,
            stock=stock_signatures,
            results=results,
            refinement=_add_beside(refinement, work / model.REFINEMENT),
            fast=_add_beside(faster, work / model.FAST),
        )
        if warm_up.is_possible():
            # by the graph that a server takes
            warm_up.write(work, name, stock_signatures or signatures)
        if thumbnails is not None:
            (work / model.THUMBNAILS).write_bytes(thumbnails)
        card = dataclasses.replace(card, checksums=checksums.of_files(work))
        return versions.publish(work, parent, card)
