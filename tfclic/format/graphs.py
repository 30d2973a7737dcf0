"""What a SavedModel would do, seen before TensorFlow loads it: a graph is a program.

TensorFlow runs what a graph says: there are operations that read and write files, connect to other
machines and call Python. A model that somebody else made is loaded only if its graph has no others
than `tfclic.format.operations` lists. Two kinds that touch files are in every SavedModel; they may
stand where TensorFlow puts them and nowhere else:

- what stores variables (`SaveV2`): in a function that one node of the graph calls, which nothing
  depends on and no function of the model asks for, so that it never runs;
- what reads them (`RestoreV2`): in a function that one node calls, the one that TensorFlow runs
  when it loads the model, with the name that it is given there.

The file is a protocol buffer, of which the few fields that matter are read here, without
TensorFlow. As there, of a field that is repeated and should not be the last one counts, and
messages are merged; what TensorFlow might read in another way (groups, overlong numbers) is
refused.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

from tfclic.format.operations import CALLING, COMPUTING, RESTORING, STORING

_ALLOWED = frozenset(name.encode() for name in COMPUTING | CALLING | RESTORING | STORING)
_CALLING, _RESTORING, _STORING = (
    frozenset(name.encode() for name in names) for names in (CALLING, RESTORING, STORING)
)
_MOST = 1 << 20  # of a field's number and type; those that there are, are far below
_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5  # how fields are written

# Numbers of fields.
_META_GRAPHS = 2  # SavedModel
_META_INFO, _GRAPH, _SAVER, _COLLECTIONS, _SIGNATURES = 1, 2, 3, 4, 5  # MetaGraphDef
_TAGS = 4  # MetaInfoDef
_NODES, _LIBRARY = 1, 2  # GraphDef
_FUNCTIONS = 1  # FunctionDefLibrary
_SIGNATURE, _BODY = 1, 3  # FunctionDef
_INPUT_ARGS = 2  # OpDef
_NAME, _OP, _INPUT, _ATTRIBUTES = 1, 2, 3, 5  # NodeDef
_VALUE = 2  # of an entry of a map
_LIST, _FUNCTION = 1, 10  # AttrValue
_LIST_FUNCTION = 9  # AttrValue.ListValue
_NODE_LIST = 1  # CollectionDef, whose value is the first field, too
_OUTPUTS = 2  # SignatureDef
_RESTORE_OP = 3  # SaverDef

Span = tuple[int, int]


class GraphError(ValueError):
    """A graph is not for running; the message says why, and follows "its graph "."""


@dataclasses.dataclass
class _Node:
    """What matters of a NodeDef: `calls` are names of functions, `inputs` those of nodes."""

    name: bytes
    op: bytes
    inputs: list[bytes]
    calls: list[bytes]


def check(data: bytes, tags: Iterable[str] = (), asked: Iterable[str] = ()) -> None:
    """Checks the content of a SavedModel's `saved_model.pb`, all its graphs.

    Args:
      data: bytes.
      tags: of the graph that will be loaded.
      asked: tensors ("operation:index") that it will be asked for, beside those of its signatures.

    Raises:
      GraphError: it is not to be loaded.
    """
    tags = list(tags)
    wanted = {_node_name(tensor.encode()) for tensor in asked}
    try:
        for span in _all(data, (0, len(data)), _META_GRAPHS):
            is_loaded = _tags(data, span) == {tag.encode() for tag in tags}
            _check(data, span, wanted if is_loaded else set())
    except IndexError:
        raise GraphError("is damaged") from None


def _check(data: bytes, span: Span, asked: set[bytes]) -> None:
    graph = list(_all(data, span, _GRAPH))
    library = [each for one in graph for each in _all(data, one, _LIBRARY)]
    touching = _touching(data, [each for one in library for each in _all(data, one, _FUNCTIONS)])
    nodes = [_node(data, each) for one in graph for each in _all(data, one, _NODES)]
    asked = asked | set(_asked(data, span))
    restore = _last(data, list(_all(data, span, _SAVER)), _RESTORE_OP)
    consumed = {name for node in nodes for name in node.inputs}
    placeholders = {node.name for node in nodes if node.op == b"Placeholder"}
    for node in nodes:
        touched = {node.op}.union(*(touching.get(name, ()) for name in node.calls))
        if touched & _STORING and node.name in consumed | asked | {restore}:
            raise GraphError("writes files")
        # the name of the file is what TensorFlow gives it
        if touched & _RESTORING and not (
            node.name == restore and placeholders.issuperset(node.inputs[:1])
        ):
            raise GraphError("reads files")


def _tags(data: bytes, span: Span) -> set[bytes]:
    found = (each for info in _all(data, span, _META_INFO) for each in _all(data, info, _TAGS))
    return {data[start:end] for start, end in found}


def _touching(data: bytes, functions: list[Span]) -> dict[bytes, set[bytes]]:
    """By the names of those that have any, the operations of functions that touch files."""
    touching: dict[bytes, set[bytes]] = {}
    called: set[bytes] = set()
    for function in functions:
        found = set()
        for span in _all(data, function, _BODY):
            op = _op(data, span)
            if op in _CALLING:
                called.update(_calls(data, span))
            elif op in _STORING:
                found.add(op)
            elif op in _RESTORING:
                if _node(data, span).inputs[:1] != _arguments(data, function)[:1]:
                    raise GraphError("reads files")
                found.add(op)
        if found:
            signatures = list(_all(data, function, _SIGNATURE))
            touching.setdefault(_last(data, signatures, _NAME), set()).update(found)
    for name in called & set(touching):
        raise GraphError("reads files" if touching[name] <= _RESTORING else "writes files")
    return touching


def _arguments(data: bytes, function: Span) -> list[bytes]:
    """The names of a function's arguments."""
    signatures = _all(data, function, _SIGNATURE)
    return [
        _last(data, [argument], _NAME)
        for signature in signatures
        for argument in _all(data, signature, _INPUT_ARGS)
    ]


