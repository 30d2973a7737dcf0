"""TensorFlow Serving's JSON: requests in rows (`instances`) or columns (`inputs`), and answers."""

from __future__ import annotations

import json
import types
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tfclic.serving import tensors
from tfclic.serving.refusals import invalid

if TYPE_CHECKING:
    from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef

ROWS, COLUMNS = "instances", "inputs"
NONE: Mapping[str, int] = types.MappingProxyType({})


class Request:
    """A request's body, taken apart.

    Attributes:
      signature: "" for the default.
      rows: whether it came in rows, as the answer then does.

    Args:
      body: its JSON.

    Raises:
      Refusal: it is not such a request.
    """

    def __init__(self, body: bytes) -> None:
        try:
            found = json.loads(body)
        except (ValueError, RecursionError):
            raise invalid("The request is not JSON.") from None
        if not isinstance(found, dict) or (ROWS in found) == (COLUMNS in found):
            raise invalid(f"The request has to be an object with either {ROWS!r} or {COLUMNS!r}.")
        self.signature = found.get("signature_name", "")
        if not isinstance(self.signature, str):
            raise invalid("The name of a signature is a string.")
        self.rows = ROWS in found
        self._values = found[ROWS if self.rows else COLUMNS]

    def inputs(
        self, signature: SignatureDef, more: Mapping[str, int] = NONE
    ) -> dict[str, np.ndarray]:
        """The input arrays, a dict, for a SignatureDef.

        Args:
          signature: it.
          more: numbers of types by the names of inputs that there may be beside its own.

        Raises:
          Refusal: they do not fit it.
        """
        values = self._values
        if self.rows:
            if not isinstance(values, list) or not values:
                raise invalid(f"{ROWS!r} has to be a list of at least one.")
            values = _columns(values, signature)
        elif not _is_named(values):
            values = {_only(signature): values}
        found = {}
        kinds = {**more, **{name: info.dtype for name, info in signature.inputs.items()}}
        for name, value in values.items():
            if name not in kinds:
                raise invalid(f"The signature has no input {name!r}.")
            found[name] = tensors.from_json(value, kinds[name])
        return found


def answer(outputs: Mapping[str, np.ndarray], rows: bool) -> str:
    """The text of an answer with the arrays `outputs`, a dict.

    Raises:
      Refusal: rows were asked for, and the outputs have none in common.
    """
    if not rows:
        columns = {name: tensors.to_json(name, array) for name, array in outputs.items()}
        return json.dumps({"outputs": _unwrapped(columns)})
    lengths = {np.shape(array)[:1] for array in outputs.values()}
    if len(lengths) != 1 or lengths == {()}:
        raise invalid(f"This signature has no rows; use {COLUMNS!r}.")
    columns = {name: tensors.to_json(name, array) for name, array in outputs.items()}
    found = [dict(zip(columns, row)) for row in zip(*columns.values())]
    return json.dumps({"predictions": [_unwrapped(row) for row in found]})


def _unwrapped(named: Mapping[str, Any]) -> Any:
    """The only value, if there is but one; as TensorFlow Serving writes it."""
    return next(iter(named.values())) if len(named) == 1 else named


def _columns(rows: list[Any], signature: SignatureDef) -> dict[str, Any]:
    """What a list of instances says of each input."""
    named = [_is_named(row) for row in rows]
    if not any(named):
        return {_only(signature): rows}
    names = set(rows[0]) if named[0] else set()
    if not all(named) or any(set(row) != names for row in rows):
        raise invalid("All instances have to have the same inputs.")
    return {name: [row[name] for row in rows] for name in rows[0]}


def _is_named(value: Any) -> bool:
    return isinstance(value, dict) and set(value) != {"b64"}


def _only(signature: SignatureDef) -> str:
    if len(signature.inputs) != 1:
        raise invalid(f"The inputs have to be named: {', '.join(sorted(signature.inputs))}.")
    return next(iter(signature.inputs))
