"""The portable step on a device: HLO in, a compiled function of any number of steps out.

Needs numpy and jax alone; jax 0.4.30 up to 0.11 are known to work. It is imported with the run, not
before, so that the folder's files can be read without jax.
"""

from __future__ import annotations

import dataclasses
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from . import files

if TYPE_CHECKING:
    import jax

    State = dict[str, jax.Array]
    Stepped = tuple[State, dict[str, jax.Array]]
    Step = Callable[[State, State, Sequence[jax.Array]], Stepped]


class Engine:
    """Holds the state on a device and advances it, several steps per call.

    Attributes:
      flops: floating-point operations of a step as XLA counts them, or None where it does not.
    """

    def __init__(
        self,
        folder: files.Path,
        meta: Mapping[str, Any],
        arrays: files.Arrays,
        platform: str | None = None,
        compiler_options: dict[str, Any] | None = None,
    ) -> None:
        """Prepares the step; each number of steps per call is compiled at its first `prepare`.

        Args:
          folder: of portable.json and step.hlo.
          meta: portable.json's content.
          arrays: dict from name to array, the state.
          platform: "cpu", "gpu", ...; None takes what jax prefers.
          compiler_options: dict of XLA's.

        Raises:
          files.PortableError: no jax, no such device, or no step.hlo.
        """
        self._jax = _import_jax(platform)
        self._meta, self._arrays = meta, arrays
        self._compiled: dict[int, jax.stages.Compiled] = {}
        self._compiler_options = compiler_options
        try:
            self.device = self._jax.devices(platform)[0]
            hlo = (pathlib.Path(folder) / files.STEP).read_bytes()
        except RuntimeError as error:
            raise files.PortableError(f"jax has no device: {error}") from None
        except OSError as error:
            raise files.PortableError(f"step.hlo cannot be read: {error.strerror}.") from None
        self._names = [name for kind, name in meta["params"] if kind == "state"]
        constants = [name for kind, name in meta["params"] if kind == "constant"]
        self._state = {n: self._put(arrays[n]) for n in self._names}
        self._constants = {n: self._put(arrays[n]) for n in constants}
        self._exported = _exported(self._jax, hlo, meta, arrays)
        self.flops: float | None = None
        self.compile_seconds = 0.0

    def _put(self, value: np.ndarray) -> jax.Array:
        return self._jax.device_put(value, self.device)

    def _step(self, state: State, constants: State, inputs: Sequence[jax.Array]) -> Stepped:
        given = {"input": dict(zip(files.INPUTS, inputs))}
        given.update(state=state, constant=constants)
        values = self._exported.call(*(given[kind][name] for kind, name in self._meta["params"]))
        made: dict[str, State] = {"metric": {}, "state": dict(state)}
        for (kind, name), value in zip(self._meta["results"], values):
            made[kind][name] = value
        return made["state"], made["metric"]

    def _steps(self, state: State, constants: State, inputs: Sequence[jax.Array]) -> Stepped:
        def step(carried: State, each: Sequence[jax.Array]) -> Stepped:
            return self._step(carried, constants, each)

        return self._jax.lax.scan(step, state, inputs)

    def _only_step(self, state: State, constants: State, inputs: Sequence[jax.Array]) -> Stepped:
        state, metrics = self._step(state, constants, [column[0] for column in inputs])
        return state, {name: value[None] for name, value in metrics.items()}

    def prepare(self, count: int) -> None:
        """Compiles the call of `count` steps, unless that is done."""
        if count in self._compiled:
            return
        began = time.monotonic()
        batch, crop = self._meta["batch"], self._meta["crop"]
        shapes = [(batch, crop, crop, 3), (2,), (batch,), ()]
        dtypes = [np.uint8, np.int32, np.int32, np.float32]
        inputs = [
            self._jax.ShapeDtypeStruct((count, *shape), dtype)
            for shape, dtype in zip(shapes, dtypes)
        ]
        with self._jax.default_device(self.device):
            if self.flops is None:
                one = [self._jax.ShapeDtypeStruct((1, *s.shape[1:]), s.dtype) for s in inputs]
                self.flops = _count_flops(self._lower(self._only_step, one))
            lowered = self._lower(self._steps if count > 1 else self._only_step, inputs)
            self._compiled[count] = lowered.compile(self._compiler_options)
        self.compile_seconds += time.monotonic() - began

    def _lower(self, function: Step, inputs: Sequence[jax.ShapeDtypeStruct]) -> jax.stages.Lowered:
        # Donated: the new state takes the old one's memory.
        jitted = self._jax.jit(function, donate_argnums=0)
        return jitted.lower(self._state, self._constants, inputs)

    def call(self, inputs: Sequence[np.ndarray], rates: Sequence[np.float32]) -> State:
        """Advances the state by as many steps as `rates` has values.

        Args:
          inputs: images uint8 [k, B, P, P, 3], seeds int32 [k, 2] and levels int32 [k, B].
          rates: k learning rates.

        Returns:
          Dict of float32 [k], the metrics of each step; on the device, perhaps not yet computed.
        """
        self.prepare(len(rates))
        inputs = [self._put(x) for x in [*inputs, np.asarray(rates, np.float32)]]
        self._state, metrics = self._compiled[len(rates)](self._state, self._constants, inputs)
        return metrics

    def arrays(self) -> files.Arrays:
        """Returns the state as numpy arrays by name; waits for the device."""
        return {**self._arrays, **{n: np.asarray(v) for n, v in self._state.items()}}

    def record(self) -> dict[str, Any]:
        """Returns what ran the steps, as JSON content."""
        return {
            "device": f"{self.device.device_kind} ({self.device.platform})",
            "jax": self._jax.__version__,
            "compile_seconds": round(self.compile_seconds, 1),
            "flops_per_step": self.flops,
        }


