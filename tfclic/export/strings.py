"""The entropy coding of an exported codec as functions: a tile's latents to a string, and back.

`coding` is everywhere the exact entropy model, and `coder` the name of that which writes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import tensorflow as tf

from tfclic.export import whole
from tfclic.export.tracing import as_coded, coded_specs, latent_spec, specs, traced
from tfclic.format import header, interface

if TYPE_CHECKING:
    from tensorflow.types.experimental import ConcreteFunction

    from tfclic.entropy.coding import EntropyCoder
    from tfclic.layers.composite import Tensors

# What reads strings, by the coder that wrote them.
READERS = {
    header.RANGE: (whole.TRY_READ, interface.READ),
    header.INTERLEAVED: (whole.TRY_READ_INTERLEAVED, interface.READ_INTERLEAVED),
}


def functions(coding: EntropyCoder, coder: str) -> dict[str, ConcreteFunction]:
    """All of them, by name."""
    explain = _explaining(coding)
    found = {
        interface.WRITE.name: _writing(coding, coder),
        interface.STATISTICS.name: explain,
        interface.ESTIMATE.name: _estimating(coding, explain),
    }
    if coding.layout.told_columns:
        found[interface.WRITE_CHOSEN.name] = _writing_chosen(coding, coder)
    return {**found, **readers(coding, coder)}


def _as_floats(*arrays: tf.Tensor) -> Iterator[tf.Tensor]:
    return (tf.cast(array, tf.float32) for array in arrays)


def _writing(coding: EntropyCoder, coder: str) -> ConcreteFunction:
    @traced(*specs(interface.WRITE, **coded_specs(coding)))
    def write(latents: tf.Tensor, hyper_latents: tf.Tensor) -> Tensors:
        string = coding.compress(*_as_floats(hyper_latents, latents), coder)
        return interface.String(string)._asdict()

    return write


def _writing_chosen(coding: EntropyCoder, coder: str) -> ConcreteFunction:
    of_codec = coded_specs(coding)
    of_codec["symbols"] = latent_spec(coding.channels)
    of_codec["parameters"] = latent_spec(sum(coding.layout.told_columns or ()))

    @traced(*specs(interface.WRITE_CHOSEN, **of_codec))
    def write(hyper_latents: tf.Tensor, symbols: tf.Tensor, parameters: tf.Tensor) -> Tensors:
        string = coding.write(*_as_floats(hyper_latents, symbols, parameters), coder)
        return interface.String(string)._asdict()

    return write


def _explaining(coding: EntropyCoder) -> ConcreteFunction:
    @traced(*specs(interface.STATISTICS, **coded_specs(coding)))
    def explain(latents: tf.Tensor, hyper_latents: tf.Tensor) -> Tensors:
        return coding.statistics(*_as_floats(hyper_latents, latents))

    return explain


def _estimating(coding: EntropyCoder, explain: ConcreteFunction) -> ConcreteFunction:
    @traced(*specs(interface.ESTIMATE, **coded_specs(coding)))
    def estimate(latents: tf.Tensor, hyper_latents: tf.Tensor) -> Tensors:
        return interface.Estimate(coding.total_bits(explain(latents, hyper_latents)))._asdict()

    return estimate


def readers(coding: EntropyCoder, coder: str) -> dict[str, ConcreteFunction]:
    """What reads strings, by name: of the coder that writes, and of any that needs no more."""
    made = reader(coding, header.INTERLEAVED)
    if coder == header.INTERLEAVED:
        return made
    return {**reader(coding, coder), **reader_of_parts(coding), **made}


def reader_of_parts(coding: EntropyCoder) -> dict[str, ConcreteFunction]:
    """What reads a part of a string, by name, where strings have several."""
    if len(coding.layout.latents) < 2:
        return {}

    @traced(*specs(interface.READ_PARTS))
    def read_parts(
        payload: tf.Tensor, height: tf.Tensor, width: tf.Tensor, wanted: tf.Tensor
    ) -> Tensors:
        sound, hyper_latents, latents = coding.read_parts(payload, height, width, wanted)
        return interface.CodedParts(*as_coded(latents, hyper_latents), sound)._asdict()

    return {interface.READ_PARTS.name: read_parts}


def reader(coding: EntropyCoder, coder: str) -> dict[str, ConcreteFunction]:
    """What reads the strings of a coder, by name: for `whole`, and for whoever is outside."""
    trying, reading = READERS[coder]

    @traced(*specs(trying))
    def try_read(
        payload: tf.Tensor, height: tf.Tensor, width: tf.Tensor, strict: tf.Tensor
    ) -> Tensors:
        found = coding.try_read(payload, height, width, strict, coder)
        sound, hyper_latents, latents = found
        return whole.Tried(*as_coded(latents, hyper_latents), sound)._asdict()

    @traced(*specs(reading))
    def read(payload: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> Tensors:
        return reading.results(try_read(payload, height, width, True))._asdict()

    return {trying.name: try_read, reading.name: read}