def _asked(data: bytes, span: Span) -> Iterator[bytes]:
    """The names of the nodes that signatures give, and that loading a MetaGraphDef may run."""
    for entry in _all(data, span, _SIGNATURES):
        for signature in _all(data, entry, _VALUE):
            for output in _all(data, signature, _OUTPUTS):
                for info in _all(data, output, _VALUE):
                    yield _node_name(_last(data, [info], _NAME))
    for entry in _all(data, span, _COLLECTIONS):
        for collection in _all(data, entry, _VALUE):
            for names in _all(data, collection, _NODE_LIST):
                for start, end in _all(data, names, _NAME):
                    yield _node_name(data[start:end])


def _op(data: bytes, span: Span) -> bytes:
    """The operation of a NodeDef; raises GraphError if it is not on the list."""
    op = _last(data, [span], _OP)
    if op not in _ALLOWED:
        shown = op.decode(errors="replace")[:80]
        raise GraphError(f"has the operation {shown}, which is not on the list of those that run")
    return op


def _node(data: bytes, span: Span) -> _Node:
    op = _op(data, span)
    inputs = [_node_name(data[start:end]) for start, end in _all(data, span, _INPUT)]
    calls = _calls(data, span) if op in _CALLING else []
    return _Node(_last(data, [span], _NAME), op, inputs, calls)


def _node_name(tensor: bytes) -> bytes:
    """The name of the node of a tensor ("node:index") or of a node that has to run ("^node")."""
    return tensor.lstrip(b"^").partition(b":")[0]


def _calls(data: bytes, span: Span) -> list[bytes]:
    """The names of the functions that a NodeDef calls."""
    found = []
    for entry in _all(data, span, _ATTRIBUTES):
        for value in _all(data, entry, _VALUE):
            lists = _all(data, value, _LIST)
            functions = [each for one in lists for each in _all(data, one, _LIST_FUNCTION)]
            for function in (*_all(data, value, _FUNCTION), *functions):
                found.append(_last(data, [function], _NAME))
    return found


def _last(data: bytes, spans: list[Span], number: int) -> bytes:
    """The string in a field of a message, which may be in several parts; empty if there is none."""
    found = b""
    for span in spans:
        for start, end in _all(data, span, number):
            found = data[start:end]
    return found


def _all(data: bytes, span: Span, wanted: int) -> Iterator[Span]:
    """Yields where the strings and messages of a field are; raises GraphError, IndexError."""
    position, end = span
    while position < end:
        key = data[position]
        position += 1
        if key > 127:
            key, position = _rest(data, key, position)
            if key > _MOST:
                raise GraphError("is damaged")
        kind = key & 7
        if kind == _BYTES:
            length = data[position]
            position += 1
            if length > 127:
                length, position = _rest(data, length, position)
            if length > end - position:
                raise GraphError("is damaged")
            if key >> 3 == wanted:
                yield position, position + length
            position += length
        elif kind == _VARINT:
            while data[position] > 127:
                position += 1
            position += 1
        elif kind in (_EIGHT_BYTES, _FOUR_BYTES):
            position += 8 if kind == _EIGHT_BYTES else 4
        else:
            raise GraphError("is damaged")
    if position != end:
        raise GraphError("is damaged")


def _rest(data: bytes, value: int, position: int) -> tuple[int, int]:
    """(value, position after it) of a varint whose first byte, before `position`, was `value`."""
    value &= 127
    for shift in (7, 14, 21, 28):
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
    raise GraphError("is damaged")