def _import_jax(platform: str | None) -> ModuleType:
    try:
        import jax
        import jax.export
    except ImportError:
        raise files.PortableError("This needs jax: pip install jax numpy Pillow.") from None
    jax.config.update("jax_enable_x64", True)  # TensorFlow's step counters are int64
    if platform:
        jax.config.update("jax_platforms", platform)
    return jax


def _count_flops(lowered: jax.stages.Lowered) -> float | None:
    # Not every platform counts, and what it returns has changed between versions.
    try:
        counts = lowered.cost_analysis()
        counts = counts[0] if isinstance(counts, list) else counts
        return float(counts["flops"]) or None
    except Exception:  # noqa: BLE001
        return None


def _exported(
    jax: ModuleType, hlo: bytes, meta: Mapping[str, Any], arrays: files.Arrays
) -> jax.export.Exported:
    """Wraps HLO as a `jax.export.Exported`, which other jax functions can call.

    jax makes one of a function with the same arguments and results, and it gets the HLO's module:
    so all fields besides are what this version of jax wants them to be.
    """
    shapes = {
        "images": ((meta["batch"], meta["crop"], meta["crop"], 3), np.uint8),
        "seed": ((2,), np.int32),
        "levels": ((meta["batch"],), np.int32),
        "rate": ((), np.float32),
    }

    def shape(kind: str, name: str) -> Any:
        if kind == "metric":
            return jax.ShapeDtypeStruct((), np.float32)
        if kind == "input":
            return jax.ShapeDtypeStruct(*shapes[name])
        return jax.ShapeDtypeStruct(arrays[name].shape, arrays[name].dtype)

    results = [shape(*result) for result in meta["results"]]

    def stand_in(*_: Any) -> list[Any]:
        return [jax.numpy.zeros(r.shape, r.dtype) for r in results]

    params = [shape(*param) for param in meta["params"]]
    exported = jax.export.export(jax.jit(stand_in, keep_unused=True))(*params)
    return dataclasses.replace(exported, mlir_module_serialized=_portable_artifact(hlo))


def _portable_artifact(hlo: bytes) -> bytes:
    """StableHLO, as jax.export keeps it, of a serialised HloModuleProto."""
    from jaxlib.mlir.dialects import stablehlo

    try:
        from jax._src.lib import _jax

        converter = _jax.mlir
        module = converter.hlo_to_stablehlo(hlo)
    except ImportError:  # before jax 0.5
        from jax._src.lib import xla_client

        converter = xla_client._xla.mlir
        computation = xla_client.XlaComputation(hlo)
        module = _without_tuple(converter.xla_computation_to_mlir_module(computation))
    return converter.serialize_portable_artifact(module, stablehlo.get_current_version())


def _without_tuple(text: str) -> str:
    """Returns an MLIR module whose function returns the values of the tuple that `text`'s does."""
    from jax._src.interpreters import mlir
    from jaxlib.mlir import ir
    from jaxlib.mlir.dialects import func

    with mlir.make_ir_context(), ir.Location.unknown():
        module = ir.Module.parse(text)
        main = next(op for op in module.body.operations if op.name.value == "main")
        *_, returned = main.entry_block.operations
        packed = returned.operands[0].owner
        values = list(packed.operands)
        with ir.InsertionPoint(returned):
            func.ReturnOp(values)
        returned.operation.erase()
        packed.erase()
        signature = ir.FunctionType.get(main.type.inputs, [v.type for v in values])
        main.attributes["function_type"] = ir.TypeAttr.get(signature)
        return str(module)
