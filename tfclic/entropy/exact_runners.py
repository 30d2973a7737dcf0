"""What runs programs in exact integers: see `tfclic.entropy.program`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from tfclic.entropy import active, lazy, lowering
from tfclic.entropy import integer_mixture as im
from tfclic.entropy.conditional_streams import LATENT_LIMIT, VALUE_STEP, Conditional
from tfclic.entropy.factorized_streams import SIDE_LIMIT, Gained, Independent
from tfclic.entropy.layout import SIDE_STRIDE
from tfclic.entropy.networks import Exact
from tfclic.entropy.program import LATENTS, Pieces, clipped, rdo_quantize

if TYPE_CHECKING:
    from tfclic.entropy.coding import EntropyCoder
    from tfclic.entropy.factorized import FactorizedPrior
    from tfclic.entropy.float_runners import Training
    from tfclic.entropy.program import Gain, Prior
    from tfclic.layers.composite import Tensors

Size = tuple[tf.Tensor, tf.Tensor]
# of a known array, candidates and the channels that they have, to what each candidate costs
Costs = Callable[[tf.Tensor, Sequence[tf.Tensor], tf.Tensor], list[tf.Tensor]]


class ExactRunner(Exact):
    """Runs a program in exact integers.

    A subclass says what happens at each node: `_independent(stream, name, shape)`,
    `_gained(stream, name, shape)` and `_conditional(stream, name)` return its integers.

    Args:
      coding: the `EntropyCoder`.
      size: `(height, width)` of the latents.
      sources: dict of float32 `[h, w, C]`; None: nothing is known.
    """

    def __init__(self, coding: EntropyCoder, size: Size, sources: Tensors | None = None) -> None:
        super().__init__(coding.networks)
        self.coding, self.size, self._sources = coding, size, sources
        self._grids = {1: lazy.Grid(*size)}
        self.streams: Tensors = {}
        self._shared: dict[int, tf.Tensor] = {}
        self._pieces = Pieces()
        # the latest conditional stream's values, where they are as decoded
        self._latest: lazy.Known | None = None

    def _independent(self, stream: Independent, name: str, shape: Sequence[tf.Tensor]) -> tf.Tensor:
        raise NotImplementedError

    def _gained(self, stream: Gained, name: str, shape: Sequence[tf.Tensor]) -> tf.Tensor:
        raise NotImplementedError

    def _conditional(self, stream: Conditional, name: str) -> tf.Tensor:
        raise NotImplementedError

    def _source(self, name: str, channels: int) -> tf.Tensor:
        assert self._sources is not None
        return self._pieces.next(name, channels, self._sources)(self._sources)

    def _grid(self, stride: int) -> lazy.Grid:
        if stride not in self._grids:
            self._grids[stride] = self._grids[1].coarser(stride)
        return self._grids[stride]

    def independent(self, name: str, prior: Prior, stride: int = 1) -> lazy.Known:
        """As `float_runners.Rounding.independent`."""
        stream = self.coding.stream(name, lambda: Independent(prior, stride, name))
        grid = self._grid(stride)
        self.streams[name] = self._independent(stream, name, [*grid.size, stream.channels])
        return lazy.Known(self.streams[name], lowering.integers(SIDE_LIMIT), grid)

    def gained(self, name: str, prior: FactorizedPrior, gain: Gain) -> lazy.Known:
        """As `float_runners.Rounding.gained`."""
        count = self.coding.qualities
        stream = self.coding.stream(name, lambda: Gained(prior, gain, count, name))
        self.streams[name] = self._gained(stream, name, [*self.size, stream.channels])
        return lazy.Known(self.streams[name], lowering.integers(LATENT_LIMIT), self._grid(1))

    def conditional(
        self, name: str, channels: int, parameters: Any, stride: int = 1, **kind: Any
    ) -> lazy.Known:
        """As `float_runners.Rounding.conditional`."""
        networks, grid = self.coding.networks, self._grid(stride)
        stream = Conditional(networks, grid, self._shared, channels, parameters, **kind)
        columns = stream.columns if stream.context is None else None
        self.coding.layout.describe(name, channels, stride, columns)
        self.streams[name] = self._conditional(stream, name)
        return self._value(stream, name)

    def _value(self, stream: Conditional, name: str) -> lazy.Known:
        """What follows on a stream has to know of it."""
        return stream.value_of(self.streams[name])

    def refined(self, value: lazy.Lazy, network: tf.Module, *inputs: lazy.Lazy) -> lazy.Lazy:
        """As `float_runners.Rounding.refined`."""
        if self._latest is not None:
            # whoever knows the latents need not compute what they are made of
            return self._latest
        return value + self.run(network, *inputs, value)

    def add_losses(self, make: Callable[[Training], Tensors]) -> None:
        """As `float_runners.Rounding.add_losses`: nothing."""


class Maker(ExactRunner):
    """Makes all networks and tables, and computes nothing.

    Attributes:
      has_means: whether any stream of latents is coded as differences from means.
    """

    def __init__(self, coding: EntropyCoder) -> None:
        super().__init__(coding, (0, 0))
        self.has_means = False

    def _nothing(self, *_: Any, **__: Any) -> None:
        return None

    _independent = _gained = _nothing

    def _conditional(self, stream: Conditional, name: str) -> None:
        is_side = self.coding.layout.is_side(name)
        self.has_means |= stream.means is not None and not is_side


class Quantizer(ExactRunner):
    """Makes of float latents what is coded: latents by rate and distortion, others to the nearest.

    Attributes:
      symbols, parameters: lists of float32 `[h, w, C]` and `[h, w, n]` of each stream of latents
        whose parameters follow from other streams alone: what is coded, and as `Writer` takes them.
      missed: list of bool `[h, w]`, of each stream of latents that is coded as differences from
        means: where these are so far off that no symbol is what a latent would be.

    Args:
      coding, size, sources: as for `ExactRunner`.
    """

    def __init__(self, coding: EntropyCoder, size: Size, sources: Tensors) -> None:
        super().__init__(coding, size, sources)
        self.symbols: list[tf.Tensor] = []
        self.parameters: list[tf.Tensor] = []
        self.missed: list[tf.Tensor] = []

    def _independent(self, stream: Independent, name: str, shape: Sequence[tf.Tensor]) -> tf.Tensor:
        limit = float(SIDE_LIMIT)
        return tf.clip_by_value(tf.round(self._source(name, shape[2])), -limit, limit)

    def _gained(self, stream: Gained, name: str, shape: Sequence[tf.Tensor]) -> tf.Tensor:
        def bits(
            known: tf.Tensor, candidates: Sequence[tf.Tensor], used: tf.Tensor
        ) -> list[tf.Tensor]:
            # the best level follows from all channels
            whole = [active.everywhere(x, used, shape[2]) for x in (known, *candidates)]
            return [tf.gather(each, used, axis=-1) for each in stream.bits(whole[0], whole[1:])]

        return self._chosen(self._source(name, shape[2]), bits)

    def _conditional(self, stream: Conditional, name: str) -> tf.Tensor:
        latents = stream.differences(self._source(name, stream.channels))
        if self.coding.layout.is_side(name):
            return clipped(tf.round(latents))
        if stream.means:
            whole = tf.round(latents)
            self.missed.append(tf.reduce_any(tf.not_equal(clipped(whole), whole), -1))

        is_told = stream.context is None

        def bits(
            known: tf.Tensor, candidates: Sequence[tf.Tensor], numbers: tf.Tensor
        ) -> list[tf.Tensor]:
            used = lowering.Used(numbers, stream.channels)
            rows = stream.all_rows(known, used)
            if is_told:
                self.parameters.append(stream.told(rows, used))
            return stream.bits(rows, candidates, used)

        symbols = self._chosen(latents, bits, active.possible if is_told else active.of)
        if is_told:
            self.symbols.append(symbols)
        return symbols

    def _chosen(
        self,
        latents: tf.Tensor,
        bits: Costs,
        channels_of: Callable[[tf.Tensor], tf.Tensor] = active.of,
    ) -> tf.Tensor:
        """Rounds latents to what is best by rate and distortion.

        Of the two integers beside a latent it is that with fewer bits + weight * error ** 2, by the
        probabilities that the nearest integers give each other. A decoder does not notice. Channels
        whose nearest integers are all zero stay as they are.

        Args:
          latents: float32 `[h, w, C]`, or whatever is coded as integers.
          bits: function of the nearest integers, a list of candidates, and the numbers of the
            channels that all of them have, to what each candidate would cost.
          channels_of: function of the nearest integers to these numbers, those of all channels that
            are in use among them.
        """
        nearest, channels = clipped(tf.round(latents)), latents.shape[-1]
        weight = self.coding.distortion_weight
        if weight is None:
            return nearest
        used = channels_of(nearest)
        latents, nearest = (tf.gather(x, used, axis=-1) for x in (latents, nearest))
        better = rdo_quantize(latents, nearest, weight, lambda both: bits(nearest, both, used))
        is_silent = ~tf.reduce_any(tf.not_equal(nearest, 0), [0, 1])
        return active.everywhere(tf.where(is_silent, nearest, better), used, channels)


class Statistics(ExactRunner):
    """What each element costs by its integer probability, and why.

    Attributes:
      found: dict of arrays by stream: dicts of float32 `[h, w, C]` or `[h, w, C, K]`: `bits`, and
        for conditional streams `weights`, `means`, `scales`, and `values`, as coded, their
        differences from the means being whole.
      named: list of float32, bits that say which channels are in use.

    Args:
      coding, size: as for `ExactRunner`.
      sources: dict of float32 `[h, w, C]`, integers.
    """

    def __init__(self, coding: EntropyCoder, size: Size, sources: Tensors) -> None:
        super().__init__(coding, size, sources)
        self.found: dict[str, Tensors] = {}
        self.named: list[tf.Tensor] = []

    def _independent(self, stream: Independent, name: str, shape: Sequence[tf.Tensor]) -> tf.Tensor:
        values = self._source(name, shape[2])
        self.found[name] = {"values": values, "bits": stream.bits(values)}
        return values

    def _gained(self, stream: Gained, name: str, shape: Sequence[tf.Tensor]) -> tf.Tensor:
        values = self._source(name, shape[2])
        self.found[name] = {"values": values, "bits": stream.bits(values, [values])[0]}
        return values

    def _conditional(self, stream: Conditional, name: str) -> tf.Tensor:
        values = self._source(name, stream.channels)
        self._latest = lazy.Known(values, lowering.ACTIVATIONS, stream.grid)
        symbols = stream.symbols_of(values)
        rows = stream.all_rows(symbols)
        (bits,) = stream.bits(rows, [symbols])
        if not self.coding.layout.is_side(name):
            used = active.worth_saying(symbols)
            bits = active.everywhere(tf.gather(bits, used, axis=-1), used, stream.channels)
            self.named.append(self.coding.names[name].bits(used))
        logits, means, scales = im.to_floats(im.parameters_of_rows(rows, stream.mixtures))
        shift = stream.mean_values / VALUE_STEP
        self.found[name] = {
            "values": symbols + shift,
            "bits": bits,
            "weights": stream.in_place(tf.nn.softmax(logits), symbols),
            "means": stream.in_place(means, symbols) + (shift[..., None] if stream.means else 0.0),
            "scales": stream.in_place(tf.exp(scales), symbols),
        }
        return symbols

    def joined(self) -> Tensors:
        """What was found of all streams, as `EntropyCoder.statistics` returns it."""
        coding, joined = self.coding, {}
        for name in coding.layout.sides:
            each = self.found[name]
            joined[f"{name}_bits"] = each["bits"]
            if len(coding.layout.sides) > 1:
                joined[name] = each["values"]
                for kind in ("means", "scales"):
                    if kind in each:
                        joined[f"{name}_{kind}"] = each[kind][..., 0]
        parts = [each for name, each in self.found.items() if not coding.layout.is_side(name)]
        for kind in parts[0]:
            of_all = tf.concat([part[kind] for part in parts], 2)
            joined[{"bits": "latents_bits", "values": LATENTS}.get(kind, kind)] = of_all
        if coding.latent_step == 1:
            del joined[LATENTS]  # they are as they were given
        if len(parts) > 1:
            joined["slices"] = tf.constant([part["bits"].shape[2] for part in parts])
        if self.named:
            grid = tf.stack(self.size) // SIDE_STRIDE
            share = tf.add_n(self.named) / tf.cast(tf.reduce_prod(grid), tf.float32)
            joined["channels_bits"] = tf.fill(tf.concat([grid, [1]], 0), share)
        return joined
